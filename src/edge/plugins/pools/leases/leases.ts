/** Requests and renews leases: the amounts that an account may hold from its shared pools. */

import { isVisitor } from '../../../auth/identity/identity.ts';
import { type Nanodollars, toUsd } from '../../../claude/pricing/cost.ts';
import { type KeyRateLimits, mergeKeyRateLimits } from '../../../claude/upstreams/rate-limits.ts';
import { parseSettingsOnce } from '../../../config/settings.ts';
import type { RemoteMethods } from '../../../durable/call-object.ts';
import type { DurableObjectServices } from '../../../durable/edge-object.ts';
import type { AccountState } from '../../../money/account/account-state.ts';
import { findInsufficientLimit } from '../../../money/account/insufficient-limit.ts';
import type { HoldClosing, HoldDemand, PayingCaller, SharedBudgetsOfAccount } from '../../../money/account/payers.ts';
import { findBlockingLimit, isPrepaid } from '../../../money/budget/binding-limits.ts';
import {
  type BudgetWindow,
  computeMinAmountLeft,
  computePeriodLimit,
  createBudgetWindows,
} from '../../../money/budget/budget-windows.ts';
import { sumAccountBatchHolds } from '../../../money/budget/refusals.ts';
import { getOrCreateGroupWindows, type Hold, type WindowAmounts } from '../../../money/budget/state.ts';
import { formatCalendarWindowId, PERIODS, type Period } from '../../../money/budget/windows.ts';
import type { LimitOwner } from '../../../money/contracts/admission.ts';
import { findLastFailureTime } from '../../../money/ledger/queries.ts';
import { callPool } from '../call-pool.ts';
import type { LeaseRequest, LeaseRequestWindow, LeaseResponse, OutcomeCount, PoolObject } from '../contracts/pool.ts';
import { DEPLOYMENT_POOL, parsePoolName, toGroupPoolName } from '../pool-name.ts';
import { IdleTimer } from './idle-timer.ts';
import { FinalLeaseRequestStore } from './last-calls.ts';
import { Lease, type LeaseWithCalls, NO_DEMAND } from './lease.ts';
import { LeaseIdentity } from './lease-identity.ts';
import { RecentOutcomes } from './recent-outcomes.ts';
import { ReportedSumsTracker } from './reported-sums.ts';
import { CoalescedCall } from './shared-call.ts';
import { UnreportedPools } from './unreported-pools.ts';

/** How many reports are sent one after the other. A long history needs several. */
const MOST_REPORTS = 20;
/** Milliseconds after which the account's alarm repeats a report that has failed. */
const REPEAT_MS = 1_000;

/**
 * Manages the account's leases from its shared pools. Leases are only in memory: an object that wakes has none, and calls its
 * pools again with a higher incarnation. Holds are rows, so they remain.
 */
export class AccountLeases implements SharedBudgetsOfAccount {
  readonly owners = ['deployment', 'group'] as const;
  readonly #holder: AccountState;
  readonly #around: DurableObjectServices;
  readonly #last: FinalLeaseRequestStore;
  readonly #open = new Map<string, LeaseWithCalls>();
  readonly #sums: ReportedSumsTracker;
  readonly #outcomes = new RecentOutcomes();
  /** What settlements have reported of the keys' rate limits, and the deployment's pool has not confirmed. */
  #keyLimits: readonly KeyRateLimits[] = [];
  readonly #identity: LeaseIdentity;
  readonly #unreported: UnreportedPools;
  readonly #idle: IdleTimer;
  #seenAt: number | undefined;
  /** The last refusal that the deployment's pool knows; milliseconds since 1970. */
  #refusalTold = 0;
  /** The description of the account that the deployment's pool has stored; undefined if a call may still change it. */
  #described: string | undefined;

  constructor(holder: AccountState, around: DurableObjectServices) {
    this.#holder = holder;
    this.#around = around;
    const { ledger } = holder;
    this.#identity = new LeaseIdentity(ledger);
    this.#unreported = new UnreportedPools(around, () => this.#findPoolsToReportAfterWake());
    this.#idle = new IdleTimer(around, {
      returnUnheldAmounts: () => this.#returnUnheldAmounts(),
      hasUnreportedChanges: () => this.#hasUnreportedChanges(),
    });
    this.#sums = new ReportedSumsTracker(ledger);
    this.#last = new FinalLeaseRequestStore(ledger);
  }

  key(by: LimitOwner, want: PayingCaller): string {
    return by === 'group' ? toGroupPoolName(String(this.#holder.getPayingGroup(want))) : by;
  }

  budgetWindows(want: PayingCaller, now: number): BudgetWindow[] {
    return this.leases(want).flatMap(({ lease }) => lease.createBudgetWindows(now));
  }

  leases(want: PayingCaller): readonly LeaseWithCalls[] {
    const group = this.#holder.getPayingGroup(want);
    this.#identity.restoreAccountName();
    this.#seenAt = this.#holder.budget.last;
    const leases: LeaseWithCalls[] = [];
    if (want.pools?.deployment) leases.push(this.#getOrOpenLease(DEPLOYMENT_POOL));
    if (group !== undefined) leases.push(this.#getOrOpenLease(toGroupPoolName(group)));
    for (const open of leases) open.isLeased = true;
    return leases;
  }

  /**
   * Requests a lease from a pool. For a visitor without stored rows, it first only reads the pool: if the pool is used up, no
   * object is created for the visitor.
   */
  async #requestLargerLease(open: LeaseWithCalls, { least, most }: HoldDemand, isFirst = false): Promise<void> {
    const { accountId = '', ledger } = this.#holder;
    if (isFirst && ledger.areTablesMissing && isVisitor(accountId))
      return await this.#previewLease(open, { least, most });
    const { demand } = open;
    open.demand = {
      least: demand.most === 0 ? least : Math.min(demand.least, least),
      most: Math.min(Number.MAX_SAFE_INTEGER, demand.most + most),
    };
    this.#idle.startIdleTimer();
    await open.calls.requestCall();
  }

  /** Records that a hold was placed. A lease that will soon expire is renewed in the background. */
  #recordPlacedHold({ lease, calls }: LeaseWithCalls, now: number): void {
    lease.recordUse(0);
    this.#idle.recordUse();
    if (!calls.isRunning && lease.shouldRenew(now))
      this.#around.waitUntil(calls.requestCall().catch(ignoreLeaseRequestFailure));
  }

  settle(hold: Hold, { closing, isErased }: HoldClosing): void {
    const { group } = hold;
    this.#sums.recordSettlement();
    if (isErased) this.#last.addErasedRequestCost(hold, closing);
    else this.#outcomes.recordOutcome(hold, closing);
    for (const name of this.#identity.listPayingPools(group)) {
      const open = this.#open.get(name);
      // The cost of an erased account's request is reported by the alarm: a pool does not know the account's name any more, so
      // it could not ask for a report.
      if (open?.isLeased && !isErased) {
        open.lease.recordUse(closing.cost);
        this.#idle.recordUse();
      } else this.#unreported.addPoolToReport(name);
    }
  }

  onKeyLimitsReported(limits: readonly KeyRateLimits[]): void {
    this.#keyLimits = mergeKeyRateLimits([...this.#keyLimits, ...limits]);
  }

  /** Has the alarm report a corrected cost, because no lease reports spending without a hold. */
  correct({ group }: Pick<Hold, 'group'>): void {
    this.onSumsRestored(group);
  }

  onSumsRestored(group?: string): void {
    this.#identity.restoreAccountName();
    this.#sums.recordSettlement();
    for (const name of this.#identity.listPayingPools(group)) this.#unreported.addPoolToReport(name);
  }

  /** Has the alarm report the rejection to the deployment's pool, at most once a minute. */
  onRequestRejected(): void {
    this.#identity.restoreAccountName();
    this.#unreported.addPoolToReport(DEPLOYMENT_POOL);
  }

  /** If no request is going to report it, the alarm does. */
  onAccountListed(): void {
    if (this.#holder.budget.holds.size === 0) this.#unreported.addPoolToReport(DEPLOYMENT_POOL);
  }

  /** Reports unreported changes to the deployment's pool in the background, even if the account has sent no request. */
  onAccountDataChanged(): void {
    this.#identity.restoreAccountName();
    if (JSON.stringify(this.#describeAccountForPool()) === this.#described) return;
    this.#around.waitUntil(this.#getOrOpenLease(DEPLOYMENT_POOL).calls.requestCall().catch(ignoreLeaseRequestFailure));
  }

  /** @returns the fields of the account that lists show, except its sums */
  #describeAccountForPool(): Pick<LeaseRequest, 'group' | 'limits'> {
    const { budget, chosenGroup: group, limits, limitedTokens, suspension } = this.#holder;
    const { decisionRules: rules } = limits;
    const total = computePeriodLimit(budget, rules, 'total');
    const { usd_per_hour, usd_per_day, usd_per_week, usd_per_month } = limits.effectiveLimits;
    const windows = { usd_per_hour, usd_per_day, usd_per_week, usd_per_month };
    const usd_total = total === undefined ? undefined : toUsd(total);
    const blockedBy = suspension.block ? 'blocked' : findBlockingLimit(limits.effectiveLimits, budget.credit);
    const prepaid = isPrepaid(rules) || undefined;
    return {
      group,
      limits: {
        ...windows,
        usd_total,
        prepaid,
        blockedBy,
        insufficient: findInsufficientLimit(this.#holder),
        token: limitedTokens.findTokenWithTightestLimit(budget.last),
      },
    };
  }

  /** Reports to a pool. If the account is idle, this also returns the amounts that it does not hold. */
  async reportToBudget(name: string): Promise<void> {
    const { hasAccountName: isNamed, poolNames: pools } = this.#identity;
    // The pool may have sent this call just before the account's object was deleted. Do not create the tables again.
    if (this.#holder.ledger.areTablesMissing) return;
    // Do not report for an erased account without holds: it has nothing to report, and must not get new leases.
    if (isNamed || pools.includes(name)) await this.#reportUntilCurrent(this.#getOrOpenLease(name));
  }

  /** Reports to pools that may not know all spending, at most once a minute. */
  async reportDueChanges(): Promise<void> {
    await this.#unreported.report(async (name) => {
      await this.#reportUntilCurrent(this.#getOrOpenLease(name));
      return !this.#hasUnreportedChangesForPool(name);
    });
  }

  /** @returns the pools that may not know all spending before the object woke. */
  #findPoolsToReportAfterWake(): Iterable<string> {
    const { ledger } = this.#holder;
    const isKnown =
      this.#identity.hasAccountName &&
      (ledger.readMetaValue('listed') !== undefined ||
        ['ledger', 'rollups', 'refusals'].some((table) => ledger.hasRows(`${table} where true`)));
    return new Set([...this.#identity.poolNames, ...(isKnown ? [DEPLOYMENT_POOL] : [])]);
  }

  /**
   * Stores the last call of each lease, and changes the id: requests after the erasure are reported under the new id. Open
   * holds are moved to it.
   */
  storeUnreportedBeforeErasure(): void {
    this.#identity.dropAccountName();
    this.#seenAt = undefined;
    this.#unreported.clear();
    const sums = this.#sums.createNamelessUnconfirmedReport();
    // Report open holds to the deployment's pool, too: if the object dies before the settlement, the pool still counts the
    // hold.
    const isCountedByAll = sums.rows.length > 0 || this.#getWindowsForPool(DEPLOYMENT_POOL).total.held > 0;
    const names = [...new Set([...this.#identity.poolNames, ...(isCountedByAll ? [DEPLOYMENT_POOL] : [])])];
    const figures = new Map(names.map((name) => [name, createFinalLeaseWindows(this.#getWindowsForPool(name))]));
    const spent = new Map([...figures].map(([name, all]) => [name, getSpentByWindow(all)]));
    const pools = names.filter((name) => this.#getWindowsForPool(name).total.held > 0);
    const last = { ...this.#identity.replaceLeaseId(spent, { pools }), nameless: true, isLast: true, wish: 0 };
    const calls = [...figures].map(([pool, windows]) => {
      return { pool, call: { ...last, windows, ...(pool === DEPLOYMENT_POOL ? { sums } : {}) } };
    });
    this.#last.addRequests(...calls);
    this.#dropLeases();
  }

  get hasLastCalls(): boolean {
    return this.#last.pendingRequests.length > 0;
  }

  async reportUnreportedBeforeErasure(): Promise<boolean> {
    for (const last of this.#last.pendingRequests) {
      const { pool, call } = last;
      let isReported = true;
      const recordFailure = (thrown: unknown) => {
        isReported = false;
        this.#recordReportFailure(pool, thrown);
      };
      if (this.#identity.poolNames.includes(pool)) {
        const open = this.#getOrOpenLease(pool);
        await this.#reportUntilCurrent(open).catch(recordFailure);
        // Release the old id's holds only after the pool has counted them under the new id.
        if (open.lease.confirmedSpending === undefined) continue;
      }
      const text = JSON.stringify(call);
      await this.#callPoolWithRetry(pool, (object) => object.leaseJson(text)).then(
        () => this.#last.removeAnsweredRequest(last),
        recordFailure,
      );
      if (isReported) this.#around.retries.recordSuccess('pool_report', pool);
    }
    return this.hasLastCalls;
  }

  /** Gives up the leases, too. The pools count its sums for all accounts that have ended so. */
  async reportAllAndLeave(): Promise<boolean> {
    // If the leases were given up before, skip the reports: the same spending must not be reported again under another id.
    if (!this.#identity.isAllSpentUnderOldIds) {
      const names = [...this.#findPoolsToReportAfterWake()];
      for (const name of names)
        await this.#reportUntilCurrent(this.#getOrOpenLease(name)).catch((thrown: unknown) =>
          this.#recordReportFailure(name, thrown),
        );
      if (names.some((name) => this.#hasUnreportedChangesForPool(name)) || !this.#giveUpVisitorLeases()) return true;
    }
    await this.#identity.mergeEndedVisitorLeases(this.#around.env);
    return this.hasLastCalls || this.#identity.hasLeasesToMerge;
  }

  /**
   * Gives up the leases of a visitor, if it is certain which spending each pool knows. Unknown spending is reported with the
   * next lease.
   *
   * @returns whether it is certain
   */
  #giveUpVisitorLeases(): boolean {
    const told = new Map<string, Readonly<Record<string, Nanodollars>>>();
    for (const name of this.#identity.poolNames) {
      const open = this.#open.get(name);
      if (!open?.lease.confirmedSpending || open.calls.isRunning) return false;
      told.set(name, open.lease.confirmedSpending);
    }
    this.#identity.replaceLeaseId(told, { joins: true });
    this.#dropLeases();
    return true;
  }

  /** Forgets which spending the pools know, because it was reported under another id. */
  #dropLeases(): void {
    this.#open.clear();
    this.#described = undefined;
    this.#sums.reset();
    this.#refusalTold = 0;
  }

  #getOrOpenLease(name: string): LeaseWithCalls {
    const opened = this.#open.get(name);
    if (opened) return opened;
    const id = parsePoolName(name);
    const lease = new Lease(id, () => this.#getWindowsForPool(name));
    const calls = new CoalescedCall(() => this.#sendLeaseRequest(open));
    const open: LeaseWithCalls = {
      name,
      lease,
      calls,
      demand: NO_DEMAND,
      isLeased: false,
      by: id.kind,
      coversAmount: (amount, now) => lease.coversAmount(amount, now),
      extendLease: (demand, isFirst) => this.#requestLargerLease(open, demand, isFirst),
      recordHold: (now) => this.#recordPlacedHold(open, now),
    };
    this.#open.set(name, open);
    return open;
  }

  /** @returns the account's settled and held amounts under its lease from a pool */
  #getWindowsForPool(name: string): Record<Period, WindowAmounts> {
    const { budget } = this.#holder;
    const { group } = parsePoolName(name);
    return this.#identity.subtractSpentUnderOldIds(
      name,
      group === undefined ? budget.windows : getOrCreateGroupWindows(budget, group),
    );
  }

  /**
   * Calls a pool, and repeats the call while there are sums that the pool does not know. Its first response contains what it
   * knows.
   */
  async #reportUntilCurrent(open: LeaseWithCalls): Promise<void> {
    for (let rounds = 0; rounds < MOST_REPORTS; rounds += 1) {
      const { lastConfirmedChange: told } = this.#sums;
      await open.calls.requestCall();
      if (!this.#hasUnreportedChangesForPool(open.name) || (this.#sums.lastConfirmedChange === told && rounds > 0))
        return;
    }
  }

  /** Records a failed report, which the account's alarm repeats. */
  #recordReportFailure(pool: string, thrown: unknown): void {
    this.#around.retries.recordFailure('pool_report', thrown, this.#around.now() + REPEAT_MS, { subject: pool });
  }

  async #previewLease({ name, lease }: LeaseWithCalls, demand: HoldDemand): Promise<void> {
    const sentAt = this.#around.now();
    const composed = lease.composeNextLeaseRequest(demand, sentAt, false, this.#computeOwnAmountLeft());
    const text = JSON.stringify({ lease: '', incarnation: 0, ...composed });
    const answer = JSON.parse(
      await this.#callPoolWithRetry(name, (pool) => pool.previewLeaseJson(text)),
    ) as LeaseResponse;
    // Ignore the response of a pool without limits: its grant (`null`) covers any amount, so the hold would be placed without a
    // lease, and the pool would never be informed of it. A pool with limits grants nothing here, so a lease is still requested.
    if (answer.windows.some(({ granted }) => granted !== null)) lease.applyLeaseResponse(answer, sentAt);
  }

  #callPoolWithRetry(name: string, call: (pool: RemoteMethods<PoolObject>) => Promise<string>): Promise<string> {
    const { env } = this.#around;
    return callPool({ pools: env, settings: parseSettingsOnce(env), name }, call);
  }

  async #sendLeaseRequest(open: LeaseWithCalls): Promise<void> {
    const { name, lease, demand } = open;
    // The lease was given up during the await. The waiting requests decide again, and request a new lease.
    if (this.#open.get(name) !== open) return;
    open.demand = NO_DEMAND;
    const sentAt = this.#around.now();
    const identity = this.#identity.raiseIncarnationForPool(name);
    const isIdle = demand.most === 0 && !this.#idle.isRunning;
    const isOfAll = name === DEPLOYMENT_POOL;
    const sent = isOfAll ? this.#sums.createDueReport(sentAt, isIdle) : undefined;
    const description = this.#describeAccountForPool();
    const { refusals } = this.#holder;
    const { lastRejectionTime: lastAt } = refusals;
    const call: LeaseRequest = {
      lease: identity.id,
      account: this.#holder.accountId,
      nameless: !this.#identity.hasAccountName,
      incarnation: identity.incarnation,
      ...lease.composeNextLeaseRequest(demand, sentAt, isIdle, this.#computeOwnAmountLeft()),
      batched: sumAccountBatchHolds(this.#holder.budget, lease.id.group),
      seenAt: this.#findLastUseTime(),
      ...description,
      sums: sent?.report,
      ...(isOfAll && { outcomes: this.#listRecentOutcomes(sentAt) }),
      ...(isOfAll && this.#identity.hasAccountName
        ? {
            refusedAt: lastAt || undefined,
            refused: refusals.countRejectionsOnDayOfLastRejection(),
            failedAt: findLastFailureTime(this.#holder.ledger),
          }
        : {}),
      owes: !isIdle || (!sent?.isLast && isOfAll && this.#sums.hasUnreportedChanges),
    };
    const keyLimits = isOfAll ? this.#keyLimits : [];
    const text = JSON.stringify(keyLimits.length > 0 ? { ...call, keyLimits } : call);
    if (isOfAll) this.#described = undefined;
    const answer = JSON.parse(await this.#callPoolWithRetry(name, (pool) => pool.leaseJson(text))) as LeaseResponse;
    if (this.#open.get(name) !== open) return;
    if (answer.incarnation > identity.incarnation) this.#identity.raiseIncarnationAbove(answer.incarnation);
    // Ignore this response, because a later call has already reported newer figures.
    if (answer.incarnation !== identity.incarnation || answer.seq !== call.seq || call.seq !== lease.lastRequestNumber)
      return;
    if (isOfAll) {
      this.#described = JSON.stringify(description);
      this.#sums.applyPoolConfirmation(answer.told, sent);
      this.#refusalTold = lastAt;
      this.#keyLimits = this.#keyLimits.filter((one) => !keyLimits.includes(one));
    }
    lease.applyLeaseResponse(answer, sentAt);
  }

  /** @returns how upstreams have answered lately; undefined if nothing was sent to them */
  #listRecentOutcomes(now: number): OutcomeCount[] | undefined {
    const { models } = parseSettingsOnce(this.#around.env);
    const counts = this.#outcomes.listRecentCounts(now, (model) => models.findRow(model)?.id);
    return counts.length > 0 ? counts : undefined;
  }

  /** @returns the remaining amount of the account's own limits, because it cannot use more */
  #computeOwnAmountLeft(): Nanodollars {
    const { budget, limits } = this.#holder;
    return Math.max(0, computeMinAmountLeft(createBudgetWindows(budget, limits.decisionRules)));
  }

  /** @returns when the account was last used; undefined if that is not known, or was before it was erased */
  #findLastUseTime(): number | undefined {
    if (!this.#identity.hasAccountName) return this.#seenAt;
    const { ledger, refusals } = this.#holder;
    // An object that has just woken does not know when it was last used, so read the time of the newest ledger row.
    const at =
      this.#seenAt ?? ledger.readAllRows<{ at: number }>('select at from ledger order by id desc limit 1')[0]?.at ?? 0;
    return Math.max(at, refusals.lastRejectionTime) || undefined;
  }

  #hasUnreportedChangesForPool(name: string): boolean {
    return (
      name === DEPLOYMENT_POOL &&
      (this.#sums.hasUnreportedChanges || this.#holder.refusals.lastRejectionTime > this.#refusalTold)
    );
  }

  /** Returns unheld amounts. @returns once each pool has confirmed, or cannot be reached */
  async #returnUnheldAmounts(): Promise<void> {
    const calls = this.#listOpenLeases().map((open) =>
      // Ignore a failed call: the alarm reports to the pool later.
      open.lease.isLeaseOpen || this.#hasUnreportedChangesForPool(open.name)
        ? open.calls.requestCall().catch(() => this.#unreported.addPoolToReport(open.name))
        : undefined,
    );
    await Promise.allSettled(calls);
  }

  /** @returns whether a pool counts more than is held, or does not know everything that was spent. */
  #hasUnreportedChanges(): boolean {
    return this.#listOpenLeases().some(
      (open) => open.lease.hasUnusedGrant || this.#hasUnreportedChangesForPool(open.name),
    );
  }

  #listOpenLeases(): LeaseWithCalls[] {
    return [...this.#open.values()].filter(({ isLeased }) => isLeased);
  }
}

/** @returns the figures of a lease of which nothing is kept */
function createFinalLeaseWindows(windows: Readonly<Record<Period, WindowAmounts>>): LeaseRequestWindow[] {
  return PERIODS.map((period) => {
    const { start, end, settled } = windows[period];
    return { period, id: formatCalendarWindowId(period, start), end, spent: settled, kept: 0, want: 0, least: 0 };
  });
}

function getSpentByWindow(figures: readonly LeaseRequestWindow[]): Record<string, Nanodollars> {
  return Object.fromEntries(figures.map(({ id, spent }) => [id, spent]));
}

/** Ignores the failure of a background call. The next call reports the same figures. */
function ignoreLeaseRequestFailure(): void {}
