import type { Room } from '../room.ts';

/** Calls that wait until a person approves. */
export const approvalsRoom: Room = { name: 'approvals' };
