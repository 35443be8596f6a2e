/** Replaces holds with costs, each once: by the settlement of a request, or at the whole hold if none arrives in time. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { SETTINGS_RETRY_MS } from '../../config/retention.ts';
import { BATCH_STAGE, computeBucketsAfterSettlement, type Hold, type TokensTakenFromBuckets } from '../budget/state.ts';
import type { Settlement, SettlementResult } from '../contracts/settlement.ts';
import {
  clampToSafeAmount,
  computeTokensForBuckets,
  createSettledRequestFields,
  fillAdmittedRequestFields,
} from '../ledger/settlement.ts';
import type { AccountState } from './account-state.ts';
import { notifySumsChanged } from './hooks.ts';
import type { HoldClosing } from './payers.ts';

const NOTHING_USED: TokensTakenFromBuckets = { inputTokens: 0, outputTokens: 0 };

/** Replaces a request's hold by its cost. Then updates the list of conversations, and admits waiting requests. */
export function settleRequestAndFollowUps(state: AccountState, settlement: Settlement): SettlementResult {
  if (settlement.keyLimits) state.sharedBudgets?.onKeyLimitsReported(settlement.keyLimits);
  const settled = settleHold(state, settlement);
  const { conversation, requestId } = settlement;
  const { outcome, cost } = settled;
  if (outcome !== 'duplicate') {
    const id = conversation?.id ?? settlement.admittedFields?.conversation ?? undefined;
    notifySumsChanged(state, { requestId, conversation: id, ...settled });
  }
  if (conversation && conversation.createdAt > state.erasedUntil) {
    state.storage.dropExpectedBytes(conversation.id);
    state.conversations.storeReport(conversation, cost);
  }
  state.admissionQueue.admitReadyRequests();
  return settled;
}

/** Replaces a hold by what the request cost. A repeated call changes nothing. */
export function settleHold(state: AccountState, settlement: Settlement): SettlementResult {
  const { budget, ledger } = state;
  const { requestId } = settlement;
  const now = state.advanceBudgetToNow();
  const hold = budget.holds.get(requestId);
  if (hold) return closeHoldAtCost(state, hold, settlement, now);
  // A request that still waits in the admission queue has no hold. Settling it at 0 only removes it from the queue.
  if (settlement.cost === 0 && state.admissionQueue.removeFromQueue(requestId))
    return { outcome: 'unheld', cost: 0, overHold: false };
  const row = ledger.findSettlableRow(requestId);
  if (!row) return recordSettlementWithoutHold(state, settlement, now);
  const unchanged = { cost: row.cost, overHold: row.cost > row.hold };
  if (row.at <= state.erasureCutoff) return { outcome: 'erased', ...unchanged };
  if (row.status !== 'orphaned') return { outcome: 'duplicate', ...unchanged };
  const closing = createSettledRequestFields(settlement, row.hold, now, true);
  ledger.settleRow(requestId, closing, budget.fullAt);
  correctSumsOfAllPayers(state, row, closing.cost - row.cost);
  return { outcome: 'late', cost: closing.cost, overHold: closing.overHold };
}

/** Settles every request that was not renewed or settled in time at its whole hold. */
export function settleExpiredHolds(state: AccountState, now: number): void {
  for (const hold of [...state.budget.holds.values()]) {
    if (hold.deadline > now) continue;
    const { id, nanodollars, inputTokens, outputTokens, stage } = hold;
    const lost = { requestId: id, status: 'orphaned', stage, cost: nanodollars, estimated: true };
    closeHoldAtCost(state, hold, lost, now, { inputTokens, outputTokens });
  }
}

/** @param tokens those to take out of the buckets, if the row does not have them */
function closeHoldAtCost(
  state: AccountState,
  hold: Hold,
  settlement: Settlement,
  now: number,
  tokens?: TokensTakenFromBuckets,
): SettlementResult {
  const { budget, ledger, limits } = state;
  const closing = createSettledRequestFields(settlement, hold.nanodollars, now, false);
  const { cost, overHold } = closing;
  if (hold.at <= state.erasureCutoff) {
    ledger.deleteErasedRow(hold, closing);
    settleForAllPayers(state, hold, { closing, buckets: budget.fullAt, isErased: true });
    return { outcome: 'erased', cost, overHold };
  }
  // The API limits batches separately (https://platform.claude.com/docs/en/api/rate-limits), so their tokens do not count
  // against the account's tokens per minute.
  const used = hold.stage === BATCH_STAGE ? NOTHING_USED : (tokens ?? computeTokensForBuckets(closing));
  const buckets = computeBucketsAfterSettlement(budget, limits.decisionRules, used);
  ledger.settleRow(hold.id, closing, buckets);
  settleForAllPayers(state, hold, { closing, buckets, isErased: false });
  if (closing.status === 'complete' && hold.model !== undefined)
    state.answerLengths.recordAnswer({ model: hold.model, tokens: closing.tokens.output });
  return { outcome: 'settled', cost, overHold };
}

/** Replaces a hold by its cost, for all who pay. */
function settleForAllPayers({ payers, admissionQueue }: AccountState, hold: Hold, end: HoldClosing): void {
  for (const payer of payers) payer.settle(hold, end);
  admissionQueue.recordOvertakingCost(hold.id, end.closing.cost);
}

/** Adds to the settled sums of all who pay. @param more nanodollars; may be negative */
function correctSumsOfAllPayers(
  { payers }: AccountState,
  row: Pick<Hold, 'at' | 'token'> & { group?: string | null | undefined },
  more: Nanodollars,
): void {
  const whose = { ...row, group: row.group ?? undefined };
  for (const payer of payers) payer.correct(whose, more);
}

/** Records a request that was never admitted here, or whose row is gone, unless it began before an erasure. */
function recordSettlementWithoutHold(state: AccountState, settlement: Settlement, now: number): SettlementResult {
  const { budget, ledger, limits, alarm } = state;
  const began = settlement.startedAt ?? now - clampToSafeAmount(settlement.ms ?? 0, 0);
  const at = Math.min(now, clampToSafeAmount(began, now));
  const closing = createSettledRequestFields(settlement, 0, now, false);
  const { cost, overHold } = closing;
  if (at <= state.erasedUntil) return { outcome: 'erased', cost, overHold: false };
  const hold: Hold = {
    id: settlement.requestId,
    at,
    deadline: now,
    nanodollars: 0,
    inputTokens: 0,
    outputTokens: 0,
    maxTokens: 0,
    stage: 'unheld',
    token: settlement.admittedFields?.token,
    group: settlement.admittedFields?.group ?? undefined,
  };
  const buckets = computeBucketsAfterSettlement(budget, limits.decisionRules, computeTokensForBuckets(closing));
  alarm.scheduleAt(now + (state.retentionMs ?? SETTINGS_RETRY_MS));
  ledger.insertAdmittedRow(
    hold,
    fillAdmittedRequestFields({ model: settlement.answeredBy, ...settlement.admittedFields }),
    buckets,
  );
  ledger.settleRow(hold.id, closing, buckets);
  budget.fullAt = buckets;
  correctSumsOfAllPayers(state, hold, cost);
  return { outcome: 'unheld', cost, overHold };
}
