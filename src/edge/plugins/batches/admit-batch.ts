/**
 * Admits batches. All items of a batch are one decision, and each of their models gets one row of the ledger. A
 * batch holds only money: the API has separate rate limits for batches, and does not count them as running requests.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { MaximumCost } from '../../claude/pricing/hold-terms.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { AccountState } from '../../money/account/account-state.ts';
import { computeQuotaStatusOfAccount, createRejectedDecision } from '../../money/account/decision-fields.ts';
import {
  collectBudgetWindows,
  collectLeases,
  extendLeasesAndDecide,
  findLeaseShortage,
  findUnpayableDecision,
  type LeaseShortage,
} from '../../money/account/lease-from-payers.ts';
import { decideHold } from '../../money/budget/budget.ts';
import { BATCH_STAGE, computeBucketsAfterAdmission, type Hold } from '../../money/budget/state.ts';
import { createDimensionValue } from '../../money/contracts/dimensions.ts';
import { fillAdmittedRequestFields } from '../../money/ledger/settlement.ts';
import { OF_BATCH } from './about-batch.ts';
import { BatchList } from './batch-list.ts';
import type { BatchAdmissionRequest, BatchDecision } from './contracts/batch.ts';

/**
 * How long the hold of a batch lasts if it is not settled; milliseconds. This is longer than the upstream processes a batch (a
 * day) and keeps its results (29 days).
 */
const BATCH_HOLD_MS = 35 * DAY_MS;
/** The most that a batch can cost. No budget pays for more, and up to here sums are exact. */
const MOST_OF_A_BATCH: Nanodollars = 1e15;

/**
 * Decides on a batch, and holds the maximum cost of all its items. There is no await between the check and the hold.
 *
 * @returns the decision. A repeated call for the same batch changes nothing
 */
export function admitBatch(state: AccountState, order: BatchAdmissionRequest): BatchDecision | Promise<BatchDecision> {
  const attempt = tryAdmitBatch(state, order, true);
  if (attempt.outcome !== 'short') return attempt;
  return extendLeasesAndDecide(state, attempt, () => tryAdmitBatch(state, order, false)) as Promise<BatchDecision>;
}

function tryAdmitBatch(
  state: AccountState,
  order: BatchAdmissionRequest,
  mayAsk: boolean,
): BatchDecision | LeaseShortage {
  const { budget, credentials, ledger } = state;
  const batches = new BatchList(ledger);
  const { batch, token, dryRun } = order;
  state.limits.updateDefaultLimits(order.defaults);
  const now = state.advanceBudgetToNow();
  if (token) {
    if (credentials.isTokenRevoked(token)) return { outcome: 'revoked' };
    state.recordCredentialUse(token, now);
  }
  const suspended = state.suspension.decision;
  if (suspended) return suspended;
  const { decisionRules: rules } = state.limits;
  const jti = token?.jti;
  const most = order.rows.reduce((total, { cost }) => total + cost, 0);
  const whole = createBatchMaximumCost(order, Math.min(MOST_OF_A_BATCH, most));
  const createAdmittedDecision = (hold: Nanodollars): BatchDecision => ({
    outcome: 'admitted',
    hold,
    quota: computeQuotaStatusOfAccount(state, now, jti),
    unlisted: !state.isInAccountList,
  });
  if (!dryRun && batches.has(batch)) return createAdmittedDecision(whole.inputCost);
  const earlier = dryRun
    ? undefined
    : batches.findEarlierCreate({ key: order.key, digest: order.digest, repeats: order.repeats }, now);
  if (earlier) return earlier.isSame ? { outcome: 'attached', batch: earlier.id } : { outcome: 'mismatched' };

  const without = findUnpayableDecision(state, order);
  if (without) return without;
  const leases = collectLeases(state, order);
  const decision = decideHold(
    budget,
    { ...rules, input: undefined, output: undefined, concurrent: Number.POSITIVE_INFINITY },
    whole,
    now,
    { budgetWindows: collectBudgetWindows(state, order, now), models: state.limitedTokens.getAllowedModels(jti) },
  );
  if (decision.kind === 'count_needed' || decision.kind === 'behind')
    throw new TypeError(`Unexpected decision for a batch: ${decision.kind}.`);
  const short = findLeaseShortage(decision, leases, { least: whole.inputCost, most: whole.inputCost }, mayAsk, now);
  if (short) return short;
  if (decision.kind === 'refused') {
    if (!dryRun)
      state.refusals.addRejection(
        { requestId: order.requestId, route: 'batches', model: whole.models[0]?.[0] ?? '' },
        decision,
        now,
        state.getPayingGroup(order),
      );
    return createRejectedDecision(state, decision, now, jti);
  }
  if (dryRun) return createAdmittedDecision(whole.inputCost);
  placeBatchHolds(state, order, now);
  for (const lease of leases) lease.recordHold(now);
  state.alarm.scheduleAt(now + BATCH_HOLD_MS);
  return createAdmittedDecision(whole.inputCost);
}

/** @returns the maximum cost of a batch. It is one sum, and no `max_tokens` can lower it. */
function createBatchMaximumCost({ models, known }: BatchAdmissionRequest, inputCost: Nanodollars): MaximumCost {
  return {
    inputTokens: 0,
    inputCost,
    outputTokens: 0,
    outputPrice: 0,
    leastOutput: 0,
    bounded: true,
    countable: false,
    isPriced: known,
    models,
  };
}

function placeBatchHolds(state: AccountState, order: BatchAdmissionRequest, now: number): void {
  const { budget, ledger, payers } = state;
  const { decisionRules: rules } = state.limits;
  const { batch, key, digest, token } = order;
  const jti = token?.jti ?? null;
  const group = state.getPayingGroup(order);
  const dimensions = { ...order.dimensions, ...createDimensionValue(OF_BATCH, batch) };
  const buckets = computeBucketsAfterAdmission(budget, rules);
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
  // Insert the batch first: if its id was used before, this throws before anything else has changed.
  ledger.runInTransaction(() => {
    new BatchList(ledger).insertBatch({ id: batch, key, digest }, now);
    for (const [index, hold] of holds.entries()) {
      const { model, unpriced } = order.rows[index] ?? { model: '', unpriced: true };
      const location = ledger.locations.findUnrecordedLocation(token);
      const opening = { route: 'batches', model, unpriced, token: token?.jti, group, dimensions, location };
      ledger.insertAdmittedRow(hold, fillAdmittedRequestFields(opening), buckets);
    }
  });
  for (const hold of holds) {
    for (const payer of payers) payer.hold?.(hold, buckets);
  }
  ledger.foldSettledRowsIntoRollups();
}
