/** The object of an account. It decides about all requests of the account, so that its limits hold under concurrent requests. */

import { isAdminScope, parseScopes } from '../../auth/identity/identity.ts';
import { SETTINGS_RETRY_MS } from '../../config/retention.ts';
import type { ListPage, PageSelection } from '../../durable/page.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { toIsoTime, toIsoTimeOrNull } from '../../kit/http/times.ts';
import { findLimitConflict } from '../budget/limit-conflict.ts';
import type { AccountBlock, Limits, LimitsPatch } from '../budget/limits.schema.ts';
import { createQuotaReport } from '../budget/quota-status.ts';
import type { ChangeOrigin } from '../changes/change-origin.ts';
import { compareFields, createLimitsChange, createMembershipChanges } from '../changes/change-outbox.ts';
import type { ChangeSubject } from '../changes/changes-answers.schema.ts';
import type {
  AccountObject,
  ErasureProgress,
  GiveCreditOutcome,
  HoldRenewal,
  MintedToken,
  NewCredit,
  RequestsFilter,
  RestoreOutcome,
  UsageQuery,
} from '../contracts/account.ts';
import type {
  AdmissionRequest,
  CredentialClaims,
  RateLimitedRequest,
  RecoverableHold,
} from '../contracts/admission.ts';
import type { LimitConflict } from '../contracts/limit-conflict.ts';
import type { Settlement } from '../contracts/settlement.ts';
import { isRevocationForgotten } from '../credentials/credentials.ts';
import {
  computeUsageReport,
  exportLedgerPage,
  findRequestIdByUpstreamId,
  findRequestWithTries,
  listRequests,
} from '../ledger/queries.ts';
import { AccountListsBase } from './account-lists.ts';
import { AccountState } from './account-state.ts';
import { decideAdmission, findCallerRejection } from './decide-admission.ts';
import { createRejectedDecision } from './decision-fields.ts';
import {
  continueRowErasure,
  endExpiredVisitorAccount,
  eraseAccount,
  eraseInOtherObjects,
  pruneExpiredLedgerRows,
} from './erasure.ts';
import { callAccountPluginMethod, notifySumsChanged, runDuePluginWork } from './hooks.ts';
import { findInsufficientLimit } from './insufficient-limit.ts';
import { runDueFileWork } from './maintain-files.ts';
import { recordConversationsToStop, stopRevokedConversations } from './notify-revoked.ts';
import { settleExpiredHolds, settleRequestAndFollowUps } from './settle-hold.ts';
import { HOLD_MS } from './try-admission.ts';
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
 * The object of one account: its limits, holds, ledger and credentials. Its methods are implemented in the modules beside it,
 * which share an `AccountState`.
 *
 * Decisions are made in memory, which is rebuilt from the rows when the object wakes. They never wait for anything, so no
 * other request can come between a check and its hold.
 *
 * @example export { Account } from 'sluice';
 */
export class Account extends AccountListsBase implements AccountObject {
  /**
   * Decides about an attempt of a request, and holds its maximum cost, in one step. If a pool must be asked, other requests may
   * be admitted meanwhile. Parameter and result are JSON texts of `AdmissionRequest` and `AdmissionDecision`: passing a text to
   * a Durable Object costs half as much as passing an object.
   *
   * @throws TypeError if its maximum cost is invalid; nothing has changed then
   */
  admitJson(request: string): string | Promise<string> {
    const decision = decideAdmission(this.state, JSON.parse(request) as AdmissionRequest);
    return decision instanceof Promise ? decision.then((decided) => JSON.stringify(decided)) : JSON.stringify(decision);
  }

  /**
   * Decides whether a caller may send requests at all. It takes nothing from the budget. With JSON texts, like `admitJson`.
   *
   * @returns the rejection; `null` if the caller may send requests
   */
  checkCallerJson(request: string): string {
    return JSON.stringify(
      findCallerRejection(this.state, JSON.parse(request) as Parameters<typeof findCallerRejection>[1]),
    );
  }

  /** @returns the stored grant of a request that is not settled, with its hold; undefined if there is none */
  getStoredHold(requestId: string): RecoverableHold | undefined {
    return this.state.ledger.findRecoverableHold(requestId);
  }

  /** Replaces a request's hold by what it cost. A repeated call changes nothing. With JSON texts, like `admitJson`. */
  settleJson(settlement: string): string {
    return JSON.stringify(settleRequestAndFollowUps(this.state, JSON.parse(settlement) as Settlement));
  }

  /**
   * Renews the hold of a running request: it lasts fifteen minutes from now, or as long as its admission specified. Writes a
   * row each time that a third of this has passed.
   *
   * @returns whether it has a hold; for a blocked account the message for its user, because the request must end
   */
  renewHold(requestId: string, stage?: string, holdMs = HOLD_MS): HoldRenewal {
    const isHeld = this.#renewHold(requestId, stage, holdMs);
    const { block } = this.state.suspension;
    return block ? { blocked: block.message } : isHeld;
  }

  #renewHold(requestId: string, stage: string | undefined, holdMs: number): boolean {
    const now = this.state.advanceBudgetToNow();
    const hold = this.state.budget.holds.get(requestId);
    if (!hold) return false;
    if (stage !== undefined) hold.stage = stage;
    if (hold.deadline - now >= holdMs * RENEW_BELOW) return true;
    const deadline = now + holdMs;
    this.state.ledger.renewHoldOfRow(requestId, deadline, hold.stage);
    hold.deadline = deadline;
    return true;
  }

  /** @returns the account's quota status, in the form of answers. */
  getQuotaReport(defaults?: Limits, jti?: string): QuotaReport {
    this.state.limits.updateDefaultLimits(defaults);
    this.state.advanceBudgetToNow();
    const { budget, chosenGroup: group = null, limits, storage, limitedTokens } = this.state;
    const token = limitedTokens.findTokenWithTightestLimit(budget.last);
    const insufficient = findInsufficientLimit(this.state);
    const all = { effective: limits.effectiveLimits, own: limits.ownLimits, token, insufficient };
    const quotaStatus = createQuotaReport(budget, limits.decisionRules, all, this.now());
    const { erasedUntil, suspension } = this.state;
    return {
      ...quotaStatus,
      blocked_by: suspension.block ? 'blocked' : quotaStatus.blocked_by,
      block: suspension.block,
      ...(erasedUntil === 0 ? {} : { erased_at: toIsoTime(erasedUntil) }),
      group,
      token: limitedTokens.reportTokenQuota(jti),
      ...storage.reportStorageUsage(limits.effectiveLimits, budget.last),
    };
  }

  /** Replaces the account's own limits; null means the deployment's limits. @returns the names of the changed limits */
  setLimits(limits: Limits | null, by?: ChangeOrigin): string[] {
    return this.#changeLimits(by, () => this.state.limits.setOwnLimits(limits));
  }

  #changeLimits(by: ChangeOrigin | undefined, change: () => void): string[] {
    const { limits, changes } = this.state;
    const before = limits.ownLimits;
    change();
    changes.recordChanges(by, createLimitsChange(this.#subject, before, limits.ownLimits));
    this.state.recordConfigurationTime(this.state.advanceBudgetToNow());
    notifySumsChanged(this.state);
    this.state.sharedBudgets?.onAccountDataChanged();
    return Object.keys(compareFields(before, limits.ownLimits));
  }

  /** The account as what an admin changes. */
  get #subject(): ChangeSubject {
    return { type: 'account', id: this.state.accountId ?? null };
  }

  getGroup(): string | null {
    return this.state.chosenGroup ?? null;
  }

  /** Chooses the account's group; null means the group of its credentials. Earlier holds stay with the earlier group. */
  setGroup(group: string | null, by?: ChangeOrigin): void {
    const before = this.state.chosenGroup ?? null;
    this.state.storeChosenGroup(group ?? undefined);
    this.state.changes.recordChanges(by, createMembershipChanges(this.#subject, before, group));
    this.state.recordConfigurationTime(this.state.advanceBudgetToNow());
    this.state.sharedBudgets?.onAccountDataChanged();
  }

  /** Reports to a pool that has asked, including all changes that the pool does not know. */
  async reportSpendingToPool(pool: string): Promise<void> {
    this.state.advanceBudgetToNow();
    await this.state.sharedBudgets?.reportToBudget(pool);
  }

  /**
   * Changes the account's own limits. Null in the patch removes a limit. Limits that are not in the patch stay.
   *
   * @returns the names of the changed limits, or the limit that is not as expected. Then nothing changes
   */
  patchLimits(patch: LimitsPatch, by?: ChangeOrigin): { changed: string[] } | { conflict: LimitConflict } {
    const conflict = findLimitConflict<Limits>(this.state.limits.ownLimits ?? {}, patch);
    if (conflict) return { conflict };
    return { changed: this.#changeLimits(by, () => this.state.limits.patchOwnLimits(patch)) };
  }

  /** Blocks the account, whatever its limits are; null ends the block. What runs in conversations is ended soon after. */
  setBlock(block: AccountBlock | null, by?: ChangeOrigin): void {
    const { suspension, changes } = this.state;
    const before = suspension.block;
    if (before === null && block === null) return;
    const now = this.state.advanceBudgetToNow();
    suspension.setBlock(block);
    const fields = compareFields(before, block);
    const kind = block ? 'account.blocked' : 'account.unblocked';
    if (Object.keys(fields).length > 0) changes.recordChanges(by, [{ kind, subject: this.#subject, changes: fields }]);
    this.state.recordConfigurationTime(now);
    if (block) recordConversationsToStop(this.state, now);
    this.state.sharedBudgets?.onAccountDataChanged();
  }

  /** Gives the account credit in addition to its limit `usd_total`, once for each key. */
  giveCredit(credit: NewCredit, by?: ChangeOrigin): GiveCreditOutcome {
    const isRepeated = this.state.credits.hasCredit(credit.id);
    const answer = this.state.credits.giveCredit(credit, this.state.advanceBudgetToNow());
    if (!isRepeated && this.state.credits.hasCredit(credit.id)) {
      const added = { credit: credit.id, usd: credit.usd, expires_at: toIsoTimeOrNull(credit.expiresAt) };
      const changes = compareFields(null, added);
      this.state.changes.recordChanges(by, [{ kind: 'credit.added', subject: this.#subject, changes }]);
    }
    this.state.advanceBudgetToNow();
    this.state.sharedBudgets?.onAccountDataChanged();
    return answer;
  }

  /** @returns a page of the account's credits, newest first. */
  listCredits(page: PageSelection, defaults?: Limits): ListPage<CreditRow> {
    const { limits, credits, budget } = this.state;
    limits.updateDefaultLimits(defaults);
    const now = this.state.advanceBudgetToNow();
    return credits.listCreditsPage(page, limits.decisionRules.spend.total ?? 0, budget.windows.total.settled, now);
  }

  /** @returns what was spent, by day, model, conversation or prefix. */
  getUsageReport(query: UsageQuery): UsageReport {
    return computeUsageReport(this.state.ledger, query);
  }

  /** @returns a page of the ledger, or of the rejected requests instead, newest first. */
  listRequests(page: PageSelection, filter: RequestsFilter = {}): ListPage<ListedRequest> {
    if (filter.outcome === 'refused') return this.state.refusals.listRejectionsPage(page, filter);
    return listRequests(this.state.ledger, page, filter);
  }

  /** @returns the ledger's row of a request, or its rejection; undefined if the id is not known. */
  findRequest(id: string): LedgerRequest | undefined {
    return findRequestWithTries(this.state.ledger, id) ?? this.state.refusals.findRejectedRequest(id);
  }

  /** @returns the newest request that an upstream answered under this id; undefined if none is known. @param only searches failures */
  findRequestByUpstreamId(upstreamId: string, only?: 'failed'): LedgerRequest | undefined {
    const id = findRequestIdByUpstreamId(this.state.ledger, upstreamId, only);
    return id === undefined ? undefined : findRequestWithTries(this.state.ledger, id);
  }

  /** @returns the ledger from `cursor` on, oldest first, and the cursor of the next page; null at the end. */
  exportLedgerRows(cursor = '', limit = 500): { rows: LedgerRow[]; next: string | null } {
    return exportLedgerPage(this.state.ledger, cursor, limit);
  }

  /** @returns a page of the credentials that were minted for the account or seen in use, newest first. */
  listTokens(page: PageSelection = {}): ListPage<TokenRow> {
    return this.state.credentials.listTokens(page);
  }

  /** @returns a credential by its id; undefined if it is not known. */
  findToken(jti: string): TokenRow | undefined {
    return this.state.credentials.findToken(jti);
  }

  /** @returns the credentials with a scope for operators that were minted for the account or seen in use, newest first. */
  listOperatorTokens(): TokenRow[] {
    return this.state.credentials.listOperatorTokens();
  }

  /**
   * Records a credential that was minted, so that it can be listed.
   *
   * @returns false if the account already has as many as allowed. Then this one must not be given to anybody
   */
  recordMintedToken(minted: MintedToken, by?: ChangeOrigin): boolean {
    const isRepeated = this.state.credentials.hasToken(minted.jti);
    const isKept = this.state.credentials.recordMintedToken(minted, this.state.advanceBudgetToNow());
    // List a minted token as a change by an admin only if it has an admin scope. A login mints a token for each user, and these
    // would fill the list.
    if (isKept && !isRepeated && parseScopes(minted.scopes).some(isAdminScope)) {
      const expires_at = minted.exp === undefined ? null : toIsoTime(minted.exp * 1_000);
      const changes = compareFields(null, { scopes: minted.scopes, expires_at });
      this.state.changes.recordChanges(by, [
        { kind: 'token.minted', subject: this.#toTokenSubject(minted.jti), changes },
      ]);
    }
    if (minted.limits?.usd_total !== undefined) this.state.sharedBudgets?.onAccountDataChanged();
    return isKept;
  }

  /** Revokes a credential by its id, known or not. What runs with it in conversations is ended soon after. */
  revokeToken(jti: string, by?: ChangeOrigin): void {
    const now = this.state.advanceBudgetToNow();
    if (this.state.credentials.revoke(jti, now)) {
      const changes = compareFields(null, { revoked_at: toIsoTime(now) });
      this.state.changes.recordChanges(by, [{ kind: 'token.revoked', subject: this.#toTokenSubject(jti), changes }]);
    }
    recordConversationsToStop(this.state, now, jti);
    this.state.sharedBudgets?.onAccountDataChanged();
  }

  /** Revokes every credential that was issued until now, and does as `revokeToken` for each. */
  revokeAllTokens(by?: ChangeOrigin): void {
    const now = this.state.advanceBudgetToNow();
    this.state.credentials.revokeTokensIssuedUntil(now);
    const changes = compareFields(null, { all_revoked_at: toIsoTime(now) });
    this.state.changes.recordChanges(by, [{ kind: 'token.revoked', subject: this.#subject, changes }]);
    recordConversationsToStop(this.state, now);
    this.state.sharedBudgets?.onAccountDataChanged();
  }

  #toTokenSubject(jti: string): ChangeSubject {
    return { type: 'token', id: jti, account: this.state.accountId ?? null };
  }

  /**
   * Checks whether a credential is revoked, for routes without an admission. If it is not, records its use and counts the request.
   *
   * @param text the counted request as JSON; absent for a call that is not counted
   * @returns for a suspended account, and for a request that exceeds the limit, the rejection as JSON, like `admitJson`
   */
  isTokenRevoked(token: CredentialClaims | undefined, text?: string): boolean | string {
    const now = this.state.advanceBudgetToNow();
    if (token && (this.state.credentials.isTokenRevoked(token) || isRevocationForgotten(token, now))) return true;
    const { decision } = this.state.suspension;
    if (decision) return JSON.stringify(decision);
    if (token) {
      this.state.recordCredentialUse(token, now);
      this.state.recordLocation(token, now);
    }
    const counted = text === undefined ? undefined : (JSON.parse(text) as RateLimitedRequest);
    const refusal = counted && this.state.buckets.takeRequest(counted, now);
    return refusal ? JSON.stringify(createRejectedDecision(this.state, refusal, now, token?.jti)) : false;
  }

  /** @returns whether anything was ever stored for the account. */
  hasStoredData(): boolean {
    return !this.state.ledger.areTablesMissing;
  }

  isInAccountList(): boolean {
    return this.state.isInAccountList;
  }

  markInAccountList(): void {
    this.state.setInAccountList(true);
    this.state.sharedBudgets?.onAccountListed();
  }

  /** @returns the backup of the account, as JSON. @param id how callers name the account */
  backupJson(id: string): string {
    return callAccountPluginMethod('backupJson', this.state, id);
  }

  /** Restores a backup. @param merges whether the account may have been used. Then of each sum the larger one counts */
  restoreJson(backup: string, digest: string, merges: boolean, by?: ChangeOrigin): RestoreOutcome {
    const before = { limits: this.state.limits.ownLimits, group: this.state.chosenGroup };
    const outcome = callAccountPluginMethod('restoreJson', this.state, backup, digest, merges);
    if (this.state.isReplaced) {
      this.#reloadReplacedRows();
      const changes = compareFields(before, { limits: this.state.limits.ownLimits, group: this.state.chosenGroup });
      this.state.changes.recordChanges(by, [{ kind: 'account.restored', subject: this.#subject, changes }]);
      this.state.sharedBudgets?.onSumsRestored();
    }
    return outcome;
  }

  /** @returns the time up to which the account was erased; milliseconds since 1970, 0 for never */
  getErasedUntil(): number {
    return this.state.erasedUntil;
  }

  /**
   * Erases everything except the revocations and a nameless sum of each window that has begun. First it revokes every
   * credential. It continues by itself; a further call returns its progress.
   *
   * @param until erases and revokes only what is older: the time of an erasure of another deployment
   */
  async erase(until?: number, by?: ChangeOrigin): Promise<ErasureProgress> {
    return await eraseAccount(this.state, until, by);
  }

  /** Settles orphans at their hold, continues an erasure, and deletes rows that are older than the retention. */
  override async alarm(): Promise<void> {
    const { alarm, budget, credentials } = this.state;
    alarm.markFired();
    const now = this.state.advanceBudgetToNow();
    settleExpiredHolds(this.state, now);
    notifySumsChanged(this.state);
    credentials.deleteExpiredTokens(now);
    continueRowErasure(this.state, now);
    for (const { deadline } of budget.holds.values()) alarm.scheduleAt(deadline);
    const { retentionMs: retention } = this.state;
    if (retention === undefined) return alarm.scheduleAt(now + SETTINGS_RETRY_MS);
    try {
      await this.#callOtherObjects();
    } finally {
      // `#pruneRows` may set the alarm to a time weeks away, so it runs last. Otherwise, if the object died during a call
      // above, the remaining calls would wait for weeks: a new alarm replaces the platform's retry of a failed handler. See
      // https://developers.cloudflare.com/durable-objects/api/alarms
      this.#pruneRows(now, retention);
    }
  }

  /** Continues what needs other objects. What fails is repeated by another alarm. */
  async #callOtherObjects(): Promise<void> {
    await stopRevokedConversations(this.state);
    await this.state.alerts.sendUnconfirmedAlerts();
    await runDuePluginWork(this.state);
    if (await endExpiredVisitorAccount(this.state)) return await this.#deleteWholeAccount();
    await this.state.sharedBudgets?.reportDueChanges();
    await eraseInOtherObjects(this.state);
    await runDueFileWork(this.state);
    await this.state.publisher.publishAllToKv();
  }

  /** Deletes rows that are older than the retention, and sets the alarm for the next ones. */
  #pruneRows(now: number, retention: number): void {
    pruneExpiredLedgerRows(this.state, now, retention);
    this.state.refusals.pruneRejections(now - retention);
    const oldestHour = this.state.ledger.locations.deleteLocationsBefore(now - retention);
    if (oldestHour !== undefined) this.state.alarm.scheduleAt(oldestHour + retention + HOUR_MS);
    this.state.visitorSession.scheduleEndAlarm(now);
  }

  /** Deletes everything, as if the account had never been. */
  async #deleteWholeAccount(): Promise<void> {
    const deletion = this.services.deleteRowsAndAlarm();
    // Replace the state before the await. Otherwise a call that arrives meanwhile would use the old state, whose rows are
    // deleted.
    this.state.isReplaced = true;
    this.#reloadReplacedRows();
    await deletion;
  }

  /** Takes up the rows, which were replaced. */
  #reloadReplacedRows(): void {
    this.state = new AccountState(this.ctx, this.services);
  }
}
