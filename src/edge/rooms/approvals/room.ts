import type { Room } from '../room.ts';
import { APPROVAL_ROUTES } from './approvals.route.ts';

/** Calls that wait until a person approves. */
export const approvalsRoom: Room = { name: 'approvals', routes: APPROVAL_ROUTES };
