/** Creates the fields that decisions share, admitted or rejected: the quota, and the fallback models of the limits. */

import { computeQuotaStatus } from '../budget/quota-status.ts';
import type { AdmissionDecision, LimitRejection, QuotaStatus } from '../contracts/admission.ts';
import type { AccountState } from './account-state.ts';

/** Creates the decision for a request that a limit rejects. */
export function createRejectedDecision(
  state: AccountState,
  refusal: LimitRejection,
  now: number,
  jti?: string,
): AdmissionDecision {
  return {
    outcome: 'refused',
    refusal,
    ...getFallbackModels(state),
    quota: computeQuotaStatusOfAccount(state, now, jti),
    unlisted: !state.isInAccountList,
  };
}

/** @returns the models that may replace the requested one, according to the account's limits */
export function getFallbackModels({ limits }: AccountState): { fallbackModels?: readonly string[] } {
  const { fallback_models: fallbackModels } = limits.effectiveLimits;
  return fallbackModels === undefined ? {} : { fallbackModels };
}

/** @returns what is left of the account's limits, and of the token's own limit */
export function computeQuotaStatusOfAccount(
  { budget, limits, limitedTokens }: AccountState,
  now: number,
  jti?: string,
): QuotaStatus {
  const status = computeQuotaStatus(budget, limits.decisionRules, now);
  const window = limitedTokens.createTokenBudgetWindow(jti);
  if (!window) return status;
  return {
    ...status,
    token: { limit: window.limit, settled: window.settled, held: window.held, resetsAt: window.end },
  };
}
