import type { Room } from '../room.ts';

/** People without a login: tokens and pools of their own. */
export const visitorsRoom: Room = { name: 'visitors' };
