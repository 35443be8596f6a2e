import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { SETTINGS_RETRY_MS } from '../../config/retention.ts';
import { BATCH_STAGE, bucketsAfterSettlement, type Hold, type UsedTokens } from '../budget/state.ts';
import type { Settled, Settlement } from '../contracts/settlement.ts';
import { closingOf, openingOf, safeAmount, usedTokensOf } from '../ledger/settlement.ts';
import type { AccountState } from './account-state.ts';
import { notifySumsChanged } from './hooks.ts';
import type { HoldEnd } from './payers.ts';

const NOTHING_USED: UsedTokens = { inputTokens: 0, outputTokens: 0 };

/** Replaces a request's hold by what it cost, and notes what follows: in its conversation, and for those who wait. */
export function settleRequest(state: AccountState, settlement: Settlement): Settled {
  const settled = settleHold(state, settlement);
  const { conversation, requestId } = settlement;
  const { outcome, cost, overHold } = settled;
  if (outcome !== 'duplicate') notifySumsChanged(state, overHold ? requestId : undefined);
  if (conversation && conversation.createdAt > state.erasedUntil) {
    state.storage.noteArrival(conversation.id);
    state.conversations.note(conversation, cost);
  }
  state.admissionQueue.admitReady();
  return settled;
}

/** Replaces a hold by what the request cost. A repeated call changes nothing. */
export function settleHold(state: AccountState, settlement: Settlement): Settled {
  const { budget, ledger } = state;
  const { requestId } = settlement;
  const now = state.advance();
  const hold = budget.holds.get(requestId);
  if (hold) return closeHold(state, hold, settlement, now);
  // Who leaves the line has cost nothing.
  if (settlement.cost === 0 && state.admissionQueue.leave(requestId))
    return { outcome: 'unheld', cost: 0, overHold: false };
  const row = ledger.find(requestId);
  if (!row) return recordWithoutHold(state, settlement, now);
  const unchanged = { cost: row.cost, overHold: row.cost > row.hold };
  if (row.at <= state.erasing) return { outcome: 'erased', ...unchanged };
  if (row.status !== 'orphaned') return { outcome: 'duplicate', ...unchanged };
  const closing = closingOf(settlement, row.hold, now, true);
  ledger.close(requestId, closing, budget.fullAt);
  correctPayers(state, row, closing.cost - row.cost);
  return { outcome: 'late', cost: closing.cost, overHold: closing.overHold };
}

/** Settles every request that was not renewed or settled in time at its whole hold. */
export function settleOrphans(state: AccountState, now: number): void {
  for (const hold of [...state.budget.holds.values()]) {
    if (hold.deadline > now) continue;
    const { id, nanodollars, inputTokens, outputTokens, stage } = hold;
    const lost = { requestId: id, status: 'orphaned', stage, cost: nanodollars, estimated: true };
    closeHold(state, hold, lost, now, { inputTokens, outputTokens });
  }
}

/** @param tokens those to take out of the buckets, if the row does not have them */
function closeHold(state: AccountState, hold: Hold, settlement: Settlement, now: number, tokens?: UsedTokens): Settled {
  const { budget, ledger, limits } = state;
  const closing = closingOf(settlement, hold.nanodollars, now, false);
  const { cost, overHold } = closing;
  if (hold.at <= state.erasing) {
    ledger.forgetRow(hold, closing);
    settlePayers(state, hold, { closing, buckets: budget.fullAt, isErased: true });
    return { outcome: 'erased', cost, overHold };
  }
  // The API has separate rate limits for batches, so their tokens are taken from no bucket.
  const used = hold.stage === BATCH_STAGE ? NOTHING_USED : (tokens ?? usedTokensOf(closing));
  const buckets = bucketsAfterSettlement(budget, limits.rules, used);
  ledger.close(hold.id, closing, buckets);
  settlePayers(state, hold, { closing, buckets, isErased: false });
  if (closing.status === 'complete' && hold.model !== undefined)
    state.answerLengths.note({ model: hold.model, tokens: closing.tokens.output });
  return { outcome: 'settled', cost, overHold };
}

/** Replaces a hold by its cost, for all who pay. */
function settlePayers({ payers, admissionQueue: line }: AccountState, hold: Hold, end: HoldEnd): void {
  for (const payer of payers) payer.settle(hold, end);
  line.noteSettled(hold.id, end.closing.cost);
}

/** Adds to the settled sums of all who pay. @param more nanodollars; may be negative */
function correctPayers(
  { payers }: AccountState,
  row: Pick<Hold, 'at' | 'token'> & { group?: string | null | undefined },
  more: Nanodollars,
): void {
  const whose = { ...row, group: row.group ?? undefined };
  for (const payer of payers) payer.correct(whose, more);
}

/** Records a request that was never admitted here, or whose row is gone, unless it began before an erasure. */
function recordWithoutHold(state: AccountState, settlement: Settlement, now: number): Settled {
  const { budget, ledger, limits, alarm } = state;
  const began = settlement.startedAt ?? now - safeAmount(settlement.ms ?? 0, 0);
  const at = Math.min(now, safeAmount(began, now));
  const closing = closingOf(settlement, 0, now, false);
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
    token: settlement.opening?.token,
    group: settlement.opening?.group ?? undefined,
  };
  const buckets = bucketsAfterSettlement(budget, limits.rules, usedTokensOf(closing));
  alarm.schedule(now + (state.retention ?? SETTINGS_RETRY_MS));
  ledger.open(hold, openingOf({ model: settlement.answeredBy, ...settlement.opening }), buckets);
  ledger.close(hold.id, closing, buckets);
  budget.fullAt = buckets;
  correctPayers(state, hold, cost);
  return { outcome: 'unheld', cost, overHold };
}
