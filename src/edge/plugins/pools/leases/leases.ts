/** Keeps and renews leases: what an account may hold from the pools that it shares. */

import { isVisitor } from '../../../auth/identity/identity.ts';
import { type Nanodollars, toUsd } from '../../../claude/pricing/cost.ts';
import { settingsOf } from '../../../config/settings.ts';
import type { Remote } from '../../../durable/call-object.ts';
import type { ObjectServices } from '../../../durable/edge-object.ts';
import type { AccountState } from '../../../money/account/account-state.ts';
import type { Demand, HoldEnd, PayingCaller, SharedBudgets } from '../../../money/account/payers.ts';
import { blockingLimit, isPrepaid } from '../../../money/budget/binding-limits.ts';
import {
  type BudgetWindow,
  budgetWindows,
  limitOfPeriod,
  minAmountLeft,
} from '../../../money/budget/budget-windows.ts';
import { heldByBatchesOf } from '../../../money/budget/refusals.ts';
import { type Hold, type WindowTotal, windowsOfGroup } from '../../../money/budget/state.ts';
import { PERIODS, type Period, spanId } from '../../../money/budget/windows.ts';
import type { LimitOwner } from '../../../money/contracts/admission.ts';
import { lastFailure } from '../../../money/ledger/queries.ts';
import { callPool } from '../call-pool.ts';
import type { LeaseAnswer, LeaseCall, LeaseFigures, PoolObject } from '../contracts/pool.ts';
import { DEPLOYMENT_POOL, parsePoolName, poolNameOfGroup } from '../pool-name.ts';
import { IdleTimer } from './idle-timer.ts';
import { LastCalls } from './last-calls.ts';
import { Lease, NO_DEMAND, type OpenLease } from './lease.ts';
import { LeaseIdentity } from './lease-identity.ts';
import { ReportedSums } from './reported-sums.ts';
import { SharedCall } from './shared-call.ts';
import { UnreportedPools } from './unreported-pools.ts';

/** How many reports are sent one after the other. A long history needs several. */
const MOST_REPORTS = 20;

/**
 * Keeps what an account has leased from the pools that it shares. Leases are only in memory: an object that wakes has none, and
 * asks its pools again with a higher incarnation. Holds are rows, so they stay.
 */
export class Leases implements SharedBudgets {
  readonly owners = ['deployment', 'group'] as const;
  readonly #holder: AccountState;
  readonly #around: ObjectServices;
  readonly #last: LastCalls;
  readonly #open = new Map<string, OpenLease>();
  readonly #sums: ReportedSums;
  readonly #identity: LeaseIdentity;
  readonly #unreported: UnreportedPools;
  readonly #idle: IdleTimer;
  #seenAt: number | undefined;
  /** The last refusal that the deployment's pool knows; milliseconds since 1970. */
  #refusalTold = 0;
  /** What the deployment's pool knows of the account's limits; undefined if a call may still change that. */
  #described: string | undefined;

  constructor(holder: AccountState, around: ObjectServices) {
    this.#holder = holder;
    this.#around = around;
    const { ledger } = holder;
    this.#identity = new LeaseIdentity(ledger);
    this.#unreported = new UnreportedPools(around, () => this.#poolsAfterWake());
    this.#idle = new IdleTimer(around, {
      returnUnheld: () => this.#returnUnheld(),
      hasUnreported: () => this.#hasUnreported(),
    });
    this.#sums = new ReportedSums(ledger);
    this.#last = new LastCalls(ledger);
  }

  key(by: LimitOwner, want: PayingCaller): string {
    return by === 'group' ? poolNameOfGroup(String(this.#holder.groupOf(want))) : by;
  }

  budgetWindows(want: PayingCaller, now: number): BudgetWindow[] {
    return this.leases(want).flatMap(({ lease }) => lease.purses(now));
  }

  leases(want: PayingCaller): readonly OpenLease[] {
    const group = this.#holder.groupOf(want);
    this.#identity.assignName();
    this.#seenAt = this.#holder.budget.last;
    const leases: OpenLease[] = [];
    if (want.pools?.deployment) leases.push(this.#lease(DEPLOYMENT_POOL));
    if (group !== undefined) leases.push(this.#lease(poolNameOfGroup(group)));
    for (const open of leases) open.isLeased = true;
    return leases;
  }

  /** Asks a pool. For a visitor of whom nothing is stored it only looks at first: a pool that is spent makes no object. */
  async #askForMore(open: OpenLease, { least, most }: Demand, isFirst = false): Promise<void> {
    const { accountId = '', ledger } = this.#holder;
    if (isFirst && ledger.areMissing && isVisitor(accountId)) return await this.#peek(open, { least, most });
    const { demand } = open;
    open.demand = {
      least: demand.most === 0 ? least : Math.min(demand.least, least),
      most: Math.min(Number.MAX_SAFE_INTEGER, demand.most + most),
    };
    this.#idle.start();
    await open.calls.request();
  }

  /** Notes that a hold was placed. A lease that will soon expire is renewed; nobody waits for it. */
  #noteHold({ lease, calls }: OpenLease, now: number): void {
    lease.noteUse(0);
    this.#idle.noteUse();
    if (!calls.isRunning && lease.isAging(now)) this.#around.waitUntil(calls.request().catch(ignoreCallFailure));
  }

  settle(hold: Hold, { closing, isErased }: HoldEnd): void {
    const { group } = hold;
    this.#sums.noteChange();
    if (isErased) this.#last.addLate(hold, closing);
    for (const name of this.#identity.payersOf(group)) {
      const open = this.#open.get(name);
      // A pool cannot ask a lease without a name.
      if (open?.isLeased && !isErased) {
        open.lease.noteUse(closing.cost);
        this.#idle.noteUse();
      } else this.#unreported.add(name);
    }
  }

  /** No lease reports what was spent without a hold. */
  correct({ group }: Pick<Hold, 'group'>): void {
    this.noteRestored(group);
  }

  noteRestored(group?: string): void {
    this.#identity.assignName();
    this.#sums.noteChange();
    for (const name of this.#identity.payersOf(group)) this.#unreported.add(name);
  }

  /** The deployment's pool is told by the alarm, at most once a minute. */
  noteRefused(): void {
    this.#identity.assignName();
    this.#unreported.add(DEPLOYMENT_POOL);
  }

  /** If no request is going to report it, the alarm does. */
  noteListed(): void {
    if (this.#holder.budget.holds.size === 0) this.#unreported.add(DEPLOYMENT_POOL);
  }

  /** Tells the deployment's pool what it does not know yet, also of an account that has not asked for anything. Nobody waits for it. */
  noteDescribed(): void {
    this.#identity.assignName();
    if (JSON.stringify(this.#description()) === this.#described) return;
    this.#around.waitUntil(this.#lease(DEPLOYMENT_POOL).calls.request().catch(ignoreCallFailure));
  }

  /** @returns what lists show of the account, beside its sums */
  #description(): Pick<LeaseCall, 'group' | 'limits'> {
    const { budget, group, limits, limitedTokens } = this.#holder;
    const { rules } = limits;
    const total = limitOfPeriod(budget, rules, 'total');
    const { usd_per_hour, usd_per_day, usd_per_week, usd_per_month } = limits.limits;
    const windows = { usd_per_hour, usd_per_day, usd_per_week, usd_per_month };
    const usd_total = total === undefined ? undefined : toUsd(total);
    const blockedBy = blockingLimit(limits.limits, budget.credit);
    const prepaid = isPrepaid(rules) || undefined;
    return { group, limits: { ...windows, usd_total, prepaid, blockedBy, token: limitedTokens.tightest(budget.last) } };
  }

  /** If the account is not in use, what it does not hold is returned. */
  async report(name: string): Promise<void> {
    const { isNamed, pools } = this.#identity;
    // A pool may have asked an account just before that ended.
    if (this.#holder.ledger.areMissing) return;
    // An erased account that holds nothing has nothing to report, and must not get new leases.
    if (isNamed || pools.includes(name)) await this.#reportUntilCurrent(this.#lease(name));
  }

  /** Reports to pools that may not know what was spent, at most once a minute. */
  async reportChanges(): Promise<void> {
    await this.#unreported.report(async (name) => {
      await this.#reportUntilCurrent(this.#lease(name));
      return !this.#isUnreported(name);
    });
  }

  /** @returns the pools that may not know what was spent before the object woke. */
  #poolsAfterWake(): Iterable<string> {
    const { ledger } = this.#holder;
    const isKnown =
      this.#identity.isNamed &&
      (ledger.meta('listed') !== undefined ||
        ['ledger', 'rollups', 'refusals'].some((table) => ledger.has(`${table} where true`)));
    return new Set([...this.#identity.pools, ...(isKnown ? [DEPLOYMENT_POOL] : [])]);
  }

  /**
   * Stores the last call of each lease, and takes another id: what a name does after its erasure is told under that one. What
   * is held meanwhile goes on under it, too.
   */
  beginErasure(): void {
    this.#identity.dropName();
    this.#seenAt = undefined;
    this.#unreported.clear();
    const sums = this.#sums.unconfirmedWithoutNames();
    const names = [...new Set([...this.#identity.pools, ...(sums.rows.length > 0 ? [DEPLOYMENT_POOL] : [])])];
    const figures = new Map(names.map((name) => [name, lastFigures(this.#windowsOf(name))]));
    const spent = new Map([...figures].map(([name, all]) => [name, spentByWindow(all)]));
    const pools = names.filter((name) => this.#windowsOf(name).total.held > 0);
    const last = { ...this.#identity.renew(spent, { pools }), nameless: true, isLast: true, wish: 0 };
    const calls = [...figures].map(([pool, windows]) => {
      return { pool, call: { ...last, windows, ...(pool === DEPLOYMENT_POOL ? { sums } : {}) } };
    });
    this.#last.add(...calls);
    this.#forgetLeases();
  }

  get hasLastCalls(): boolean {
    return this.#last.pending.length > 0;
  }

  async reportLastCalls(): Promise<boolean> {
    for (const last of this.#last.pending) {
      const { pool, call } = last;
      if (this.#identity.pools.includes(pool)) {
        const open = this.#lease(pool);
        await this.#reportUntilCurrent(open).catch(ignoreCallFailure);
        // What is held must be counted under the new id before the old one lets it go.
        if (open.lease.reportedSpending === undefined) continue;
      }
      const text = JSON.stringify(call);
      await this.#callWithRetry(pool, (object) => object.leaseJson(text)).then(
        () => this.#last.remember(last),
        ignoreCallFailure,
      );
    }
    return this.hasLastCalls;
  }

  /** Gives up the leases, too. The pools count its sums for all accounts that have ended so. */
  async leave(): Promise<boolean> {
    // What was given up must not be reported again, under another id.
    if (!this.#identity.hasGivenUp) {
      const names = [...this.#poolsAfterWake()];
      for (const name of names) await this.#reportUntilCurrent(this.#lease(name)).catch(ignoreCallFailure);
      if (names.some((name) => this.#isUnreported(name)) || !this.#giveUp()) return true;
    }
    await this.#identity.joinVisitorLeases(this.#around.env);
    return this.hasLastCalls || this.#identity.isJoining;
  }

  /**
   * Gives up the leases of a visitor, if it is certain what each pool knows. What a pool does not know is told for the next lease.
   *
   * @returns whether it is certain
   */
  #giveUp(): boolean {
    const told = new Map<string, Readonly<Record<string, Nanodollars>>>();
    for (const name of this.#identity.pools) {
      const open = this.#open.get(name);
      if (!open?.lease.reportedSpending || open.calls.isRunning) return false;
      told.set(name, open.lease.reportedSpending);
    }
    this.#identity.renew(told, { joins: true });
    this.#forgetLeases();
    return true;
  }

  /** Forgets what pools know, which was told under another id. */
  #forgetLeases(): void {
    this.#open.clear();
    this.#described = undefined;
    this.#sums.forget();
    this.#refusalTold = 0;
  }

  #lease(name: string): OpenLease {
    const opened = this.#open.get(name);
    if (opened) return opened;
    const id = parsePoolName(name);
    const lease = new Lease(id, () => this.#windowsOf(name));
    const calls = new SharedCall(() => this.#call(open));
    const open: OpenLease = {
      name,
      lease,
      calls,
      demand: NO_DEMAND,
      isLeased: false,
      by: id.kind,
      covers: (amount, now) => lease.covers(amount, now),
      extend: (demand, isFirst) => this.#askForMore(open, demand, isFirst),
      noteHold: (now) => this.#noteHold(open, now),
    };
    this.#open.set(name, open);
    return open;
  }

  /** @returns what an account has settled and held now under its lease from a pool */
  #windowsOf(name: string): Record<Period, WindowTotal> {
    const { budget } = this.#holder;
    const { group } = parsePoolName(name);
    return this.#identity.subtractBase(name, group === undefined ? budget.windows : windowsOfGroup(budget, group));
  }

  /** Calls a pool, and again while there are sums that the pool does not know. Its first answer says what it knows. */
  async #reportUntilCurrent(open: OpenLease): Promise<void> {
    for (let rounds = 0; rounds < MOST_REPORTS; rounds += 1) {
      const { reportedTo: told } = this.#sums;
      await open.calls.request();
      if (!this.#isUnreported(open.name) || (this.#sums.reportedTo === told && rounds > 0)) return;
    }
  }

  async #peek({ name, lease }: OpenLease, demand: Demand): Promise<void> {
    const sentAt = this.#around.now();
    const composed = lease.composeCall(demand, sentAt, false, this.#ownRemaining());
    const text = JSON.stringify({ lease: '', incarnation: 0, ...composed });
    const answer = JSON.parse(await this.#callWithRetry(name, (pool) => pool.peekJson(text))) as LeaseAnswer;
    // Of a pool without limits a request could be held by this answer alone, and the pool would never hear of it.
    if (answer.windows.some(({ granted }) => granted !== null)) lease.applyAnswer(answer, sentAt);
  }

  #callWithRetry(name: string, call: (pool: Remote<PoolObject>) => Promise<string>): Promise<string> {
    const { env } = this.#around;
    return callPool({ pools: env, settings: settingsOf(env), name }, call);
  }

  async #call(open: OpenLease): Promise<void> {
    const { name, lease, demand } = open;
    // It was given up meanwhile. Who waits for it decides again, and asks by the next one.
    if (this.#open.get(name) !== open) return;
    open.demand = NO_DEMAND;
    const sentAt = this.#around.now();
    const identity = this.#identity.raiseIncarnation(name);
    const isIdle = demand.most === 0 && !this.#idle.isRunning;
    const isOfAll = name === DEPLOYMENT_POOL;
    const sent = isOfAll ? this.#sums.compose(sentAt, isIdle) : undefined;
    const description = this.#description();
    const { refusals } = this.#holder;
    const { lastAt } = refusals;
    const call: LeaseCall = {
      lease: identity.id,
      account: this.#holder.accountId,
      nameless: !this.#identity.isNamed,
      incarnation: identity.incarnation,
      ...lease.composeCall(demand, sentAt, isIdle, this.#ownRemaining()),
      batched: heldByBatchesOf(this.#holder.budget, lease.id.group),
      seenAt: this.#lastUse(),
      ...description,
      sums: sent?.report,
      ...(isOfAll && this.#identity.isNamed
        ? {
            refusedAt: lastAt || undefined,
            refused: refusals.countOfLastDay(),
            failedAt: lastFailure(this.#holder.ledger),
          }
        : {}),
      owes: !isIdle || (!sent?.isLast && isOfAll && this.#sums.isBehind),
    };
    const text = JSON.stringify(call);
    if (isOfAll) this.#described = undefined;
    const answer = JSON.parse(await this.#callWithRetry(name, (pool) => pool.leaseJson(text))) as LeaseAnswer;
    if (this.#open.get(name) !== open) return;
    if (answer.incarnation > identity.incarnation) this.#identity.raiseIncarnationAbove(answer.incarnation);
    // A later call has newer figures, so this answer is ignored.
    if (answer.incarnation !== identity.incarnation || answer.seq !== call.seq || call.seq !== lease.seq) return;
    if (isOfAll) {
      this.#described = JSON.stringify(description);
      this.#sums.acceptReply(answer.told, sent);
      this.#refusalTold = lastAt;
    }
    lease.applyAnswer(answer, sentAt);
  }

  /** @returns what is left of the account's own limits: it has no use for more */
  #ownRemaining(): Nanodollars {
    const { budget, limits } = this.#holder;
    return Math.max(0, minAmountLeft(budgetWindows(budget, limits.rules)));
  }

  /** @returns when the account was last used; undefined if that is not known, or was before it was erased */
  #lastUse(): number | undefined {
    if (!this.#identity.isNamed) return this.#seenAt;
    const { ledger, refusals } = this.#holder;
    // An object that has slept knows no more when it was used.
    const at =
      this.#seenAt ?? ledger.read<{ at: number }>('select at from ledger order by id desc limit 1')[0]?.at ?? 0;
    return Math.max(at, refusals.lastAt) || undefined;
  }

  #isUnreported(name: string): boolean {
    return name === DEPLOYMENT_POOL && (this.#sums.isBehind || this.#holder.refusals.lastAt > this.#refusalTold);
  }

  /** Returns what is not held. @returns once each pool has heard it, or cannot be reached */
  async #returnUnheld(): Promise<void> {
    const calls = this.#openLeases().map((open) =>
      // If the pool does not hear it, the alarm tells it.
      open.lease.isOpen || this.#isUnreported(open.name)
        ? open.calls.request().catch(() => this.#unreported.add(open.name))
        : undefined,
    );
    await Promise.allSettled(calls);
  }

  /** @returns whether a pool counts more than is held, or does not know everything that was spent. */
  #hasUnreported(): boolean {
    return this.#openLeases().some((open) => open.lease.keepsUnused || this.#isUnreported(open.name));
  }

  #openLeases(): OpenLease[] {
    return [...this.#open.values()].filter(({ isLeased }) => isLeased);
  }
}

/** @returns the figures of a lease of which nothing is kept */
function lastFigures(windows: Readonly<Record<Period, WindowTotal>>): LeaseFigures[] {
  return PERIODS.map((period) => {
    const { start, end, settled } = windows[period];
    return { period, id: spanId(period, start), end, spent: settled, kept: 0, want: 0, least: 0 };
  });
}

function spentByWindow(figures: readonly LeaseFigures[]): Record<string, Nanodollars> {
  return Object.fromEntries(figures.map(({ id, spent }) => [id, spent]));
}

/** Ignores the failure of a call that nobody waits for. The next call reports the same. */
function ignoreCallFailure(): void {}
