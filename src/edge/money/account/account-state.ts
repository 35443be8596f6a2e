/** Keeps an account’s budget in memory, and restores it from the ledger, so that a restart forgets no hold and no cost. */

import { readRetentionMs } from '../../config/retention.ts';
import { parseSettingsOnce, type Settings } from '../../config/settings.ts';
import type { DurableObjectAlarm } from '../../durable/alarm.ts';
import type { DurableObjectServices } from '../../durable/edge-object.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { operatorList } from '../../kit/kv/name-list.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { getSinglePluginMember } from '../../kit/plugins/plugins.ts';
import { AlertOutbox } from '../alerts/alert-outbox.ts';
import { createNewCountryAlert } from '../alerts/create-alert.ts';
import { RecentAnswerLengths } from '../budget/answer-lengths.ts';
import {
  addHold,
  advanceBudgetTo,
  type Budget,
  createEmptyBudget,
  mustRereadAmounts,
  replaceAmountsAfterClockChange,
} from '../budget/state.ts';
import { mapPeriods, PERIODS, type Period } from '../budget/windows.ts';
import { ChangeOutbox } from '../changes/change-outbox.ts';
import type { AdmissionContext, CredentialClaims } from '../contracts/admission.ts';
import { InMemoryRateBuckets } from '../credentials/buckets.ts';
import { TokenTable } from '../credentials/credentials.ts';
import { TokenRequestCounts } from '../credentials/request-counts.ts';
import { LimitedTokensTracker } from '../credentials/token-limits.ts';
import { TokenRowCache } from '../credentials/token-row-cache.ts';
import { Ledger } from '../ledger/ledger.ts';
import { ConversationList } from '../lists/conversation-list.ts';
import { OwnershipList } from '../lists/ownership-list.ts';
import { StorageQuota } from '../lists/storage-quota.ts';
import { VersionPublisher } from '../versions/publish-versions.ts';
import { RegistryVersionStore } from '../versions/version-rows.ts';
import { AdmissionQueue } from './admission-queue.ts';
import { AccountCredits } from './credits.ts';
import { EffectiveAccountLimits } from './effective-limits.ts';
import { createAccountBudgetPayer, type Payer, type SharedBudgetsOfAccount } from './payers.ts';
import { RejectionLog } from './refusal-log.ts';
import { AccountSuspension } from './suspension.ts';
import { VisitorSession } from './visitor-session.ts';

/** The key in `meta` of the time at which the account's own limits or its group were last set. */
const CONFIGURED_AT = 'configured_at';
/** The key in `meta` that records whether the account is in the list of accounts with operator tokens. */
const OPERATOR_LISTED = 'operator_listed';
/** Alarm times are rounded up to multiples of this, except for work that must not wait so long. */
export const ALARM_GRAIN_MS = 60_000;

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Creates the budgets that an account shares. Without it, requests that a shared budget should pay for are rejected. Only one plugin may have it. */
    readonly sharedBudgets?: (state: AccountState, around: DurableObjectServices) => SharedBudgetsOfAccount;
  }
}

/** Holds what the parts of an account's object share: its rows, its budget in memory, its alarm and its clock. */
export class AccountState {
  /** The account's id; undefined if the platform does not know it. */
  readonly accountId: string | undefined;
  readonly ledger: Ledger;
  readonly credentials: TokenTable;
  readonly limitedTokens: LimitedTokensTracker;
  readonly requestCounts: TokenRequestCounts;
  readonly buckets = new InMemoryRateBuckets();
  readonly credits: AccountCredits;
  readonly refusals: RejectionLog;
  readonly conversations: ConversationList;
  /** Its files, and the containers and threads of its answers. */
  readonly ownership: OwnershipList;
  readonly versions: RegistryVersionStore;
  readonly publisher: VersionPublisher;
  readonly storage: StorageQuota;
  readonly limits: EffectiveAccountLimits;
  readonly suspension: AccountSuspension;
  readonly budget: Budget;
  readonly alarm: DurableObjectAlarm;
  /** The budgets that it shares; undefined if no plugin provides shared budgets. */
  readonly sharedBudgets: SharedBudgetsOfAccount | undefined;
  /** The payers, in the order in which they decide. */
  readonly payers: readonly Payer[];
  readonly visitorSession: VisitorSession;
  /** The requests that wait for money which other requests hold. */
  readonly admissionQueue: AdmissionQueue;
  readonly answerLengths = new RecentAnswerLengths(() => this.ledger.readRecentAnswerLengths());
  /** The alerts that must be sent to the operator. */
  readonly alerts: AlertOutbox;
  /** The changes by admins that the list of all changes has not received yet. */
  readonly changes: ChangeOutbox;
  /** Whether another state has replaced this one, so that this one must not decide anything any more. */
  isReplaced = false;
  readonly settings: () => Settings;
  /** The clock, in milliseconds since 1970. */
  readonly now: () => number;
  readonly #surroundings: DurableObjectServices;
  #group: string | undefined;
  #isListed: boolean;
  #isOperatorListed: boolean;
  #erasing: number;
  #erasedAt: number;

  constructor(ctx: DurableObjectState, around: DurableObjectServices) {
    this.#surroundings = around;
    this.settings = around.settings;
    this.now = around.now;
    this.alarm = around.alarm;
    this.admissionQueue = new AdmissionQueue(around.now);
    this.accountId = ctx.id.name;
    const storeDefaultsAndVisitorSession = () => {
      this.limits.storeDefaultLimits();
      this.visitorSession.storeSessionEndOnFirstRow(this.now());
    };
    const ledger = new Ledger(ctx.storage, storeDefaultsAndVisitorSession, around.abortObjectWithMessage);
    this.ledger = ledger;
    const { budget, hasCredit } = restoreBudgetFromLedger(ledger, this.now());
    this.budget = budget;
    const tokenRows = new TokenRowCache(ledger);
    this.limitedTokens = new LimitedTokensTracker(ledger, tokenRows, budget.holds);
    this.alerts = new AlertOutbox(ledger, around);
    this.changes = new ChangeOutbox(ledger, around);
    this.credentials = new TokenTable(ledger, tokenRows, this.limitedTokens);
    this.requestCounts = new TokenRequestCounts(ledger);
    this.credits = new AccountCredits(ledger, hasCredit);
    this.refusals = new RejectionLog(ledger, () => this.sharedBudgets?.onRequestRejected());
    this.conversations = new ConversationList(ledger);
    this.ownership = new OwnershipList(ledger);
    this.versions = new RegistryVersionStore(ledger, around.env.STORE, ctx.id.name ?? '');
    this.publisher = new VersionPublisher(this.versions, around);
    this.storage = new StorageQuota(ledger, this.conversations);
    this.limits = new EffectiveAccountLimits(ledger);
    this.suspension = new AccountSuspension(ledger);
    this.visitorSession = new VisitorSession(ledger, { account: ctx.id.name, alarm: this.alarm });
    this.#group = ledger.readMetaValue('group');
    this.sharedBudgets = getSinglePluginMember('sharedBudgets')?.(this, around);
    this.payers = [
      createAccountBudgetPayer(budget, this.limits, this.credits),
      this.limitedTokens,
      ...(this.sharedBudgets ? [this.sharedBudgets] : []),
    ];
    this.#isListed = ledger.readMetaValue('listed') !== undefined;
    this.#isOperatorListed = ledger.readMetaValue(OPERATOR_LISTED) !== undefined;
    this.#erasing = Number(ledger.readMetaValue('erasing') ?? 0);
    this.#erasedAt = Number(ledger.readMetaValue('erased_at') ?? 0);
    ledger.dropMetaReadAtWake();
  }

  /** Records that a credential is used, so that it is listed, and a visitor's account is kept. */
  recordCredentialUse(token: CredentialClaims, now: number): void {
    // A visitor's account and tokens appear in no list, so store only until when the visitor's session lasts.
    if (this.visitorSession.isVisitor) this.visitorSession.recordCredential(token);
    else {
      this.credentials.recordFirstUse(token, now);
      if (token.operatorScopes !== undefined) this.#recordOperatorUse(token, now);
      this.#recordCountry(token, now);
    }
  }

  /** Raises an alert if a token is used from a new country and its countries are watched. */
  #recordCountry(token: CredentialClaims, now: number): void {
    const found = this.credentials.findCountriesWithNewOne(token);
    if (!found) return;
    const { accountId } = this;
    if (!found.isFirst && accountId !== undefined)
      this.alerts.storeAndSendAlerts([createNewCountryAlert(accountId, token, now)], accountId);
    this.credentials.storeCountries(token, found.countries);
  }

  /** Records from where a credential is used for a request that has no row in the ledger. */
  recordLocation(token: CredentialClaims, now: number): void {
    if (!this.ledger.locations.recordLocation(token)) return;
    // The alarm deletes the location after the retention. If the retention setting cannot be read now, let the alarm run in a
    // day and read it then.
    this.alarm.scheduleAt(now + (this.retentionMs ?? DAY_MS));
  }

  #recordOperatorUse(token: CredentialClaims, now: number): void {
    this.credentials.recordOperatorUse(token, now);
    if (this.#isOperatorListed || this.accountId === undefined) return;
    // Set the flag at once, so that the requests of the meantime do not write to KV, too. If the write fails, the flag is reset
    // and the next use writes again.
    this.#isOperatorListed = true;
    const listed = operatorList.addName(this.env.STORE, this.accountId).then(
      () => this.ledger.writeMetaValue(OPERATOR_LISTED, '1'),
      (thrown: unknown) => {
        this.#isOperatorListed = false;
        logBackgroundFailure({ account: this.accountId ?? '' }, thrown);
      },
    );
    this.#surroundings.waitUntil(listed);
  }

  get retries(): DurableObjectServices['retries'] {
    return this.#surroundings.retries;
  }

  get env(): Bindings {
    return this.#surroundings.env;
  }

  /**
   * Moves the budget to the present.
   *
   * @returns the time to decide by. It is never earlier than an earlier result, unless the clock was ahead
   */
  advanceBudgetToNow(): number {
    const time = this.now();
    if (mustRereadAmounts(this.budget, time)) {
      const starts = getWindowStarts(createEmptyBudget(time));
      replaceAmountsAfterClockChange(this.budget, time, this.ledger.readStateAfterClockChange(starts));
    }
    const now = advanceBudgetTo(this.budget, time);
    this.budget.credit = this.credits.computeAddedLimit(now);
    return now;
  }

  /** @returns for how many milliseconds rows are kept; undefined while the setting cannot be read. */
  get retentionMs(): number | undefined {
    return readRetentionMs(() => parseSettingsOnce(this.env));
  }

  /** @returns the group that an admin has chosen; undefined if there is none. */
  get chosenGroup(): string | undefined {
    return this.#group;
  }

  /** Chooses the account's group, whatever its credentials say; undefined means the credentials' group. */
  storeChosenGroup(group: string | undefined): void {
    if (group === this.#group) return;
    this.ledger.writeMetaValue('group', group);
    this.#group = group;
  }

  /** @returns the group that also pays for a request. */
  getPayingGroup({ pools }: Pick<AdmissionContext, 'pools'>): string | undefined {
    return this.#group ?? pools?.group;
  }

  /** @returns when the account's own limits or its group were last set; milliseconds since 1970, 0 for never */
  get configuredAt(): number {
    return Number(this.ledger.readMetaValue(CONFIGURED_AT) ?? 0);
  }

  /** Records when its own limits or its group were set. */
  recordConfigurationTime(at: number): void {
    this.ledger.writeMetaValue(CONFIGURED_AT, String(at));
  }

  get isInAccountList(): boolean {
    return this.#isListed;
  }

  setInAccountList(listed: boolean): void {
    if (!listed && this.#isOperatorListed) {
      this.ledger.writeMetaValue(OPERATOR_LISTED, undefined);
      this.#isOperatorListed = false;
    }
    if (listed === this.#isListed) return;
    this.ledger.writeMetaValue('listed', listed ? '1' : undefined);
    this.#isListed = listed;
  }

  /** @returns the time up to which rows are being erased now; 0 while nothing is being erased. */
  get erasureCutoff(): number {
    return this.#erasing;
  }

  /** @returns the time up to which everything is being erased or has been erased; 0 for never. */
  get erasedUntil(): number {
    return Math.max(this.#erasing, this.#erasedAt);
  }

  /** Records that all rows up to `now` must be erased. */
  recordErasureStart(now: number): void {
    this.ledger.writeMetaValue('erasing', String(now));
    this.#erasing = now;
  }

  /** Records that all these rows are erased. */
  recordErasureEnd(): void {
    this.ledger.writeMetaValue('erased_at', String(this.#erasing));
    this.ledger.writeMetaValue('erasing', undefined);
    this.#erasedAt = this.#erasing;
    this.#erasing = 0;
  }
}

/**
 * Reads the budget in the windows of `now`. Even an account without requests may have spent something: elsewhere, or before
 * it was erased.
 */
function restoreBudgetFromLedger(ledger: Ledger, now: number): { budget: Budget; hasCredit: boolean } {
  const starts = getWindowStarts(createEmptyBudget(now));
  let memory = ledger.readStateAfterWake(starts);
  const budget = createEmptyBudget(Math.max(memory.last, now));
  const latest = getWindowStarts(budget);
  // If the clock is earlier than the last stored time, the windows are those of the stored time, so read the sums of these
  // windows instead. If the clock was ahead, the next decision corrects that.
  if (PERIODS.some((period) => latest[period] !== starts[period])) memory = ledger.readStateAfterWake(latest);
  const requests = Math.max(memory.fullAt.requests, Number(ledger.readMetaValue('requests_full_at') ?? 0));
  budget.fullAt = { ...memory.fullAt, requests, counts: 0 };
  for (const hold of memory.holds) addHold(budget, hold, budget.fullAt);
  replaceAmountsAfterClockChange(budget, budget.last, memory);
  return { budget, hasCredit: memory.hasCredit };
}

function getWindowStarts({ windows }: Budget): Record<Period, number> {
  return mapPeriods(PERIODS, (period) => windows[period].start);
}
