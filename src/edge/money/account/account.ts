import { SETTINGS_RETRY_MS } from '../../config/retention.ts';
import type { Page, PageSelection } from '../../durable/page.ts';
import type { Limits, LimitsPatch } from '../budget/limits.schema.ts';
import { reportQuotaStatus } from '../budget/quota-status.ts';
import type {
  AccountObject,
  CreditAnswer,
  Erasure,
  MintedToken,
  NewCredit,
  RequestsFilter,
  RestoreOutcome,
  UsageQuery,
} from '../contracts/account.ts';
import type { AdmissionRequest, CountedRead, CredentialUse, StoredHold } from '../contracts/admission.ts';
import type { Settlement } from '../contracts/settlement.ts';
import { isForgotten } from '../credentials/credentials.ts';
import { findIdByUpstream, ledgerPageOf, ledgerRequestOf, requestsOf, usageOf } from '../ledger/queries.ts';
import { AccountLists } from './account-lists.ts';
import { AccountState } from './account-state.ts';
import { decideAdmission, HOLD_MS, refusalOfCaller } from './decide-admission.ts';
import { continueRows, endVisitorAccount, eraseAccount, eraseInOtherObjects, pruneLedger } from './erasure.ts';
import { answerByPlugin, notifySumsChanged, runDueWork } from './hooks.ts';
import { refuse } from './lease-from-payers.ts';
import { maintainFiles } from './maintain-files.ts';
import { noteRevokedConversations, notifyRevokedConversations } from './notify-revoked.ts';
import { settleOrphans, settleRequest } from './settle-hold.ts';
import type {
  CreditRow,
  LedgerRequest,
  LedgerRow,
  ListedRequest,
  QuotaReport,
  TokenRow,
  UsageReport,
} from './usage-answers.schema.ts';

/** A hold is renewed only when less than this share of its time is left, because a renewal writes a row. */
const RENEW_BELOW = 2 / 3;

/**
 * The object of one account: its limits, holds, ledger and credentials. What its methods do is in the modules beside it, which
 * share an `AccountState`.
 *
 * Decisions are made in memory, which is rebuilt from the rows when the object wakes. They never wait for anything, so no
 * other request can come between a check and its hold.
 *
 * @example export { Account } from 'sluice';
 */
export class Account extends AccountLists implements AccountObject {
  /**
   * Decides on a request, and sets aside the most that it can cost, in one step. If a pool must be asked, other requests may
   * be admitted meanwhile. With JSON texts: passing a text to an object costs half as much as an object with members.
   *
   * @throws TypeError if its worst case is invalid; nothing has changed then
   */
  admitJson(request: string): string | Promise<string> {
    const decision = decideAdmission(this.state, JSON.parse(request) as AdmissionRequest);
    return decision instanceof Promise ? decision.then((decided) => JSON.stringify(decided)) : JSON.stringify(decision);
  }

  /**
   * Decides whether a caller may ask at all. It takes nothing from the budget. With JSON texts, like `admitJson`.
   *
   * @returns the refusal; `null` if the caller may ask
   */
  checkCallerJson(request: string): string {
    return JSON.stringify(refusalOfCaller(this.state, JSON.parse(request) as Parameters<typeof refusalOfCaller>[1]));
  }

  /** @returns what was kept for a request that is not settled; undefined if there is nothing */
  storedHold(requestId: string): StoredHold | undefined {
    return this.state.ledger.storedHold(requestId);
  }

  /** Replaces a request's hold by what it cost. A repeated call changes nothing. With JSON texts, like `admitJson`. */
  settleJson(settlement: string): string {
    return JSON.stringify(settleRequest(this.state, JSON.parse(settlement) as Settlement));
  }

  /**
   * Says that a request still runs: its hold lasts fifteen minutes from now, or as long as its admission said. Writes a row each time
   * that a third of this has passed.
   *
   * @returns whether it has a hold
   */
  renew(requestId: string, stage?: string, holdMs = HOLD_MS): boolean {
    const now = this.state.advance();
    const hold = this.state.budget.holds.get(requestId);
    if (!hold) return false;
    if (stage !== undefined) hold.stage = stage;
    if (hold.deadline - now >= holdMs * RENEW_BELOW) return true;
    const deadline = now + holdMs;
    this.state.ledger.renew(requestId, deadline, hold.stage);
    hold.deadline = deadline;
    return true;
  }

  /** @returns the account's quota status, in the form of answers. */
  quota(defaults?: Limits, jti?: string): QuotaReport {
    this.state.limits.noteDefaults(defaults);
    this.state.advance();
    const { budget, group = null, limits, storage, limitedTokens } = this.state;
    const token = limitedTokens.tightest(budget.last);
    const all = { effective: limits.limits, own: limits.own, token };
    const quotaStatus = reportQuotaStatus(budget, limits.rules, all, this.now());
    return { ...quotaStatus, group, token: limitedTokens.report(jti), ...storage.report(limits.limits, budget.last) };
  }

  /** Replaces the account's own limits; null means the deployment's limits. */
  setLimits(limits: Limits | null): void {
    this.state.limits.setOwn(limits);
    this.state.noteConfigured(this.state.advance());
    notifySumsChanged(this.state);
    this.state.sharedBudgets?.noteDescribed();
  }

  getGroup(): string | null {
    return this.state.group ?? null;
  }

  /** Chooses the account's group; null means the group of its credentials. Earlier holds stay with the earlier group. */
  setGroup(group: string | null): void {
    this.state.setGroup(group ?? undefined);
    this.state.noteConfigured(this.state.advance());
    this.state.sharedBudgets?.noteDescribed();
  }

  /** Reports to a pool that has asked, including all changes that the pool does not know. */
  async reportTo(pool: string): Promise<void> {
    this.state.advance();
    await this.state.sharedBudgets?.report(pool);
  }

  /** Changes the account's own limits. Null in the patch removes a limit. Limits that are not in the patch stay. */
  patchLimits(patch: LimitsPatch): void {
    this.state.limits.patchOwn(patch);
    this.state.noteConfigured(this.state.advance());
    notifySumsChanged(this.state);
    this.state.sharedBudgets?.noteDescribed();
  }

  /** Gives the account credit in addition to its limit `usd_total`, once for each key. */
  giveCredit(credit: NewCredit): CreditAnswer {
    const answer = this.state.credits.grant(credit, this.state.advance());
    this.state.advance();
    this.state.sharedBudgets?.noteDescribed();
    return answer;
  }

  /** @returns a page of the account's credits, newest first. */
  credits(page: PageSelection, defaults?: Limits): Page<CreditRow> {
    const { limits, credits, budget } = this.state;
    limits.noteDefaults(defaults);
    const now = this.state.advance();
    return credits.page(page, limits.rules.spend.total ?? 0, budget.windows.total.settled, now);
  }

  /** @returns what was spent, by day, model, conversation or prefix. */
  usage(query: UsageQuery): UsageReport {
    return usageOf(this.state.ledger, query);
  }

  /** @returns a page of the ledger, or of what was refused in place of it, newest first. */
  requests(page: PageSelection, filter: RequestsFilter = {}): Page<ListedRequest> {
    if (filter.outcome === 'refused') return this.state.refusals.page(page, filter);
    return requestsOf(this.state.ledger, page, filter);
  }

  /** @returns the ledger's row of a request, or its refusal; undefined if the id is not known. */
  request(id: string): LedgerRequest | undefined {
    return ledgerRequestOf(this.state.ledger, id) ?? this.state.refusals.find(id);
  }

  /** @returns the newest request that an upstream answered under this id; undefined if none is known. @param only searches failures */
  requestAtUpstream(upstreamId: string, only?: 'failed'): LedgerRequest | undefined {
    const id = findIdByUpstream(this.state.ledger, upstreamId, only);
    return id === undefined ? undefined : ledgerRequestOf(this.state.ledger, id);
  }

  /** @returns the ledger from `cursor` on, oldest first, and the cursor of the next page; null at the end. */
  exportRows(cursor = '', limit = 500): { rows: LedgerRow[]; next: string | null } {
    return ledgerPageOf(this.state.ledger, cursor, limit);
  }

  /** @returns a page of the credentials that were minted for the account or seen in use, newest first. */
  tokens(page: PageSelection = {}): Page<TokenRow> {
    return this.state.credentials.list(page);
  }

  /**
   * Notes a credential that was minted, so that it can be listed.
   *
   * @returns false if the account already has as many as allowed. Then this one must not be given to anybody
   */
  rememberToken(minted: MintedToken): boolean {
    const isKept = this.state.credentials.remember(minted, this.state.advance());
    if (minted.limits?.usd_total !== undefined) this.state.sharedBudgets?.noteDescribed();
    return isKept;
  }

  /** Revokes a credential by its id, known or not. What runs with it in conversations is ended soon after. */
  revokeToken(jti: string): void {
    const now = this.state.advance();
    this.state.credentials.revoke(jti, now);
    noteRevokedConversations(this.state, now, jti);
    this.state.sharedBudgets?.noteDescribed();
  }

  /** Revokes every credential that was issued until now, and does as `revokeToken` for each. */
  revokeAll(): void {
    const now = this.state.advance();
    this.state.credentials.revokeAll(now);
    noteRevokedConversations(this.state, now);
    this.state.sharedBudgets?.noteDescribed();
  }

  /**
   * Tells whether a credential is revoked, for routes without an admission. Otherwise it is noted as seen now, and a read is
   * counted.
   *
   * @param text the read as JSON; absent for a call that is not counted
   * @returns for one read too many why it may not be answered, as JSON like `admitJson`
   */
  isRevoked(token: CredentialUse | undefined, text?: string): boolean | string {
    const now = this.state.advance();
    if (token) {
      if (this.state.credentials.isRevoked(token) || isForgotten(token, now)) return true;
      this.state.noteUse(token, now);
    }
    const read = text === undefined ? undefined : (JSON.parse(text) as CountedRead);
    const refusal = read && this.state.buckets.countRead(read, now);
    return refusal ? JSON.stringify(refuse(this.state, refusal, now, token?.jti)) : false;
  }

  /** @returns whether anything was ever stored for the account. */
  isKnown(): boolean {
    return !this.state.ledger.areMissing;
  }

  isListed(): boolean {
    return this.state.isListed;
  }

  markListed(): void {
    this.state.setListed(true);
    this.state.sharedBudgets?.noteListed();
  }

  /** @returns the backup of the account, as JSON. @param id how callers name the account */
  backupJson(id: string): string {
    return answerByPlugin('backupJson', this.state, id);
  }

  /** Restores a backup. @param merges whether the account may have been used. Then of each sum the larger one counts */
  restoreJson(backup: string, digest: string, merges: boolean): RestoreOutcome {
    const outcome = answerByPlugin('restoreJson', this.state, backup, digest, merges);
    if (this.state.isReplaced) {
      this.#reload();
      this.state.sharedBudgets?.noteRestored();
    }
    return outcome;
  }

  /** @returns the time up to which the account was erased; milliseconds since 1970, 0 for never */
  erasedUntil(): number {
    return this.state.erasedUntil;
  }

  /**
   * Erases everything except the revocations and a nameless sum of each window that has begun. First it revokes every
   * credential. It goes on by itself; calling it again returns how far it is.
   *
   * @param until erases and revokes only what is older: the time of an erasure of another deployment
   */
  async erase(until?: number): Promise<Erasure> {
    return await eraseAccount(this.state, until);
  }

  /** Settles orphans at their hold, continues an erasure, and deletes rows that are older than the retention. */
  override async alarm(): Promise<void> {
    const { alarm, budget, credentials, publisher, refusals } = this.state;
    alarm.markFired();
    const now = this.state.advance();
    this.state.visitorSession.wake(now);
    settleOrphans(this.state, now);
    notifySumsChanged(this.state);
    credentials.prune(now);
    continueRows(this.state, now);
    for (const { deadline } of budget.holds.values()) alarm.schedule(deadline);
    const { retention } = this.state;
    if (retention === undefined) return alarm.schedule(now + SETTINGS_RETRY_MS);
    pruneLedger(this.state, now, retention);
    refusals.prune(now - retention);
    await notifyRevokedConversations(this.state);
    await runDueWork(this.state);
    if (await endVisitorAccount(this.state)) return await this.#end();
    await this.state.sharedBudgets?.reportChanges();
    await eraseInOtherObjects(this.state);
    await maintainFiles(this.state);
    await publisher.publishAll();
  }

  /** Deletes everything, as if the account had never been. */
  async #end(): Promise<void> {
    const deletion = this.services.deleteAll();
    // In the same step, so that no call comes to a state whose rows are gone.
    this.state.isReplaced = true;
    this.#reload();
    await deletion;
  }

  /** Takes up the rows, which were replaced. */
  #reload(): void {
    this.state = new AccountState(this.ctx, this.services);
  }
}
