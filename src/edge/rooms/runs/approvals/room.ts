import type { Room } from '../../room.ts';
import { runsRoom } from '../room.ts';
import { APPROVAL_ROUTES } from './approvals.route.ts';
import { approvedCall, needsApproval, requestApprovals } from './owed-calls.ts';
import { approvalsPart } from './part.ts';

/** Calls that wait until a person approves. */
export const approvalsRoom: Room = {
  name: 'approvals',
  needs: [runsRoom],
  routes: APPROVAL_ROUTES,
  conversation: approvalsPart,
  pause: { holds: needsApproval, released: approvedCall, request: requestApprovals },
};
