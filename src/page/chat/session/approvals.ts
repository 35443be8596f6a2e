import type { Approval } from '../../../client/index.ts';
import { identity } from '../../edge/identity.ts';

/** @returns whether the user may decide on a call, or only an admin */
export function canUserDecideApproval({ approvers }: Approval): boolean {
  return approvers === 'owner' || identity.value.admin;
}
