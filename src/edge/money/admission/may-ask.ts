/** Finds out whether a caller may ask at all, before a long body is read. Otherwise the body would be read for nothing. */

import type { WorstCase } from '../../claude/pricing/hold-terms.ts';
import { decide, takeCountRequest, takeFreeRequest } from '../budget/budget.ts';
import type { Purse } from '../budget/purses.ts';
import type { Rules } from '../budget/rules.ts';
import type { Budget } from '../budget/state.ts';
import type { AdmissionDecision, Refusal } from '../contracts/admission.ts';
import { callAccount } from '../contracts/call-account.ts';
import { admissionRequestOf, grantedBy } from './ask-account.ts';
import type { MeterRequest } from './metered-request.ts';

/** What a request takes from its account: a price, a token count, or a request that costs nothing. */
export type Asking = 'price' | 'count' | 'free' | 'nothing';

/** The cheapest request possible: an account that cannot pay this one cannot pay any. */
const CHEAPEST: WorstCase = {
  inputTokens: 0,
  inputCost: 0,
  outputTokens: 1,
  outputPrice: 1,
  leastOutput: 1,
  bounded: true,
  countable: false,
  known: true,
  models: [],
};

/** @returns why no request of a kind would be admitted now; undefined if one may be. Takes nothing from the budget. */
export function refusalOfAll(
  asking: Asking,
  budget: Budget,
  rules: Rules,
  now: number,
  purses?: readonly Purse[],
): Refusal | undefined {
  if (asking === 'nothing') return undefined;
  // The decision is made on a copy of the budget, because an admission takes from a bucket and nothing may be taken here.
  const decision =
    asking === 'price'
      ? decide(budget, rules, CHEAPEST, now, { purses })
      : (asking === 'count' ? takeCountRequest : takeFreeRequest)({ ...budget }, rules, now);
  // The holds of other requests are soon free, and the body can be read meanwhile.
  return decision.kind === 'refused' && decision.reason !== 'held' ? decision : undefined;
}

/**
 * Asks an account whether a caller may send requests at all now.
 *
 * @throws ApiError 401 for a revoked credential, 429 for a limit that is reached, 503 while the account's object cannot be
 *   reached
 */
export async function mayAsk(
  request: Pick<MeterRequest, 'identity' | 'accounts' | 'settings'>,
  asking: Asking,
): Promise<void> {
  const { token, defaults } = admissionRequestOf({ ...request, requestId: '', route: '', model: '' });
  const text = JSON.stringify({ asking, token, defaults });
  const told = await callAccount(request, (account) => account.mayAskJson(text));
  const answer = JSON.parse(told) as AdmissionDecision | null;
  if (answer) grantedBy(answer);
}
