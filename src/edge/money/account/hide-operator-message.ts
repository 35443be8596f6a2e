import { hasScope } from '../../auth/authenticate.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { findKeyRejectionCause } from '../../claude/usage/api-sentences.ts';
import type { LedgerRow } from './usage-answers.schema.ts';

/**
 * Hides what the API says about the deployment's key (its credit, its spend limits) from callers that do not operate the
 * deployment. The error that they received did not contain it either.
 */
export function hideOperatorMessage<R extends Pick<LedgerRow, 'error_message'>>(row: R, identity: Identity): R {
  const { error_message: message } = row;
  const isForOperator = message !== null && findKeyRejectionCause(message) !== undefined;
  return isForOperator && !hasScope(identity, 'admin:read') ? { ...row, error_message: null } : row;
}
