import type { Approval } from '../../../client/index.ts';
import { hasScope, identity, isRestricted } from '../../edge/identity.ts';

/** @returns whether the token can read approvals, GET /conversations/:id/approvals: a restricted token only with `approvals` */
export function canReadApprovals(): boolean {
  return hasScope('messages') && (!isRestricted() || identity.value.only?.approvals === true);
}

/** @returns whether the user may decide on a call, or only an admin */
export function canUserDecideApproval({ approvers }: Approval): boolean {
  return approvers === 'owner' || identity.value.admin;
}
