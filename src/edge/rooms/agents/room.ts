import type { Room } from '../room.ts';

/** Agents: prompts, tools and models stored by name. */
export const agentsRoom: Room = { name: 'agents' };
