import { DurableObject } from 'cloudflare:workers';
import { HOUR_MS } from '../async/durations.ts';
import { decide, takeCountRequest, takeFreeRequest } from '../budget/budget.ts';
import { quotaStatusOf, reportQuotaStatus } from '../budget/quota-status.ts';
import { type Rules, rulesOf } from '../budget/rules.ts';
import {
  advance,
  type Budget,
  bucketsAfterAdmission,
  bucketsAfterSettlement,
  correct,
  emptyBudget,
  type Hold,
  place,
  type Spent,
  settle,
  takeCount,
} from '../budget/state.ts';
import { PERIODS } from '../budget/windows.ts';
import type { ConversationRow } from '../conversations/conversations-answers.schema.ts';
import type { Bindings } from '../durable/bindings.ts';
import type {
  AccountObject,
  Erasure,
  MintedToken,
  NameRow,
  NewVersion,
  PutAnswer,
  SavingsQuery,
  SavingsRow,
  UsageQuery,
  VersionId,
} from '../durable/contracts/account.ts';
import type {
  AdmissionDecision,
  AdmissionRequest,
  CredentialUse,
  QuotaStatus,
  Refusal,
} from '../durable/contracts/admission.ts';
import type { Page, PageOf } from '../durable/contracts/page.ts';
import type { ConversationReport, Settled, Settlement } from '../durable/contracts/settlement.ts';
import { migrate } from '../durable/migrations.ts';
import { readFormat, writeFormat } from '../durable/stored-format.ts';
import { conversationStub, inboxStub } from '../durable/stubs.ts';
import { forgetAnswers } from '../kv/classified-answers.ts';
import type { WorstCase } from '../pricing/hold-terms.ts';
import type { Limits } from '../settings/limits.schema.ts';
import { retentionOf, UNREADABLE_MS } from '../settings/retention.ts';
import { settingsOf } from '../settings/settings.ts';
import { usesKind } from '../versions/kv-copies.ts';
import { Versions } from '../versions/version-rows.ts';
import type { VersionRow } from '../versions/versions-answers.schema.ts';
import { type Asking, refusalOfAll } from './admission/may-ask.ts';
import { ConversationList } from './conversation-list.ts';
import { Credentials } from './credentials.ts';
import { InboxList } from './inbox-list.ts';
import { Ledger } from './ledger/ledger.ts';
import { ledgerPageOf, ledgerRequestOf, requestsOf, usageOf } from './ledger/queries.ts';
import { savingsOf } from './ledger/savings.ts';
import { closingOf, openingOf, safeAmount, spentOf } from './ledger/settlement.ts';
import { LEDGER_MIGRATIONS } from './ledger/tables.ts';
import { StorageQuota } from './storage-quota.ts';
import type { LedgerRequest, LedgerRow, StandingReport, TokenRow, UsageReport } from './usage-answers.schema.ts';

const HOLD_MS = 15 * 60_000;
const RENEW_BELOW_MS = 10 * 60_000;
const ALARM_GRAIN_MS = 60_000;
const SOON_MS = 1_000;
/** What KV is told has reached it by then, or is told again. */
const TOLD_MS = 60_000;
const PRUNED_AT_ONCE = 5_000;
/** Of what KV keeps for an account: where forgetting it begins. */
const FIRST_PAGE = '1';
/** Conversations that are erased at the same time: an object has six connections. */
const ERASED_AT_ONCE = 5;

/**
 * One account: its limits, holds, ledger and credentials.
 *
 * Decisions are made in memory, which is rebuilt from the rows when the object wakes, and never wait for anything:
 * between a check and its hold no other request can come.
 */
export class Account extends DurableObject<Bindings> implements AccountObject {
  readonly #ledger: Ledger;
  readonly #credentials: Credentials;
  readonly #conversations: ConversationList;
  readonly #inboxes: InboxList;
  readonly #versions: Versions;
  readonly #stored: StorageQuota;
  readonly #budget: Budget;
  #own: Limits | null;
  #defaults: string;
  #limits: Limits = {};
  #rules: Rules = rulesOf({});
  #alarmAt: number | null = null;
  #listed: boolean;
  /** Rows admitted until then are being erased, or have been; 0 is never. */
  #erasing: number;
  #erasedAt: number;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    migrate(ctx.storage, LEDGER_MIGRATIONS);
    const ledger = new Ledger(ctx.storage);
    this.#ledger = ledger;
    this.#credentials = new Credentials(ledger);
    this.#conversations = new ConversationList(ledger);
    this.#inboxes = new InboxList(ledger);
    this.#versions = new Versions(ledger, env.STORE, ctx.id.name ?? '');
    this.#stored = new StorageQuota(this.#conversations, this.#versions);
    this.#budget = recall(ledger);
    this.#own = readFormat<Limits | null>('limits', ledger.meta('limits') ?? 'null');
    this.#defaults = ledger.meta('defaults') ?? '{}';
    this.#listed = ledger.meta('listed') !== undefined;
    this.#erasing = Number(ledger.meta('erasing') ?? 0);
    this.#erasedAt = Number(ledger.meta('erased_at') ?? 0);
    this.#applyLimits();
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarmAt = await ctx.storage.getAlarm();
    });
  }

  /** The clock; tests put their own in its place. */
  protected now(): number {
    return Date.now();
  }

  /**
   * Decides on a request and sets aside what it can cost, in one step.
   *
   * @throws TypeError if the bound is no bound; nothing has changed then
   */
  admit(ask: AdmissionRequest): AdmissionDecision {
    const { requestId, bound, token } = ask;
    if (bound) checkWorstCase(bound);
    this.#noteDefaults(ask.defaults);
    const now = advance(this.#budget, this.now());
    if (token) {
      if (this.#credentials.isRevoked(token)) return { outcome: 'revoked' };
      this.#credentials.see(token, now);
    }
    if (!bound) {
      const decision = (ask.free ? takeFreeRequest : takeCountRequest)(this.#budget, this.#rules, now);
      if (decision.kind === 'refused') return this.#refuse(decision, now);
      // No row of the ledger tells it when the object wakes.
      if (ask.free && this.#rules.requests !== undefined) {
        this.#ledger.setMeta('requests_full_at', String(this.#budget.fullAt.requests));
      }
      const storing = ask.free?.storing;
      const full = storing && this.#stored.full(storing, this.#limits, now);
      if (full) return { outcome: 'full', ...full };
      if (storing) this.#stored.expect(storing, now);
      return { outcome: 'admitted', hold: 0, standing: this.#standing(now), unlisted: !this.#listed };
    }
    const known = this.#budget.holds.get(requestId);
    if (known) return this.#admitted(known, bound, now);
    // How much an answer will store is not known; what is asked is.
    const storing =
      ask.conversation === undefined ? undefined : { conversation: ask.conversation, bytes: ask.adds ?? 1 };
    const full = storing && this.#stored.full(storing, this.#limits, now);
    if (full) return { outcome: 'full', ...full };

    const decision = decide(this.#budget, this.#rules, bound, now, ask);
    if (decision.kind === 'count_needed') return { outcome: 'count_needed' };
    if (decision.kind === 'refused') {
      if (ask.counted) takeCount(this.#budget, this.#rules);
      return this.#refuse(decision, now);
    }
    const { nanodollars, inputTokens, outputTokens, maxTokens } = decision;
    const hold: Hold = {
      id: requestId,
      at: now,
      deadline: now + HOLD_MS,
      nanodollars,
      inputTokens,
      outputTokens,
      maxTokens,
      stage: 'admitted',
    };
    const buckets = bucketsAfterAdmission(this.#budget, this.#rules, ask.repeats);
    // The row first: an id that was used before throws here, and nothing has changed.
    this.#ledger.open(hold, openingOf({ ...ask, unpriced: !bound.known, token: token?.jti }), buckets);
    place(this.#budget, hold, buckets);
    if (storing) this.#stored.expect(storing, now);
    if (ask.conversation !== undefined) this.#conversations.begin(ask.conversation, now);
    if (ask.prefix !== undefined) this.#use('prefix', ask.prefix.split('@')[0] ?? '', now);
    this.#ledger.fold();
    this.#wakeFor(hold.deadline);
    return this.#admitted(hold, bound, now);
  }

  /** `admit` by text: what crosses to an object as a text costs half of what it costs member by member. */
  admitJson(ask: string): string {
    return JSON.stringify(this.admit(JSON.parse(ask) as AdmissionRequest));
  }

  /**
   * Decides whether a caller may ask at all, and takes nothing for it; by text, as `admitJson`.
   *
   * @returns null where they may
   */
  mayAskJson(text: string): string {
    const { asking, token, defaults } = JSON.parse(text) as Pick<AdmissionRequest, 'token' | 'defaults'> & {
      asking: Asking;
    };
    this.#noteDefaults(defaults);
    const now = advance(this.#budget, this.now());
    if (token && this.#credentials.isRevoked(token))
      return JSON.stringify({ outcome: 'revoked' } satisfies AdmissionDecision);
    const refusal = refusalOfAll(asking, this.#budget, this.#rules, now);
    return JSON.stringify(refusal ? this.#refuse(refusal, now) : null);
  }

  /** `settle` by text. */
  settleJson(settlement: string): string {
    return JSON.stringify(this.settle(JSON.parse(settlement) as Settlement));
  }

  /** Replaces a request's hold by what it cost: once, whenever and however often it is said. */
  settle(settlement: Settlement): Settled {
    const settled = this.#settleHold(settlement);
    const { conversation } = settlement;
    const { outcome, cost } = settled;
    if (conversation && !this.#isErased(conversation)) {
      this.#stored.arrived(conversation.id);
      this.#conversations.note(conversation, outcome === 'duplicate' || outcome === 'erased' ? 0 : cost);
    }
    return settled;
  }

  /**
   * Notes a change of a conversation that came by no request.
   *
   * @returns whether the conversation is to be erased, as the account was after it began
   */
  noteConversation(report: ConversationReport): { erased: boolean } {
    advance(this.#budget, this.now());
    const erased = this.#isErased(report);
    this.#stored.arrived(report.id);
    if (!erased) this.#conversations.note(report, 0);
    else if (report.gone) this.#conversations.forget(report.id);
    return { erased };
  }

  /**
   * Notes an inbox of webhooks that this account pays for.
   *
   * @returns until when what came there is erased, as the account was; 0 is never
   */
  noteInbox(source: string): { erasedUntil: number } {
    this.#inboxes.note(source, advance(this.#budget, this.now()));
    return { erasedUntil: this.#erasedUntil() };
  }

  /** @returns a page of the account's conversations, newest first. */
  conversations(page: PageOf): Page<ConversationRow> {
    const running = [...this.#budget.holds.keys()].map(
      (id) => this.#ledger.read<{ conversation: string | null }>('select conversation from ledger where id = ?', id)[0],
    );
    const ids = running.map((row) => row?.conversation).filter((id) => typeof id === 'string');
    return this.#conversations.page(page, new Set(ids));
  }

  /**
   * Says that a request still runs: its deadline is fifteen minutes from now. Writes a row every five minutes at most.
   *
   * @returns whether it has a hold
   */
  renew(requestId: string, stage?: string): boolean {
    const now = advance(this.#budget, this.now());
    const hold = this.#budget.holds.get(requestId);
    if (!hold) return false;
    if (stage !== undefined) hold.stage = stage;
    if (hold.deadline - now >= RENEW_BELOW_MS) return true;
    const deadline = now + HOLD_MS;
    this.#ledger.write('update ledger set deadline = ?, stage = ? where id = ?', deadline, hold.stage, requestId);
    hold.deadline = deadline;
    return true;
  }

  /** Notes how far a request has come, in memory: it is written with the next row that is written for it anyway. */
  stage(requestId: string, stage: string): void {
    const hold = this.#budget.holds.get(requestId);
    if (hold) hold.stage = stage;
  }

  /** @returns where the account stands, for people. */
  standing(defaults?: Limits): StandingReport {
    this.#noteDefaults(defaults);
    const limits = { inForce: this.#limits, own: this.#own };
    const standing = reportQuotaStatus(this.#budget, this.#rules, limits, this.now());
    return { ...standing, ...this.#stored.report(this.#limits, this.#budget.last) };
  }

  /** @returns the account's own limits, or null. */
  getLimits(): Limits | null {
    return this.#own;
  }

  /** Replaces the account's own limits; null takes the deployment's for all. */
  setLimits(limits: Limits | null): void {
    this.#ledger.setMeta('limits', limits === null ? undefined : writeFormat('limits', limits));
    this.#own = limits;
    this.#applyLimits();
  }

  /** @returns what was spent, by day, model, conversation or prefix. */
  usage(query: UsageQuery): UsageReport {
    return usageOf(this.#ledger, query);
  }

  /** @returns a page of the ledger, newest first. */
  requests(page: PageOf): Page<LedgerRow> {
    return requestsOf(this.#ledger, page);
  }

  /** @returns one row of the ledger, or undefined. */
  request(id: string): LedgerRequest | undefined {
    return ledgerRequestOf(this.#ledger, id);
  }

  /** @returns the ledger from `cursor` on, oldest first, and where the next page begins, or null at the end. */
  exportRows(cursor = '', limit = 500): { rows: LedgerRow[]; next: string | null } {
    return ledgerPageOf(this.#ledger, cursor, limit);
  }

  /** @returns a page of the credentials that were minted for the account or seen in use, newest first. */
  tokens(page: PageOf = {}): Page<TokenRow> {
    return this.#credentials.list(page);
  }

  /**
   * Notes a credential that was minted, so that it can be listed.
   *
   * @returns false where the account has as many as it may: nobody is to be given this one
   */
  rememberToken(minted: MintedToken): boolean {
    return this.#credentials.remember(minted, advance(this.#budget, this.now()));
  }

  /** Revokes a credential by its id, known or not. */
  revokeToken(jti: string): void {
    this.#credentials.revoke(jti, advance(this.#budget, this.now()));
  }

  /** Revokes every credential that was issued until now. */
  revokeAll(): void {
    this.#credentials.revokeAll(advance(this.#budget, this.now()));
  }

  /** For routes that admit nothing: whether the credential is revoked. One that is not has been seen now. */
  isRevoked(token: CredentialUse): boolean {
    if (this.#credentials.isRevoked(token)) return true;
    this.#credentials.see(token, advance(this.#budget, this.now()));
    return false;
  }

  /** Gives back the room that was set aside for a conversation which did not come to be, or did not grow. */
  storesNothing(conversation: string): void {
    this.#stored.arrived(conversation);
  }

  /** Notes that the account is on the list of accounts. */
  listed(): void {
    if (this.#listed) return;
    this.#ledger.setMeta('listed', '1');
    this.#listed = true;
  }

  /** Stores a version, and has its name point to it. */
  async putVersion(version: NewVersion): Promise<PutAnswer> {
    const now = advance(this.#budget, this.now());
    const outcome = this.#versions.put(version, now, this.#stored.roomForVersions(this.#limits, now));
    return outcome === 'full' ? { outcome } : { outcome, published: await this.#tell(version.kind, version.name) };
  }

  /** Has a name point to a version that was stored before. */
  async pointVersion(id: VersionId): Promise<PutAnswer> {
    const outcome = this.#versions.point(id, advance(this.#budget, this.now()));
    return outcome === 'unknown' ? { outcome } : { outcome, published: await this.#tell(id.kind, id.name) };
  }

  /** Takes a name away. Its versions stay for those who hold them. */
  async removeName(kind: string, name: string): Promise<{ existed: boolean; published: boolean }> {
    const existed = this.#versions.remove(kind, name, advance(this.#budget, this.now()));
    return { existed, published: !existed || (await this.#tell(kind, name)) };
  }

  /** @returns the bytes of a version, which KV may not have yet. */
  readVersion(id: VersionId): Uint8Array | undefined {
    return this.#versions.read(id);
  }

  /** @returns one name that is stored here, and the version that it points to. */
  storedName(kind: string, name: string): NameRow | undefined {
    return this.#versions.name(kind, name);
  }

  /** @returns names in their order, one more than the limit if there are more. */
  storedNames(kind: string, page: PageOf): NameRow[] {
    return this.#versions.names(kind, page);
  }

  /** @returns a page of the versions of a name, newest first. */
  versionHistory(kind: string, name: string, page: PageOf): Page<VersionRow> | undefined {
    return this.#versions.history(kind, name, page);
  }

  /** @returns every version of a name, as ledgers name it. */
  versionsOf(kind: string, name: string): string[] {
    return this.#versions.versionsOf(kind, name);
  }

  /** Keeps a version for a holder, beyond its name. @returns false where there is none */
  holdVersion(id: VersionId, holder: string): boolean {
    return this.#versions.hold(id, holder);
  }

  /** Lets a version go that was held. */
  async releaseVersion(id: VersionId, holder: string): Promise<void> {
    this.#versions.release(id, holder);
    await this.#tell(id.kind, id.name);
  }

  /** @returns what caching has saved the requests of these versions of a prefix, by day and version. */
  savings(query: SavingsQuery): SavingsRow[] {
    return savingsOf(this.#ledger, query, settingsOf(this.env).models);
  }

  /**
   * Erases all but the revocations, which it makes complete first, and a nameless sum of each window that has begun. Goes
   * on by itself; to ask again tells how far it is.
   * What runs meanwhile is erased when it ends.
   */
  erase(): Erasure {
    const now = advance(this.#budget, this.now());
    if (this.#erasing === 0) {
      this.#credentials.revokeAll(now);
      this.#credentials.erase();
      this.setLimits(null);
      this.#ledger.forgetNames(PERIODS.map((period) => this.#budget.windows[period].start));
      this.#ledger.setMeta('listed', undefined);
      this.#ledger.setMeta('erasing', String(now));
      this.#versions.removeAll(now);
      this.#ledger.setMeta('answers_kept', FIRST_PAGE);
      this.#listed = false;
      this.#erasing = now;
      // What is admitted from now on is told from what is erased by its time.
      advance(this.#budget, now + 1);
    }
    const { remaining, more } = this.#eraseSome();
    const others = this.#conversations.count(this.#erasedUntil()) + this.#inboxes.until(this.#erasedUntil()).length;
    if (more || others > 0 || this.#versions.untold || this.#ledger.meta('answers_kept')) {
      this.#wakeFor(now + SOON_MS, 1);
    }
    return { done: remaining + others === 0, remaining: remaining + others };
  }

  /** Settles orphans at their hold, goes on erasing, and lets go of rows beyond their retention. */
  override async alarm(): Promise<void> {
    this.#alarmAt = null;
    const now = advance(this.#budget, this.now());
    for (const hold of [...this.#budget.holds.values()]) {
      if (hold.deadline > now) continue;
      const { id, nanodollars, inputTokens, outputTokens, stage } = hold;
      const lost = { requestId: id, status: 'orphaned', stage, cost: nanodollars, estimated: true };
      this.#close(hold, lost, now, { inputTokens, outputTokens });
    }
    this.#credentials.prune(now);
    if (this.#erasing > 0 && this.#eraseSome().more) this.#wakeFor(now + SOON_MS, 1);
    for (const { deadline } of this.#budget.holds.values()) this.#wakeFor(deadline);
    const retention = retentionOf(() => settingsOf(this.env));
    if (retention === undefined) return this.#wakeFor(now + UNREADABLE_MS);
    this.#prune(now, retention);
    await this.#eraseConversations();
    await this.#forgetAnswers();
    await this.#eraseInboxes();
    if (this.#versions.untold && !(await this.#versions.tellAll())) this.#wakeFor(this.now() + SOON_MS, 1);
  }

  #settleHold(settlement: Settlement): Settled {
    const { requestId } = settlement;
    const now = advance(this.#budget, this.now());
    const hold = this.#budget.holds.get(requestId);
    if (hold) return this.#close(hold, settlement, now);
    const row = this.#ledger.find(requestId);
    if (!row) return this.#closeUnheld(settlement, now);
    const unchanged = { cost: row.cost, overHold: row.cost > row.hold };
    if (row.at <= this.#erasing) return { outcome: 'erased', ...unchanged };
    if (row.status !== 'orphaned') return { outcome: 'duplicate', ...unchanged };
    const closing = closingOf(settlement, row.hold, now, true);
    this.#ledger.close(requestId, closing, this.#budget.fullAt);
    correct(this.#budget, row.at, closing.cost - row.cost);
    return { outcome: 'late', cost: closing.cost, overHold: closing.overHold };
  }

  #admitted(hold: Hold, bound: WorstCase, now: number): AdmissionDecision {
    const lowered = hold.maxTokens < bound.outputTokens ? { maxTokens: hold.maxTokens } : {};
    const standing = this.#standing(now);
    return { outcome: 'admitted', hold: hold.nanodollars, ...lowered, standing, unlisted: !this.#listed };
  }

  #refuse(refusal: Refusal, now: number): AdmissionDecision {
    return { outcome: 'refused', refusal, standing: this.#standing(now) };
  }

  #standing(now: number): QuotaStatus {
    return quotaStatusOf(this.#budget, this.#rules, now);
  }

  /** @param spent what leaves the buckets, where the tokens of the row do not tell */
  #close(hold: Hold, settlement: Settlement, now: number, spent?: Spent): Settled {
    const closing = closingOf(settlement, hold.nanodollars, now, false);
    const { cost, overHold } = closing;
    if (hold.at <= this.#erasing) {
      this.#ledger.forgetRow(hold, closing);
      settle(this.#budget, hold, cost, this.#budget.fullAt);
      return { outcome: 'erased', cost, overHold };
    }
    const used = spent ?? spentOf(closing);
    const buckets = bucketsAfterSettlement(this.#budget, this.#rules, used);
    this.#ledger.close(hold.id, closing, buckets);
    settle(this.#budget, hold, cost, buckets);
    return { outcome: 'settled', cost, overHold };
  }

  #closeUnheld(settlement: Settlement, now: number): Settled {
    const began = settlement.startedAt ?? now - safeAmount(settlement.ms ?? 0, 0);
    const at = Math.min(now, safeAmount(began, now));
    const closing = closingOf(settlement, 0, now, false);
    if (at <= this.#erasedAt || at <= this.#erasing) return { outcome: 'erased', cost: closing.cost, overHold: false };
    const hold: Hold = {
      id: settlement.requestId,
      at,
      deadline: now,
      nanodollars: 0,
      inputTokens: 0,
      outputTokens: 0,
      maxTokens: 0,
      stage: 'unheld',
    };
    const opening = openingOf({ model: settlement.answeredBy, ...settlement.opening });
    const buckets = bucketsAfterSettlement(this.#budget, this.#rules, spentOf(closing));
    this.#ledger.open(hold, opening, buckets);
    this.#ledger.close(hold.id, closing, buckets);
    this.#budget.fullAt = buckets;
    correct(this.#budget, at, closing.cost);
    this.#wakeFor(now + (retentionOf(() => settingsOf(this.env)) ?? UNREADABLE_MS));
    return { outcome: 'unheld', cost: closing.cost, overHold: closing.overHold };
  }

  #noteDefaults(defaults: Limits | undefined): void {
    if (defaults === undefined) return;
    const text = JSON.stringify(defaults);
    if (text === this.#defaults) return;
    // Kept, because a settlement and an alarm come without them.
    this.#ledger.setMeta('defaults', text);
    this.#defaults = text;
    this.#applyLimits();
  }

  #applyLimits(): void {
    this.#limits = { ...(JSON.parse(this.#defaults) as Limits), ...this.#own };
    this.#rules = rulesOf(this.#limits);
  }

  /** Has the alarm come by then, in whole minutes: one alarm serves all requests of a quarter of an hour. */
  #wakeFor(time: number, grain = ALARM_GRAIN_MS): void {
    const at = Math.ceil(time / grain) * grain;
    if (this.#alarmAt !== null && this.#alarmAt <= at) return;
    this.#alarmAt = at;
    void this.ctx.storage.setAlarm(at);
  }

  /** Lets go of rows beyond their retention, a page at a time, and comes back when there will be more. */
  #prune(now: number, retention: number): void {
    const [oldest] = this.#ledger.read<{ at: number }>('select at from ledger order by id limit 1');
    if (!oldest) return;
    if (oldest.at >= now - retention) {
      this.#wakeFor(Math.max(oldest.at + retention, now + HOUR_MS));
      return;
    }
    this.#ledger.fold(true);
    const pruned = this.#ledger.write(
      `delete from ledger where id in (select id from ledger order by id limit ${PRUNED_AT_ONCE}) and at < ? and status != 'held'`,
      now - retention,
    );
    this.#wakeFor(now + (pruned < PRUNED_AT_ONCE ? HOUR_MS : SOON_MS));
  }

  /** The first time that the account uses something of this name, KV is told, so that its ledger can be asked. */
  #use(kind: string, name: string, now: number): void {
    if (this.#versions.use(kind, name, now)) this.ctx.waitUntil(this.#tell(usesKind(kind), name));
  }

  /** @returns false where KV has not taken it; the alarm tells it again */
  async #tell(kind: string, name: string): Promise<boolean> {
    // Whoever dies here has not told it.
    if (this.#versions.untold) this.#wakeFor(this.now() + TOLD_MS);
    try {
      await this.#versions.tell(kind, name);
      return true;
    } catch {
      this.#wakeFor(this.now() + SOON_MS, 1);
      return false;
    }
  }

  #erasedUntil(): number {
    return Math.max(this.#erasing, this.#erasedAt);
  }

  #isErased({ createdAt }: ConversationReport): boolean {
    return createdAt <= this.#erasedUntil();
  }

  /** Has conversations erase themselves, some at a time; each stays in the list until it has said that it is done. */
  async #eraseConversations(): Promise<void> {
    const doomed = this.#conversations.until(this.#erasedUntil(), ERASED_AT_ONCE);
    const account = this.ctx.id.name;
    if (doomed.length === 0 || account === undefined) return;
    const settings = settingsOf(this.env);
    const asked = doomed.map(async (id) => await conversationStub(this.env, settings, { account, id }).erase());
    const done = await Promise.allSettled(asked);
    for (const [index, { status }] of done.entries()) {
      if (status === 'fulfilled') this.#conversations.forget(doomed[index] ?? '');
    }
    this.#wakeFor(this.now() + SOON_MS, 1);
  }

  /** Has KV forget the answers that are kept there for the account, a page at a time. */
  async #forgetAnswers(): Promise<void> {
    const account = this.ctx.id.name;
    const at = this.#ledger.meta('answers_kept');
    if (at === undefined || account === undefined) return;
    try {
      const next = await forgetAnswers(this.env.STORE, account, at === FIRST_PAGE ? undefined : at);
      // Erased again meanwhile, it begins from the first page.
      if (this.#ledger.meta('answers_kept') === at) this.#ledger.setMeta('answers_kept', next);
    } catch {
      // The place may not be known to KV any more.
      this.#ledger.setMeta('answers_kept', FIRST_PAGE);
    }
    if (this.#ledger.meta('answers_kept') !== undefined) this.#wakeFor(this.now() + SOON_MS, 1);
  }

  /** Has inboxes erase what came for this account; each stays in the list until it has said that it is done. */
  async #eraseInboxes(): Promise<void> {
    const account = this.ctx.id.name;
    const until = this.#erasedUntil();
    const doomed = this.#inboxes.until(until);
    if (doomed.length === 0 || account === undefined) return;
    const settings = settingsOf(this.env);
    for (const source of doomed) {
      // What cannot be reached now is asked again by the next alarm.
      const left = await inboxStub(this.env, settings, source)
        .erase(account, until)
        .catch(() => ({ remaining: 1 }));
      if (left.remaining === 0) this.#inboxes.forget(source);
    }
    this.#wakeFor(this.now() + SOON_MS, 1);
  }

  /** @returns how many rows are left to erase, and whether that can go on at once: what still runs is waited for. */
  #eraseSome(): { remaining: number; more: boolean } {
    const [left] = this.#ledger.read<{ rows: number }>(
      'select count(*) as rows from ledger where at <= ?',
      this.#erasing,
    );
    const erased = this.#ledger.write(
      `delete from ledger where id in (select id from ledger where at <= ? and status != 'held' limit ${PRUNED_AT_ONCE})`,
      this.#erasing,
    );
    const remaining = Math.max(0, (left?.rows ?? 0) - erased);
    if (remaining === 0) {
      this.#ledger.setMeta('erased_at', String(this.#erasing));
      this.#ledger.setMeta('erasing', undefined);
      this.#erasedAt = this.#erasing;
      this.#erasing = 0;
    }
    return { remaining, more: erased >= PRUNED_AT_ONCE };
  }
}

/** @returns the budget as the rows tell it. */
function recall(ledger: Ledger): Budget {
  const memory = ledger.recall();
  const budget = emptyBudget(memory.last);
  const requests = Math.max(memory.fullAt.requests, Number(ledger.meta('requests_full_at') ?? 0));
  budget.fullAt = { ...memory.fullAt, requests, counts: 0 };
  for (const period of PERIODS) budget.windows[period].settled = ledger.settledSince(budget.windows[period].start);
  for (const hold of memory.holds) place(budget, hold, budget.fullAt);
  return budget;
}

function checkWorstCase(bound: WorstCase): void {
  const { inputTokens, inputCost, outputTokens, outputPrice, leastOutput } = bound;
  for (const value of [inputTokens, inputCost, outputTokens, outputPrice, leastOutput]) {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError('A bound must be whole numbers, none negative.');
  }
}
