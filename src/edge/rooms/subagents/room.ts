import type { Room } from '../room.ts';

/** Tools that are agents. */
export const subagentsRoom: Room = { name: 'subagents' };
