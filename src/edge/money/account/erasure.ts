/** Erases an account. What names a person is deleted; sums stay, so that no limit of the current windows starts again. */

import { parseSettingsOnce } from '../../config/settings.ts';
import { getConversationStub } from '../../durable/stubs.ts';
import { HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import { deleteCachedAnswersPage } from '../../kit/kv/cached-answers.ts';
import { addToErasureList } from '../../kit/kv/erasure-list.ts';
import { advanceBudgetTo } from '../budget/state.ts';
import { PERIODS } from '../budget/windows.ts';
import type { ChangeOrigin } from '../changes/change-origin.ts';
import type { ErasureProgress } from '../contracts/account.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { ErasableResourceList } from '../lists/listed-rows.ts';
import type { AccountState } from './account-state.ts';
import { type AccountPlugin, accountPlugins, listPluginErasables, UNKNOWN_LIST } from './hooks.ts';
import { recordConversationsToStop } from './notify-revoked.ts';

/** Milliseconds until the alarm continues with the remaining rows. */
const CONTINUE_MS = 1_000;
/** The value of `answers_kept` for the first page of KV keys. (It says where the next page begins.) */
const FIRST_PAGE = '1';
/** The key in `meta` of the time up to which an erasure is not in the list of erasures yet. */
const UNLISTED_ERASURE_KEY = 'erasure_unlisted';
/**
 * How many conversations are erased at the same time. (An object may have six open connections:
 * https://developers.cloudflare.com/workers/platform/limits/)
 */
const CONCURRENT_ERASURES = 5;

/**
 * Begins to erase the account, or returns how far the erasure is. The alarm continues it.
 *
 * Revocations stay, and every credential is revoked. For each window that has begun, a sum without names stays. A request
 * that is running is erased when it ends.
 *
 * @param until erases and revokes only what is older, in milliseconds since 1970: an erasure of another deployment, which may
 *   have been applied already. Default: now
 * @param by the admin who erases the account
 */
export async function eraseAccount(state: AccountState, until?: number, by?: ChangeOrigin): Promise<ErasureProgress> {
  const now = state.advanceBudgetToNow();
  const isDue = until === undefined ? state.erasureCutoff === 0 : until > state.erasedUntil;
  if (isDue) {
    beginErasure(state, Math.min(until ?? now, now), now);
    // The list of changes is kept after the erasure, so record the change without the account's id.
    state.changes.recordChanges(by, [{ kind: 'account.erased', subject: { type: 'account', id: null }, changes: {} }]);
  }
  const { remaining, more } = eraseRows(state);
  const { versions, ledger } = state;
  const others = countRemainingElsewhere(state, state.erasedUntil);
  if (
    more ||
    others > 0 ||
    versions.hasUnpublishedChanges ||
    ledger.readMetaValue('answers_kept') ||
    state.sharedBudgets?.hasLastCalls
  ) {
    scheduleErasureAlarm(state, now);
  }
  await addErasureToKvList(state);
  await eraseWithinCall(
    state,
    accountPlugins().filter((part) => part.isErasedWithinCall),
  );
  const elsewhere = countRemainingElsewhere(state, state.erasedUntil);
  const left = remaining + elsewhere + (ledger.readMetaValue(UNLISTED_ERASURE_KEY) === undefined ? 0 : 1);
  return { done: left === 0, remaining: left };
}

/** Erases what plugins keep in one other object. The alarm repeats what fails. */
async function eraseWithinCall(state: AccountState, parts: readonly AccountPlugin[]): Promise<void> {
  const { accountId, erasedUntil: until } = state;
  if (accountId === undefined) return;
  for (const part of parts) {
    const list = listPluginErasables(state, part);
    const erase = (id: string) => part.erase?.(state, { account: accountId, id }, until) ?? Promise.resolve(false);
    if (list) await eraseSomeObjects(state, until, list, erase);
  }
}

/**
 * Adds the erasure to the list that backups contain. The alarm tries again while KV does not accept it.
 *
 * @returns false if that has failed
 */
async function addErasureToKvList(state: AccountState): Promise<boolean> {
  const { accountId, env, ledger } = state;
  const unlisted = ledger.readMetaValue(UNLISTED_ERASURE_KEY);
  if (accountId === undefined || unlisted === undefined) return true;
  // Set the alarm before the write to KV, so that the erasure is listed later if the object dies during the write.
  scheduleErasureAlarm(state, state.now());
  try {
    await addToErasureList(env.STORE, accountId, Number(unlisted));
  } catch (thrown) {
    state.retries.recordFailure('erasure', thrown, state.now() + CONTINUE_MS);
    return false;
  }
  // Keep the entry if its time has changed: the account was erased again meanwhile, and KV does not have the new time yet.
  if (ledger.readMetaValue(UNLISTED_ERASURE_KEY) === unlisted) ledger.writeMetaValue(UNLISTED_ERASURE_KEY, undefined);
  return true;
}

/** @returns how much of what was made up to a time is left elsewhere: in other objects, and at upstreams */
function countRemainingElsewhere(state: AccountState, until: number): number {
  const ofPlugins = accountPlugins().flatMap((part) => listPluginErasables(state, part) ?? []);
  const lists: ErasableResourceList[] = [state.conversations, state.ownership, ...ofPlugins];
  return lists.reduce((sum, list) => sum + list.countCreatedUntil(until), 0);
}

/** @param until what is not newer is erased; milliseconds since 1970. The names of what was spent are erased up to `now` */
function beginErasure(state: AccountState, until: number, now: number): void {
  const { credentials, credits, refusals, ledger, versions, limits, budget } = state;
  credentials.revokeTokensIssuedUntil(until);
  recordConversationsToStop(state, now);
  credentials.eraseTokensIssuedUntil(until);
  credits.deleteCreditNotes(until);
  refusals.pruneRejections(until);
  if (state.configuredAt <= until) {
    limits.setOwnLimits(null);
    state.suspension.setBlock(null);
    state.storeChosenGroup(undefined);
  }
  state.sharedBudgets?.storeUnreportedBeforeErasure();
  ledger.foldSettledRowsIntoRollups(true);
  ledger.locations.deleteLocationsBefore(until + 1);
  ledger.rollups.mergeIntoNamelessRows(PERIODS.map((period) => budget.windows[period].start));
  if (!hasNewerActivity(state, until)) state.setInAccountList(false);
  state.recordErasureStart(until);
  ledger.writeMetaValue(UNLISTED_ERASURE_KEY, String(until));
  versions.deleteAllStoredUntil(until);
  state.ownership.beginErasureUntil(until);
  ledger.writeMetaValue('answers_kept', FIRST_PAGE);
  // An erasure deletes the rows up to its time. Advance the budget's clock, so that requests admitted from now on get a later
  // time and are kept.
  advanceBudgetTo(budget, now + 1);
}

/** @returns whether the account was used, or was given something, after a time */
function hasNewerActivity({ configuredAt, ledger }: AccountState, until: number): boolean {
  const tables = ['ledger where at', 'conversations where created_at', 'credits where created_at'];
  return configuredAt > until || tables.some((table) => ledger.hasRows(`${table} > ?`, until));
}

/** Erases the next page of rows, if any are being erased. */
export function continueRowErasure(state: AccountState, now: number): void {
  if (state.erasureCutoff > 0 && eraseRows(state).more) scheduleErasureAlarm(state, now);
}

/**
 * Erases what other objects keep for the account: conversations, answers in KV, events in inboxes, its name in pools.
 *
 * @param until erases what was made up to this time; milliseconds since 1970. An account that ends has everything erased, and
 *   needs no report of it
 */
export async function eraseInOtherObjects(state: AccountState, until = state.erasedUntil): Promise<void> {
  const { accountId } = state;
  const isListed = await addErasureToKvList(state);
  if (state.sharedBudgets?.hasLastCalls && (await state.sharedBudgets.reportUnreportedBeforeErasure()))
    scheduleErasureAlarm(state, state.now());
  // Without an erasure, conversations and plugins have nothing to erase, so do not query the lists.
  if (accountId === undefined || until === 0) return;
  const successes = [isListed];
  const { env, conversations } = state;
  const settings = parseSettingsOnce(env);
  const eraseConversation = (id: string) => {
    const conversationKey = { account: accountId, id };
    const erased = getConversationStub(env, settings, conversationKey).erase(
      conversationKey,
      until > state.erasedUntil,
    );
    // `erase` returns whether the conversation existed. In both cases it no longer exists, so remove it from the list.
    return erased.then(() => true);
  };
  successes.push(await eraseSomeObjects(state, until, conversations, eraseConversation));
  for (const part of accountPlugins()) {
    const list = listPluginErasables(state, part);
    const erase = (id: string) => part.erase?.(state, { account: accountId, id }, until) ?? Promise.resolve(false);
    if (list && part.erase) successes.push(list !== UNKNOWN_LIST, await eraseSomeObjects(state, until, list, erase));
  }
  successes.push(await eraseCachedAnswersPage(state, accountId));
  if (successes.every((one) => one)) state.retries.recordSuccess('erasure');
}

/** @returns how many rows are left, and whether more can be erased now. A row with a hold waits for its settlement. */
function eraseRows(state: AccountState): { remaining: number; more: boolean } {
  const { erased, remaining } = eraseRowsUntil(state.ledger, state.erasureCutoff);
  if (remaining === 0) state.recordErasureEnd();
  return { remaining, more: erased >= MAX_ROWS_PER_DELETE };
}

/**
 * Lets some objects of a list erase their data. Each stays in the list until it has confirmed that. The next alarm calls an
 * object again that could not be reached.
 *
 * @returns whether none has failed
 */
async function eraseSomeObjects(
  state: AccountState,
  until: number,
  list: ErasableResourceList,
  erase: (id: string) => Promise<boolean>,
): Promise<boolean> {
  const ids = list.listIdsCreatedUntil(until, CONCURRENT_ERASURES);
  if (ids.length === 0) return true;
  // The callback is async so that an error which a plugin throws synchronously becomes a rejection, too, and does not stop the
  // other erasures.
  const ended = await Promise.allSettled(ids.map(async (id) => (await erase(id)) && list.deleteRow(id)));
  const nextAt = scheduleErasureAlarm(state, state.now());
  const failed = ended.filter((one) => one.status === 'rejected');
  for (const { reason } of failed) state.retries.recordFailure('erasure', reason, nextAt);
  return failed.length === 0;
}

/** Deletes a page of the answers that KV keeps for the account. @returns false if that has failed */
async function eraseCachedAnswersPage(state: AccountState, account: string): Promise<boolean> {
  const { env, ledger } = state;
  const page = ledger.readMetaValue('answers_kept');
  if (page === undefined) return true;
  let isErased = true;
  try {
    const next = await deleteCachedAnswersPage(env.STORE, account, page === FIRST_PAGE ? undefined : page);
    // Store the next page only if the stored page is unchanged. If the account was erased again meanwhile, the new erasure has
    // reset it to the first page.
    if (ledger.readMetaValue('answers_kept') === page) ledger.writeMetaValue('answers_kept', next);
  } catch (thrown) {
    isErased = false;
    // The call may have failed because KV no longer knows the stored cursor, so start again with the first page.
    ledger.writeMetaValue('answers_kept', FIRST_PAGE);
    state.retries.recordFailure('erasure', thrown, state.now() + CONTINUE_MS);
  }
  if (ledger.readMetaValue('answers_kept') !== undefined) scheduleErasureAlarm(state, state.now());
  return isErased;
}

/** @returns when the alarm continues the erasure; milliseconds since 1970 */
function scheduleErasureAlarm({ alarm }: AccountState, now: number): number {
  alarm.scheduleAt(now + CONTINUE_MS, 1);
  return now + CONTINUE_MS;
}

/**
 * Deletes rows of the ledger that are older than `retention` milliseconds, a page at a time, and sets the alarm for the next
 * ones. Their cost stays in the rollups.
 */
export function pruneExpiredLedgerRows({ ledger, alarm }: AccountState, now: number, retention: number): void {
  const oldest = ledger.queryNumber('select at from ledger order by id limit 1');
  if (oldest === undefined) return;
  if (oldest >= now - retention) {
    alarm.scheduleAt(Math.max(oldest + retention, now + HOUR_MS));
    return;
  }
  const deleted = deleteRowsBefore(ledger, now - retention);
  alarm.scheduleAt(now + (deleted < MAX_ROWS_PER_DELETE ? HOUR_MS : CONTINUE_MS));
}

/**
 * Ends the account of a visitor who cannot come back: first its conversations and files, then its leases.
 *
 * @returns whether no other object stores anything of it, so that its own rows can be deleted. Otherwise the alarm continues
 */
export async function endExpiredVisitorAccount(state: AccountState): Promise<boolean> {
  const { visitorSession: visit, alarm, budget, ownership, sharedBudgets: shared } = state;
  const endsAt = visit.computeAccountEndTime();
  if (endsAt === undefined) return false;
  const now = state.advanceBudgetToNow();
  if (now < endsAt) return false;
  if (budget.holds.size > 0) {
    alarm.scheduleAt(now + MINUTE_MS);
    return false;
  }
  ownership.beginErasureUntil(now);
  await eraseInOtherObjects(state, now);
  if (countRemainingElsewhere(state, now) === 0 && !(await shared?.reportAllAndLeave())) return budget.holds.size === 0;
  scheduleErasureAlarm(state, now);
  return false;
}

/** The most rows that are deleted at once, because an object does nothing else meanwhile. */
const MAX_ROWS_PER_DELETE = 5_000;

/** Deletes settled rows admitted before `time`, after adding them to the rollups. @returns how many rows were written */
function deleteRowsBefore(ledger: Ledger, time: number): number {
  ledger.foldRowsSettledBefore(time);
  return ledger.runWriteStatement(
    `delete from ledger where id in (select id from ledger order by id limit ${MAX_ROWS_PER_DELETE}) and at < ? and status != 'held'`,
    time,
  );
}

/**
 * Deletes settled rows admitted until `time`.
 *
 * @returns how many rows were deleted, and how many are left
 */
function eraseRowsUntil(ledger: Ledger, time: number): { erased: number; remaining: number } {
  // Ids begin with their time, so what is left is among the oldest ids.
  const oldest = (limit: number) => `select id, at from ledger order by id limit ${limit}`;
  const found = ledger.queryNumberOrZero(
    `select count(*) from (${oldest(2 * MAX_ROWS_PER_DELETE)}) where at <= ?`,
    time,
  );
  const erased = ledger.runWriteStatement(
    `delete from ledger where id in (select id from (${oldest(MAX_ROWS_PER_DELETE)}) where at <= ?) and status != 'held'`,
    time,
  );
  return { erased, remaining: Math.max(0, found - erased) };
}
