/**
 * Admits batches. All items of a batch are one decision, and each of their models gets one row of the ledger. A
 * batch holds only money: the API has separate rate limits for batches, and does not count them as running requests.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { AccountState } from '../../money/account/account-state.ts';
import {
  budgetWindowsFor,
  checkPayer,
  findShortage,
  type LeaseShortage,
  leaseAndDecide,
  leasesFor,
  quotaStatusNow,
  refuse,
} from '../../money/account/lease-from-payers.ts';
import { decide } from '../../money/budget/budget.ts';
import { BATCH_STAGE, bucketsAfterAdmission, type Hold } from '../../money/budget/state.ts';
import { dimensionValue } from '../../money/contracts/dimensions.ts';
import { openingOf } from '../../money/ledger/settlement.ts';
import { OF_BATCH } from './about-batch.ts';
import { BatchList } from './batch-list.ts';
import type { BatchDecision, BatchOrder } from './contracts/batch.ts';

/**
 * How long the hold of a batch lasts if nobody settles it; milliseconds. This is longer than the upstream works on it (a day)
 * and keeps its results (29 days).
 */
const BATCH_HOLD_MS = 35 * DAY_MS;
/** The most that a batch can cost. No budget pays for more, and up to here sums are exact. */
const MOST_OF_A_BATCH: Nanodollars = 1e15;

/**
 * Decides on a batch, and sets aside the most that all of its items can cost. Between the check and the hold it never waits.
 *
 * @returns the decision. Asking again for the same batch changes nothing
 */
export function decideBatch(state: AccountState, order: BatchOrder): BatchDecision | Promise<BatchDecision> {
  const attempt = tryAdmitBatch(state, order, true);
  if (attempt.outcome !== 'short') return attempt;
  return leaseAndDecide(state, attempt, () => tryAdmitBatch(state, order, false)) as Promise<BatchDecision>;
}

function tryAdmitBatch(state: AccountState, order: BatchOrder, mayAsk: boolean): BatchDecision | LeaseShortage {
  const { budget, credentials, ledger } = state;
  const batches = new BatchList(ledger);
  const { batch, token, dryRun } = order;
  state.limits.noteDefaults(order.defaults);
  const now = state.advance();
  if (token) {
    if (credentials.isRevoked(token)) return { outcome: 'revoked' };
    credentials.noteUse(token, now);
  }
  const { rules } = state.limits;
  const jti = token?.jti;
  const most = order.rows.reduce((total, { cost }) => total + cost, 0);
  const whole = maximumCostOf(order, Math.min(MOST_OF_A_BATCH, most));
  const admitted = (hold: Nanodollars): BatchDecision => ({
    outcome: 'admitted',
    hold,
    quota: quotaStatusNow(state, now, jti),
    unlisted: !state.isListed,
  });
  if (!dryRun && batches.has(batch)) return admitted(whole.inputCost);
  const earlier = dryRun
    ? undefined
    : batches.findEarlier({ key: order.key, digest: order.digest, repeats: order.repeats }, now);
  if (earlier) return earlier.isSame ? { outcome: 'attached', batch: earlier.id } : { outcome: 'mismatched' };

  const without = checkPayer(state, order);
  if (without) return without;
  const leases = leasesFor(state, order);
  const decision = decide(
    budget,
    { ...rules, input: undefined, output: undefined, concurrent: Number.POSITIVE_INFINITY },
    whole,
    now,
    { purses: budgetWindowsFor(state, order, now), models: state.limitedTokens.modelsOf(jti) },
  );
  if (decision.kind === 'count_needed' || decision.kind === 'behind') throw new TypeError('A batch is never counted.');
  const short = findShortage(decision, leases, { least: whole.inputCost, most: whole.inputCost }, mayAsk, now);
  if (short) return short;
  if (decision.kind === 'refused') {
    if (!dryRun)
      state.refusals.add(
        { requestId: order.requestId, route: 'batches', model: whole.models[0]?.[0] ?? '' },
        decision,
        now,
        state.groupOf(order),
      );
    return refuse(state, decision, now, jti);
  }
  if (dryRun) return admitted(whole.inputCost);
  placeHolds(state, order, now);
  for (const lease of leases) lease.noteHold(now);
  state.alarm.schedule(now + BATCH_HOLD_MS);
  return admitted(whole.inputCost);
}

/** @returns the worst case of a batch. It is one sum, and no `max_tokens` can lower it. */
function maximumCostOf({ models, known }: BatchOrder, inputCost: Nanodollars): MaximumCost {
  return {
    inputTokens: 0,
    inputCost,
    outputTokens: 0,
    outputPrice: 0,
    leastOutput: 0,
    bounded: true,
    countable: false,
    known,
    models,
  };
}

function placeHolds(state: AccountState, order: BatchOrder, now: number): void {
  const { budget, ledger, payers } = state;
  const { rules } = state.limits;
  const { batch, key, digest, token } = order;
  const jti = token?.jti ?? null;
  const group = state.groupOf(order);
  const about = { ...order.about, ...dimensionValue(OF_BATCH, batch) };
  const buckets = bucketsAfterAdmission(budget, rules);
  const holds = order.rows.map(
    (row): Hold => ({
      id: row.requestId,
      at: now,
      deadline: now + BATCH_HOLD_MS,
      nanodollars: Math.min(MOST_OF_A_BATCH, row.cost),
      inputTokens: 0,
      outputTokens: 0,
      maxTokens: 0,
      stage: BATCH_STAGE,
      token: jti,
      group,
    }),
  );
  // The rows come first: an id that was used before throws here, before anything has changed.
  ledger.transact(() => {
    new BatchList(ledger).begin({ id: batch, key, digest }, now);
    for (const [index, hold] of holds.entries()) {
      const { model, unpriced } = order.rows[index] ?? { model: '', unpriced: true };
      const opening = { route: 'batches', model, unpriced, token: token?.jti, group, about };
      ledger.open(hold, openingOf(opening), buckets);
    }
  });
  for (const hold of holds) {
    for (const payer of payers) payer.hold?.(hold, buckets);
  }
  ledger.fold();
}
