import type { MessageBatch } from '../batches/batches-answers.schema.ts';
import { reportQuotaStatus } from '../budget/quota-status.ts';
import type { ConversationRow } from '../conversations/conversations-answers.schema.ts';
import type { Bindings } from '../durable/bindings.ts';
import type {
  AccountObject,
  CreditAnswer,
  Days,
  Erasure,
  MintedToken,
  NameRow,
  NewCredit,
  NewVersion,
  PutAnswer,
  SavingsQuery,
  SavingsRow,
  UsageQuery,
  VersionId,
} from '../durable/contracts/account.ts';
import type { AdmissionDecision, AdmissionRequest, CredentialUse } from '../durable/contracts/admission.ts';
import type { BatchOrder, BatchSettlement } from '../durable/contracts/batch.ts';
import type {
  Belonging,
  FileDescription,
  FileRow,
  UploadDecision,
  UploadReport,
  UploadRequest,
} from '../durable/contracts/belongings.ts';
import type { ConversationPage, Page, PageOf } from '../durable/contracts/page.ts';
import type { ConversationReport, Settled, Settlement } from '../durable/contracts/settlement.ts';
import { EdgeObject } from '../durable/edge-object.ts';
import type { Limits, LimitsPatch } from '../settings/limits.schema.ts';
import { UNREADABLE_MS } from '../settings/retention.ts';
import type { VersionRow } from '../versions/versions-answers.schema.ts';
import type { AccountBackup } from './account-backup.schema.ts';
import { backupOf, restoreAccount } from './account-backup.ts';
import { AccountState, ALARM_GRAIN_MS } from './account-state.ts';
import { decideBatch, settleBatch } from './admit-batch.ts';
import { decideAdmission, decideAlone, HOLD_MS, refusalOfCaller } from './decide-admission.ts';
import { continueRows, eraseAccount, eraseElsewhere } from './erasure.ts';
import { conversationsOf, ledgerPageOf, ledgerRequestOf, requestsOf, usageOf } from './ledger/queries.ts';
import { savingsOf } from './ledger/savings.ts';
import { pruneLedger } from './prune-ledger.ts';
import { raiseAlerts } from './raise-alerts.ts';
import { settleHold, settleOrphans } from './settle-hold.ts';
import { beginUpload, endUpload, tendFiles } from './tend-files.ts';
import type {
  CreditRow,
  LedgerRequest,
  LedgerRow,
  ListedRequest,
  QuotaReport,
  TokenRow,
  UsageReport,
} from './usage-answers.schema.ts';

/** A hold is renewed only once less than this is left of it: a renewal writes a row. */
const RENEW_BELOW_MS = 10 * 60_000;

/**
 * The object of one account: its limits, holds, ledger and credentials. Here stand the methods that others call (all of
 * them, so the file is long); what they do stands in the modules beside it, which share an `AccountState`.
 *
 * Decisions are made in memory, which is rebuilt from the rows when the object wakes, and never wait for anything:
 * between a check and its hold no other request can come.
 */
export class Account extends EdgeObject implements AccountObject {
  #state: AccountState;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env, ALARM_GRAIN_MS);
    this.#state = new AccountState(ctx, this.around);
  }

  /**
   * Decides on a request that no pool pays for and sets aside what it can cost, in one step.
   *
   * @throws TypeError if its worst case is none, Error if a pool has to be asked; nothing has changed then
   */
  admit(request: AdmissionRequest): AdmissionDecision {
    return decideAlone(this.#state, request);
  }

  /**
   * Does what `admit` does, by text: a text costs half as much to pass to an object as a value with members. Where a pool
   * has to be asked, others are admitted meanwhile.
   *
   * @param along settlements that are made first, as a JSON list; the answer tells in `along` what came of each
   */
  admitJson(request: string, along?: string): string | Promise<string> {
    const settled = this.#settleAlong(along);
    const textOf = (decided: AdmissionDecision) => JSON.stringify({ ...decided, ...settled });
    const decision = decideAdmission(this.#state, JSON.parse(request) as AdmissionRequest);
    return decision instanceof Promise ? decision.then(textOf) : textOf(decision);
  }

  /**
   * Decides whether a caller may ask at all, and takes nothing for it. By text, as `admitJson`.
   *
   * @returns the refusal; `null` where they may
   */
  mayAskJson(request: string): string {
    return JSON.stringify(refusalOfCaller(this.#state, JSON.parse(request) as Parameters<typeof refusalOfCaller>[1]));
  }

  /** Does what `settle` does, by text. @param along more of them, as `admitJson` takes them */
  settleJson(settlement: string, along?: string): string {
    return JSON.stringify({ ...this.settle(JSON.parse(settlement) as Settlement), ...this.#settleAlong(along) });
  }

  /** @returns what came of each settlement; null for one that could not be made: who it belongs to makes it by itself. */
  #settleAlong(along: string | undefined): { along?: (Settled | null)[] } {
    if (along === undefined) return {};
    const settleOne = (settlement: Settlement) => {
      try {
        return this.settle(settlement);
      } catch {
        // It must not fail those that it came with. Made by itself it throws again, where it is heard.
        return null;
      }
    };
    return { along: (JSON.parse(along) as Settlement[]).map(settleOne) };
  }

  /** Replaces a request's hold by what it cost: once, however often it is called. */
  settle(settlement: Settlement): Settled {
    const settled = settleHold(this.#state, settlement);
    const { conversation } = settlement;
    const { outcome, cost, overHold } = settled;
    if (outcome !== 'duplicate') raiseAlerts(this.#state, overHold ? settlement.requestId : undefined);
    if (conversation && !this.#isErased(conversation)) {
      this.#state.storage.arrived(conversation.id);
      const isNoted = conversation.cost === undefined && (outcome === 'duplicate' || outcome === 'erased');
      this.#state.conversations.note(conversation, isNoted ? 0 : cost);
    }
    return settled;
  }

  /**
   * Notes a change of a conversation that came by no request.
   *
   * @returns whether the conversation is to be erased, as the account was after it began
   */
  noteConversation(report: ConversationReport): { erased: boolean } {
    this.#state.advance();
    const erased = this.#isErased(report);
    this.#state.storage.arrived(report.id);
    if (!erased) this.#state.conversations.note(report, 0);
    else if (report.gone) this.#state.conversations.forget(report.id);
    return { erased };
  }

  /**
   * Notes an inbox of webhooks that this account pays for.
   *
   * @returns until when what came there is erased, as the account was; 0 is never
   */
  noteInbox(source: string): { erasedUntil: number } {
    this.#state.inboxes.note(source, this.#state.advance());
    return { erasedUntil: this.#state.erasedUntil };
  }

  /** Decides on a batch, and sets aside what its items can cost. By text, as `admitJson`. */
  admitBatchJson(order: string): string | Promise<string> {
    const decision = decideBatch(this.#state, JSON.parse(order) as BatchOrder);
    return decision instanceof Promise ? decision.then((text) => JSON.stringify(text)) : JSON.stringify(decision);
  }

  /** Replaces the holds of a batch by what it cost: once, however often it is called. */
  settleBatchJson(settlement: string): void {
    if (settleBatch(this.#state, JSON.parse(settlement) as BatchSettlement)) raiseAlerts(this.#state);
  }

  /** Notes how a batch is; null where it is no more. */
  noteBatch(id: string, report: MessageBatch | null): void {
    if (report) this.#state.batches.note(report);
    else this.#state.batches.forget(id);
  }

  /** Notes a classification by batch, or that it is no more. */
  noteClassification(id: string, isThere: boolean): void {
    const { classifications } = this.#state;
    if (isThere) classifications.note(id, this.#state.advance());
    else classifications.forget(id);
  }

  /** @returns a page of the account's batches, newest first. */
  batches(page: PageOf): Page<MessageBatch> {
    return this.#state.batches.page(page);
  }

  /** @returns a page of the account's conversations, newest first: of its subagents' only where their parent is named. */
  conversations(page: ConversationPage): Page<ConversationRow> {
    const { ledger, budget, conversations } = this.#state;
    return conversations.page(page, conversationsOf(ledger, budget.holds.keys()));
  }

  /**
   * Says that a request still runs: its deadline is fifteen minutes from now. Writes a row every five minutes at most.
   *
   * @returns whether it has a hold
   */
  renew(requestId: string, stage?: string): boolean {
    const now = this.#state.advance();
    const hold = this.#state.budget.holds.get(requestId);
    if (!hold) return false;
    if (stage !== undefined) hold.stage = stage;
    if (hold.deadline - now >= RENEW_BELOW_MS) return true;
    const deadline = now + HOLD_MS;
    this.#state.ledger.renew(requestId, deadline, hold.stage);
    hold.deadline = deadline;
    return true;
  }

  /** Notes how far a request has come, in memory: it is written with the next row that is written for it anyway. */
  stage(requestId: string, stage: string): void {
    const hold = this.#state.budget.holds.get(requestId);
    if (hold) hold.stage = stage;
  }

  /** @returns where the account stands, for people. */
  standing(defaults?: Limits, jti?: string): QuotaReport {
    this.#state.limits.noteDefaults(defaults);
    this.#state.advance();
    const { budget, limits, storage, limitedTokens } = this.#state;
    const quotaStatus = reportQuotaStatus(
      budget,
      limits.rules,
      { inForce: limits.limits, own: limits.own },
      this.now(),
    );
    return { ...quotaStatus, token: limitedTokens.report(jti), ...storage.report(limits.limits, budget.last) };
  }

  /** @returns the account's own limits, or null. */
  getLimits(): Limits | null {
    return this.#state.limits.own;
  }

  /** Replaces the account's own limits; null takes the deployment's for all. */
  setLimits(limits: Limits | null): void {
    this.#state.limits.setOwn(limits);
    this.#state.advance();
    raiseAlerts(this.#state);
    this.#state.leases.described();
  }

  /** @returns the group that an admin has chosen for the account, or null. */
  getGroup(): string | null {
    return this.#state.leases.group ?? null;
  }

  /** Chooses the account's group; null leaves it to its credentials. What was held before stays with the group before. */
  setGroup(group: string | null): void {
    this.#state.leases.setGroup(group ?? undefined);
    this.#state.advance();
    this.#state.leases.described();
  }

  /** Tells a pool, which has asked by its name, where the account stands, with all that the pool does not know. */
  async reportTo(pool: string): Promise<void> {
    this.#state.advance();
    await this.#state.leases.report(pool);
  }

  /** Changes the account's own limits: what the patch names as null is removed, what it does not name stays. */
  patchLimits(patch: LimitsPatch): void {
    this.#state.limits.patchOwn(patch);
    this.#state.advance();
    raiseAlerts(this.#state);
    this.#state.leases.described();
  }

  /** Gives the account credit beside its limit `usd_total`, once for a key. */
  giveCredit(credit: NewCredit): CreditAnswer {
    return this.#state.credits.grant(credit, this.#state.advance());
  }

  /** @returns a page of the account's credits, newest first. */
  credits(page: PageOf, defaults?: Limits): Page<CreditRow> {
    const { limits, credits, budget } = this.#state;
    limits.noteDefaults(defaults);
    const now = this.#state.advance();
    return credits.page(page, limits.rules.spend.total ?? 0, budget.windows.total.settled, now);
  }

  /** @returns what was spent, by day, model, conversation or prefix. */
  usage(query: UsageQuery): UsageReport {
    return usageOf(this.#state.ledger, query);
  }

  /** @returns a page of the ledger, newest first. */
  requests(page: PageOf, days: Days = {}): Page<LedgerRow> {
    return requestsOf(this.#state.ledger, page, days);
  }

  /** @returns a page of what was refused, newest first. */
  refusals(page: PageOf, days: Days = {}): Page<ListedRequest> {
    return this.#state.refusals.page(page, days);
  }

  /** @returns one row of the ledger, or what was refused under this id, or undefined. */
  request(id: string): LedgerRequest | undefined {
    return ledgerRequestOf(this.#state.ledger, id) ?? this.#state.refusals.find(id);
  }

  /** @returns the ledger from `cursor` on, oldest first, and where the next page begins, or null at the end. */
  exportRows(cursor = '', limit = 500): { rows: LedgerRow[]; next: string | null } {
    return ledgerPageOf(this.#state.ledger, cursor, limit);
  }

  /** @returns those of some ids that are the account's, with the upstreams where they are. */
  belongings(ids: readonly string[]): Belonging[] {
    return this.#state.belongings.find(ids);
  }

  /** Notes what an answer has made. */
  noteMade(made: readonly Belonging[]): void {
    this.#state.belongings.note(made, this.#state.advance());
  }

  /** Sets bytes aside for a file. Doing so twice for one request sets them aside once. */
  beginUpload(upload: UploadRequest): UploadDecision {
    const now = this.#state.advance();
    return beginUpload(this.#state, upload, now);
  }

  /** Notes how an upload has ended. */
  endUpload(report: UploadReport): void {
    this.#state.advance();
    endUpload(this.#state, report);
  }

  /** @returns a page of the account's files, newest first. */
  files(page: PageOf): Page<FileRow> {
    return this.#state.belongings.files(page, this.#state.advance());
  }

  /** Notes what the upstream says of a file that a tool has made. */
  describeFile(file: FileDescription): void {
    this.#state.belongings.describe(file);
  }

  /** Notes that a file is no longer there. */
  fileGone(id: string): void {
    this.#state.belongings.gone(id);
  }

  /** @returns a page of the credentials that were minted for the account or seen in use, newest first. */
  tokens(page: PageOf = {}): Page<TokenRow> {
    return this.#state.credentials.list(page);
  }

  /**
   * Notes a credential that was minted, so that it can be listed.
   *
   * @returns false where the account has as many as it may: nobody is to be given this one
   */
  rememberToken(minted: MintedToken): boolean {
    return this.#state.credentials.remember(minted, this.#state.advance());
  }

  /** Revokes a credential by its id, known or not. */
  revokeToken(jti: string): void {
    this.#state.credentials.revoke(jti, this.#state.advance());
  }

  /** Revokes every credential that was issued until now. */
  revokeAll(): void {
    this.#state.credentials.revokeAll(this.#state.advance());
  }

  /** For routes that admit nothing: whether the credential is revoked. One that is not has been seen now. */
  isRevoked(token: CredentialUse): boolean {
    if (this.#state.credentials.isRevoked(token)) return true;
    this.#state.credentials.see(token, this.#state.advance());
    return false;
  }

  /** Gives back the room that was set aside for a conversation which did not come to be, or did not grow. */
  storesNothing(conversation: string): void {
    this.#state.storage.arrived(conversation);
  }

  /** @returns whether the account is on the list of accounts. */
  isListed(): boolean {
    return this.#state.listed;
  }

  /** Notes that the account is on the list of accounts. */
  listed(): void {
    this.#state.setListed(true);
  }

  /** Stores a version, and has its name point to it. */
  async putVersion(version: NewVersion): Promise<PutAnswer> {
    const now = this.#state.advance();
    const outcome = this.#state.versions.put(
      version,
      now,
      this.#state.storage.roomForVersions(this.#state.limits.limits, now),
    );
    return outcome === 'full'
      ? { outcome }
      : { outcome, published: await this.#state.publisher.publish(version.kind, version.name) };
  }

  /** Has a name point to a version that was stored before. */
  async pointVersion(id: VersionId): Promise<PutAnswer> {
    const outcome = this.#state.versions.point(id, this.#state.advance());
    return outcome === 'unknown'
      ? { outcome }
      : { outcome, published: await this.#state.publisher.publish(id.kind, id.name) };
  }

  /** Takes a name away. Its versions stay for those who hold them. */
  async removeName(kind: string, name: string): Promise<{ existed: boolean; published: boolean }> {
    const existed = this.#state.versions.remove(kind, name, this.#state.advance());
    return { existed, published: !existed || (await this.#state.publisher.publish(kind, name)) };
  }

  /** @returns the bytes of a version, which KV may not have yet. */
  readVersion(id: VersionId): Uint8Array | undefined {
    return this.#state.versions.read(id);
  }

  /** @returns one name that is stored here, and the version that it points to. */
  storedName(kind: string, name: string): NameRow | undefined {
    return this.#state.versions.name(kind, name);
  }

  /** @returns names in their order, one more than the limit if there are more. */
  storedNames(kind: string, page: PageOf): NameRow[] {
    return this.#state.versions.names(kind, page);
  }

  /** @returns a page of the versions of a name, newest first. */
  versionHistory(kind: string, name: string, page: PageOf): Page<VersionRow> | undefined {
    return this.#state.versions.history(kind, name, page);
  }

  /** @returns every version of a name, as ledgers name it. */
  versionsOf(kind: string, name: string): string[] {
    return this.#state.versions.versionsOf(kind, name);
  }

  /** Keeps a version for a holder, beyond its name. @returns false where there is none */
  holdVersion(id: VersionId, holder: string): boolean {
    return this.#state.versions.hold(id, holder);
  }

  /** Lets a version go that was held. */
  async releaseVersion(id: VersionId, holder: string): Promise<void> {
    this.#state.versions.release(id, holder);
    await this.#state.publisher.publish(id.kind, id.name);
  }

  /** @returns what caching has saved the requests of these versions of a prefix, by day and version. */
  savings(query: SavingsQuery): SavingsRow[] {
    return savingsOf(this.#state.ledger, query, this.settings().models);
  }

  /** @returns what a backup keeps of the account, as JSON. @param id how callers name the account */
  backupJson(id: string): string {
    this.#state.advance();
    return JSON.stringify(backupOf(this.#state, id));
  }

  /** Takes up a backup, where the account is new. @returns false where it is not */
  restoreJson(backup: string, digest: string): boolean {
    const outcome = restoreAccount(this.#state, JSON.parse(backup) as AccountBackup, digest);
    if (outcome === 'restored') {
      // Its memory is that of an account without anything. Who waits for a pool meanwhile must not be admitted by it.
      this.#state.isReplaced = true;
      this.#state = new AccountState(this.ctx, this.around);
    }
    return outcome !== 'used';
  }

  /**
   * Erases all but the revocations, which it makes complete first, and a nameless sum of each window that has begun. Goes
   * on by itself; to call it again tells how far it is.
   */
  erase(): Erasure {
    return eraseAccount(this.#state);
  }

  /** Settles orphans at their hold, goes on erasing, and deletes rows that are older than the retention. */
  override async alarm(): Promise<void> {
    const { alarm, alerts, budget, credentials, publisher, refusals } = this.#state;
    alarm.fired();
    const now = this.#state.advance();
    settleOrphans(this.#state, now);
    raiseAlerts(this.#state);
    credentials.prune(now);
    continueRows(this.#state, now);
    for (const { deadline } of budget.holds.values()) alarm.wakeFor(deadline);
    const { retention } = this.#state;
    if (retention === undefined) return alarm.wakeFor(now + UNREADABLE_MS);
    pruneLedger(this.#state, now, retention);
    refusals.prune(now - retention);
    await alerts.send();
    await eraseElsewhere(this.#state);
    await tendFiles(this.#state);
    await this.#state.leases.reportCorrections();
    await publisher.publishAll();
  }

  #isErased({ createdAt }: ConversationReport): boolean {
    return createdAt <= this.#state.erasedUntil;
  }
}
