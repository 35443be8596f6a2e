/** What an account answers to a request: that it may go up, or why not, and how the account stands. */

import type { Purse } from '../budget/purses.ts';
import { quotaStatusOf } from '../budget/quota-status.ts';
import type { Hold } from '../budget/state.ts';
import { PERIODS } from '../budget/windows.ts';
import type { AdmissionDecision, AdmissionRequest, QuotaStatus, Refusal } from '../contracts/admission.ts';
import type { AccountState } from './account-state.ts';

/** @returns the account's answer for a hold that is placed. */
export function admitHeld(
  state: AccountState,
  request: AdmissionRequest,
  hold: Hold,
  now: number,
  purses: readonly Purse[],
): AdmissionDecision {
  const isLowered = hold.maxTokens < (request.bound?.outputTokens ?? 0);
  const standing = quotaStatusNow(state, now, hold.token ?? undefined);
  const inUsd = PERIODS.some((period) => standing[period] !== undefined) || purses.some(({ by }) => by !== 'account');
  return {
    outcome: 'admitted',
    hold: hold.nanodollars,
    ...(isLowered && { maxTokens: hold.maxTokens }),
    ...(inUsd && { inUsd }),
    ...fallbacksOf(state),
    standing,
    unlisted: !state.listed,
  };
}

/** @returns the account's answer for a refusal. */
export function refuse(state: AccountState, refusal: Refusal, now: number, jti?: string): AdmissionDecision {
  const standing = quotaStatusNow(state, now, jti);
  return { outcome: 'refused', refusal, ...fallbacksOf(state), standing, unlisted: !state.listed };
}

function fallbacksOf({ limits }: AccountState): { fallbacks?: readonly string[] } {
  const { fallback_models: fallbacks } = limits.limits;
  return fallbacks === undefined ? {} : { fallbacks };
}

export function quotaStatusNow(
  { budget, limits, limitedTokens }: AccountState,
  now: number,
  jti?: string,
): QuotaStatus {
  const status = quotaStatusOf(budget, limits.rules, now);
  const purse = limitedTokens.purseOf(jti);
  if (!purse) return status;
  return { ...status, token: { limit: purse.most, settled: purse.settled, held: purse.held, resetsAt: purse.end } };
}
