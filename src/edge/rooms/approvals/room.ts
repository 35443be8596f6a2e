import type { Room } from '../room.ts';
import { approvalsRoutes } from './approvals.route.ts';

/** Calls that wait until a person approves. */
export const approvalsRoom: Room = { name: 'approvals', routes: () => [approvalsRoutes()] };
