import { readRetentionMs } from '../../config/retention.ts';
import { type Settings, settingsOf } from '../../config/settings.ts';
import type { Alarm } from '../../durable/alarm.ts';
import type { ObjectServices } from '../../durable/edge-object.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { contribution } from '../../kit/plugins/plugins.ts';
import { AlertOutbox } from '../alerts/alert-outbox.ts';
import { AnswerLengths } from '../budget/answer-lengths.ts';
import { addHold, advance, type Budget, emptyBudget, windowsOfGroup } from '../budget/state.ts';
import { byPeriod, PERIODS, type Period } from '../budget/windows.ts';
import type { AdmissionCaller, CredentialUse } from '../contracts/admission.ts';
import { MemoryBuckets } from '../credentials/buckets.ts';
import { Credentials } from '../credentials/credentials.ts';
import { RequestCounts } from '../credentials/request-counts.ts';
import { TokensWithLimits } from '../credentials/token-limits.ts';
import { TokenRowCache } from '../credentials/token-row-cache.ts';
import { Ledger } from '../ledger/ledger.ts';
import { ConversationList } from '../lists/conversation-list.ts';
import { OwnershipList } from '../lists/ownership-list.ts';
import { StorageQuota } from '../lists/storage-quota.ts';
import { VersionPublisher } from '../versions/publish-versions.ts';
import { Versions } from '../versions/version-rows.ts';
import { AdmissionQueue } from './admission-queue.ts';
import { Credits } from './credits.ts';
import { EffectiveLimits } from './effective-limits.ts';
import { ownBudget, type Payer, type SharedBudgets } from './payers.ts';
import { RefusalLog } from './refusal-log.ts';
import { VisitorSession } from './visitor-session.ts';

/** The key in `meta` of the time at which the account's own limits or its group were last set. */
const CONFIGURED_AT = 'configured_at';
/** Alarm times are rounded up to multiples of this, except for work that must not wait so long. */
export const ALARM_GRAIN_MS = 60_000;

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Creates the budgets that an account shares. Without it, requests that a shared budget should pay for are rejected. Only one plugin may have it. */
    readonly sharedBudgets?: (state: AccountState, around: ObjectServices) => SharedBudgets;
  }
}

/** Holds what the parts of an account's object share: its rows, its budget in memory, its alarm and its clock. */
export class AccountState {
  /** The account's id; undefined if the platform does not know it. */
  readonly accountId: string | undefined;
  readonly ledger: Ledger;
  readonly credentials: Credentials;
  readonly limitedTokens: TokensWithLimits;
  readonly requestCounts: RequestCounts;
  readonly buckets = new MemoryBuckets();
  readonly credits: Credits;
  readonly refusals: RefusalLog;
  readonly conversations: ConversationList;
  /** Its files, and the containers and threads of its answers. */
  readonly ownership: OwnershipList;
  readonly versions: Versions;
  readonly publisher: VersionPublisher;
  readonly storage: StorageQuota;
  readonly limits: EffectiveLimits;
  readonly budget: Budget;
  readonly alarm: Alarm;
  /** The budgets that it shares; undefined if no plugin provides shared budgets. */
  readonly sharedBudgets: SharedBudgets | undefined;
  /** Who pays, in the order in which they are asked. */
  readonly payers: readonly Payer[];
  readonly visitorSession: VisitorSession;
  /** Who waits for money that others hold. */
  readonly admissionQueue: AdmissionQueue;
  readonly answerLengths = new AnswerLengths(() => this.ledger.recentAnswers());
  /** The alerts that must be sent to the operator. */
  readonly alerts: AlertOutbox;
  /** Whether another state has replaced this one, so that this one must not decide anything any more. */
  isReplaced = false;
  readonly settings: () => Settings;
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number;
  readonly #surroundings: ObjectServices;
  #group: string | undefined;
  #isListed: boolean;
  #erasing: number;
  #erasedAt: number;

  constructor(ctx: DurableObjectState, around: ObjectServices) {
    this.#surroundings = around;
    this.settings = around.settings;
    this.now = around.now;
    this.alarm = around.alarm;
    this.admissionQueue = new AdmissionQueue(around.now);
    this.accountId = ctx.id.name;
    const begin = () => {
      this.limits.store();
      this.visitorSession.begin(this.now());
    };
    const ledger = new Ledger(ctx.storage, begin, around.abort);
    this.ledger = ledger;
    const { budget, hasCredit } = restoreBudget(ledger, this.now());
    this.budget = budget;
    const tokenRows = new TokenRowCache(ledger);
    this.limitedTokens = new TokensWithLimits(ledger, tokenRows, budget.holds);
    this.alerts = new AlertOutbox(ledger, around);
    this.credentials = new Credentials(ledger, tokenRows, this.limitedTokens);
    this.requestCounts = new RequestCounts(ledger);
    this.credits = new Credits(ledger, hasCredit);
    this.refusals = new RefusalLog(ledger, () => this.sharedBudgets?.noteRefused());
    this.conversations = new ConversationList(ledger);
    this.ownership = new OwnershipList(ledger);
    this.versions = new Versions(ledger, around.env.STORE, ctx.id.name ?? '');
    this.publisher = new VersionPublisher(this.versions, around);
    this.storage = new StorageQuota(ledger, this.conversations, this.versions, this.ownership);
    this.limits = new EffectiveLimits(ledger);
    this.visitorSession = new VisitorSession(ledger, { account: ctx.id.name, alarm: this.alarm });
    this.#group = ledger.meta('group');
    this.sharedBudgets = contribution('sharedBudgets')?.(this, around);
    this.payers = [
      ownBudget(budget, this.limits, this.credits),
      this.limitedTokens,
      ...(this.sharedBudgets ? [this.sharedBudgets] : []),
    ];
    this.#isListed = ledger.meta('listed') !== undefined;
    this.#erasing = Number(ledger.meta('erasing') ?? 0);
    this.#erasedAt = Number(ledger.meta('erased_at') ?? 0);
    ledger.awake();
  }

  /** Notes that a credential is used, so that it is listed, and its visitor stays. */
  noteUse(token: CredentialUse, now: number): void {
    // Visitors are in no list.
    if (this.visitorSession.isVisitor) this.visitorSession.note(token);
    else this.credentials.noteUse(token, now);
  }

  get retries(): ObjectServices['retries'] {
    return this.#surroundings.retries;
  }

  get env(): Bindings {
    return this.#surroundings.env;
  }

  /** Moves the budget to the present. @returns the time to decide by. It is never earlier than an earlier result */
  advance(): number {
    const now = advance(this.budget, this.now());
    this.budget.credit = this.credits.addedLimit(now);
    return now;
  }

  /** @returns for how many milliseconds rows are kept; undefined while the setting cannot be read. */
  get retention(): number | undefined {
    return readRetentionMs(() => settingsOf(this.env));
  }

  /** @returns the group that an admin has chosen; undefined if there is none. */
  get group(): string | undefined {
    return this.#group;
  }

  /** Chooses the account's group, whatever its credentials say; undefined means the credentials' group. */
  setGroup(group: string | undefined): void {
    if (group === this.#group) return;
    this.ledger.setMeta('group', group);
    this.#group = group;
  }

  /** @returns the group that also pays for a request. */
  groupOf({ pools }: Pick<AdmissionCaller, 'pools'>): string | undefined {
    return this.#group ?? pools?.group;
  }

  /** @returns when the account's own limits or its group were last set; milliseconds since 1970, 0 for never */
  get configuredAt(): number {
    return Number(this.ledger.meta(CONFIGURED_AT) ?? 0);
  }

  /** Notes when its own limits or its group were set. */
  noteConfigured(at: number): void {
    this.ledger.setMeta(CONFIGURED_AT, String(at));
  }

  get isListed(): boolean {
    return this.#isListed;
  }

  setListed(listed: boolean): void {
    if (listed === this.#isListed) return;
    this.ledger.setMeta('listed', listed ? '1' : undefined);
    this.#isListed = listed;
  }

  /** @returns the time up to which rows are being erased now; 0 while nothing is being erased. */
  get erasing(): number {
    return this.#erasing;
  }

  /** @returns the time up to which everything is being erased or has been erased; 0 for never. */
  get erasedUntil(): number {
    return Math.max(this.#erasing, this.#erasedAt);
  }

  /** Notes that all rows up to `now` must be erased. */
  beginErasure(now: number): void {
    this.ledger.setMeta('erasing', String(now));
    this.#erasing = now;
  }

  /** Notes that all these rows are erased. */
  endErasure(): void {
    this.ledger.setMeta('erased_at', String(this.#erasing));
    this.ledger.setMeta('erasing', undefined);
    this.#erasedAt = this.#erasing;
    this.#erasing = 0;
  }
}

/**
 * Reads the budget in the windows of `now`. Even an account without requests may have spent something: elsewhere, or before
 * it was erased.
 */
function restoreBudget(ledger: Ledger, now: number): { budget: Budget; hasCredit: boolean } {
  const starts = startsOf(emptyBudget(now));
  let memory = ledger.recall(starts);
  const budget = emptyBudget(Math.max(memory.last, now));
  const latest = startsOf(budget);
  // If the clock has gone back, what counts are the windows of the latest time.
  if (PERIODS.some((period) => latest[period] !== starts[period])) memory = ledger.recall(latest);
  const requests = Math.max(memory.fullAt.requests, Number(ledger.meta('requests_full_at') ?? 0));
  budget.fullAt = { ...memory.fullAt, requests, counts: 0 };
  for (const period of PERIODS) budget.windows[period].settled = memory.settled[period];
  for (const { group, settled } of memory.groups) {
    const windows = windowsOfGroup(budget, group);
    for (const period of PERIODS) windows[period].settled = settled[period];
  }
  for (const hold of memory.holds) addHold(budget, hold, budget.fullAt);
  return { budget, hasCredit: memory.hasCredit };
}

function startsOf({ windows }: Budget): Record<Period, number> {
  return byPeriod(PERIODS, (period) => windows[period].start);
}
