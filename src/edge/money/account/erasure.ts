import { settingsOf } from '../../gate/settings/settings.ts';
import { forgetAnswers } from '../../kit/kv/kept-answers.ts';
import { batchStub, classificationStub, conversationStub, inboxStub } from '../../kit/objects/stubs.ts';
import { advance } from '../budget/state.ts';
import { PERIODS } from '../budget/windows.ts';
import type { Erasure } from '../contracts/account.ts';
import { DELETED_AT_ONCE, eraseRowsUntil } from '../ledger/delete-rows.ts';
import type { ListedRows } from '../lists/listed-rows.ts';
import type { AccountState } from './account-state.ts';
import { noteEnded } from './tell-ended.ts';

const CONTINUE_MS = 1_000;
/** The value of `answers_kept` for the first page of KV keys. (It says where the next page begins.) */
const FIRST_PAGE = '1';
/** How many conversations are erased at the same time. (An object may have six open connections.) */
const ERASED_AT_ONCE = 5;

/**
 * Begins to erase the account, or returns how far the erasure is. The alarm continues it.
 *
 * Revocations stay, and every credential is revoked. For each window that has begun, a sum without names stays. A request
 * that is running is erased when it ends.
 */
export function eraseAccount(state: AccountState): Erasure {
  const now = state.advance();
  if (state.erasing === 0) begin(state, now);
  const { remaining, more } = eraseRows(state);
  const { batches, belongings, classifications, conversations, inboxes, versions, ledger } = state;
  const until = state.erasedUntil;
  const others =
    conversations.count(until) +
    inboxes.until(until).length +
    belongings.count(until) +
    batches.count(until) +
    classifications.count(until);
  if (more || others > 0 || versions.untold || ledger.meta('answers_kept') || state.shared?.isHandingOver) {
    wakeSoon(state, now);
  }
  return { done: remaining + others === 0, remaining: remaining + others };
}

function begin(state: AccountState, now: number): void {
  const { credentials, credits, refusals, ledger, versions, limits, budget } = state;
  credentials.revokeAll(now);
  noteEnded(state, now);
  credentials.erase();
  credits.forgetNotes();
  refusals.prune(now);
  limits.setOwn(null);
  state.setGroup(undefined);
  state.shared?.beginErasure(now);
  ledger.fold(true);
  ledger.rollups.forgetNames(PERIODS.map((period) => budget.windows[period].start));
  state.setListed(false);
  state.beginErasure(now);
  versions.removeAll(now);
  state.belongings.erase(now);
  ledger.setMeta('answers_kept', FIRST_PAGE);
  // Rows to erase are found by their time, so requests that are admitted from now on must have a later time.
  advance(budget, now + 1);
}

/** Erases the next page of rows, if any are being erased. */
export function continueRows(state: AccountState, now: number): void {
  if (state.erasing > 0 && eraseRows(state).more) wakeSoon(state, now);
}

/**
 * Erases what other objects keep for the account: conversations, answers in KV, events in inboxes, its name in pools.
 *
 * @param until erases what was made up to this time; milliseconds since 1970. An account that ends has everything erased, and
 *   needs no report of it
 */
export async function eraseElsewhere(state: AccountState, until = state.erasedUntil): Promise<void> {
  const { accountId } = state;
  if (state.shared?.isHandingOver && (await state.shared.handOver())) wakeSoon(state, state.now());
  // Of an account that was never erased nothing is left to erase, and its lists need not be asked.
  if (accountId === undefined || until === 0) return;
  const { env, conversations, batches, classifications } = state;
  const settings = settingsOf(env);
  await eraseSome(state, until, conversations, (id) => {
    const place = { account: accountId, id };
    return conversationStub(env, settings, place).erase(place, until > state.erasedUntil);
  });
  // A batch only answers that it will be erased. If it runs at the upstream, it is cancelled, and settled when it has ended.
  await eraseSome(state, until, batches, (id) => batchStub(env, settings, { account: accountId, id }).erase());
  await eraseSome(state, until, classifications, (id) =>
    classificationStub(env, settings, { account: accountId, id }).erase(),
  );
  await eraseAnswers(state, accountId);
  await eraseInboxes(state, accountId, until);
}

/** @returns how many rows are left, and whether more can be erased now. A row with a hold waits for its settlement. */
function eraseRows(state: AccountState): { remaining: number; more: boolean } {
  const { erased, remaining } = eraseRowsUntil(state.ledger, state.erasing);
  if (remaining === 0) state.endErasure();
  return { remaining, more: erased >= DELETED_AT_ONCE };
}

/** Asks some objects of a list to erase themselves. Each stays in the list until its object has answered. */
async function eraseSome(
  state: AccountState,
  until: number,
  list: ListedRows,
  erase: (id: string) => Promise<unknown>,
): Promise<void> {
  const ids = list.until(until, ERASED_AT_ONCE);
  if (ids.length === 0) return;
  await Promise.allSettled(ids.map((id) => erase(id).then(() => list.forget(id))));
  wakeSoon(state, state.now());
}

/** Deletes a page of the answers that KV keeps for the account. */
async function eraseAnswers(state: AccountState, account: string): Promise<void> {
  const { env, ledger } = state;
  const page = ledger.meta('answers_kept');
  if (page === undefined) return;
  try {
    const next = await forgetAnswers(env.STORE, account, page === FIRST_PAGE ? undefined : page);
    // If the account was erased again meanwhile, the erasure starts again with the first page.
    if (ledger.meta('answers_kept') === page) ledger.setMeta('answers_kept', next);
  } catch {
    // KV may no longer know the cursor, so it starts again.
    ledger.setMeta('answers_kept', FIRST_PAGE);
  }
  if (ledger.meta('answers_kept') !== undefined) wakeSoon(state, state.now());
}

/** Asks inboxes to erase what came for this account. Each stays in the list until it has answered that it is done. */
async function eraseInboxes(state: AccountState, account: string, until: number): Promise<void> {
  const { env, inboxes } = state;
  const sources = inboxes.until(until);
  if (sources.length === 0) return;
  const settings = settingsOf(env);
  for (const source of sources) {
    // An inbox that cannot be reached is asked again by the next alarm.
    const left = await inboxStub(env, settings, source)
      .erase(account, until)
      .catch(() => ({ remaining: 1 }));
    if (left.remaining === 0) inboxes.forget(source);
  }
  wakeSoon(state, state.now());
}

function wakeSoon({ alarm }: AccountState, now: number): void {
  alarm.wakeFor(now + CONTINUE_MS, 1);
}
