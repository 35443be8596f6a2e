import type { Room } from '../room.ts';

/** Summaries in place of a conversation's oldest turns. */
export const summariesRoom: Room = { name: 'summaries' };
