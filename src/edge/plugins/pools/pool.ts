import { isVisitor } from '../../auth/identity/identity.ts';
import { UpstreamObject } from '../../claude/upstream-object.ts';
import { settingsOf } from '../../config/settings.ts';
import type { Page } from '../../durable/page.ts';
import type { FailingTask, RetriedTask } from '../../durable/retries.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { AlertOutbox, UNOWNED } from '../../money/alerts/alert-outbox.ts';
import { sortByTightness } from '../../money/budget/binding-limits.ts';
import { applyPatch, type PoolLimits, type PoolLimitsPatch } from '../../money/budget/limits.schema.ts';
import { rulesOf } from '../../money/budget/rules.ts';
import { findReachedThresholds } from '../../money/budget/thresholds.ts';
import { limitName, PERIODS, type Period, spanAt, spanId } from '../../money/budget/windows.ts';
import type { LastRequest, LastRequestsQuery, SharedUsageQuery } from '../../money/contracts/all-accounts.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type {
  GroupLimits,
  LeaseAnswer,
  LeaseCall,
  LeaseFigures,
  PoolBackup,
  PoolObject,
  PoolOverview,
  SpendQuery,
} from './contracts/pool.ts';
import { FailingTasks } from './failing-tasks.ts';
import {
  createAnswer,
  createBooks,
  grantLease,
  isChanged,
  isNewer,
  joinLease,
  type LeaseBooks,
  type PoolRules,
  replaceWindows,
  reportWindows,
} from './grant.ts';
import { DEPLOYMENT_POOL, parsePoolName, poolNameOfGroup } from './pool-name.ts';
import { type PoolLease, PoolStore } from './pool-store.ts';
import type { AccountSpendRow, PoolQuotaReport, SharedUsageReport } from './pools-answers.schema.ts';
import { RefusedKey } from './refused-key.ts';
import {
  createOverview,
  joinRefused,
  listSpenders,
  poolLimitsInUse,
  sortAndPage,
  withGroupLimit,
  withSharedLimit,
} from './spenders.ts';
import { RESTORED_LEASE, VISITORS_LEASE } from './tables.ts';
import { UsedSums } from './used-sums.ts';

/** If an account with a lease is silent for longer than this, the pool asks it. Milliseconds. */
const SILENT_MS = MINUTE_MS;
/** The longest such time. An account whose request goes on is asked less and less often. Milliseconds. */
const MOST_SILENT_MS = 15 * MINUTE_MS;
/** How many accounts one alarm asks, and how many at the same time. (An object may have six open connections.) */
const ASKED_AT_ONCE = 300;
const ASKED_TOGETHER = 5;
/** A call that was on its way when its visitor ended comes within this time. Milliseconds. */
const JOINED_MS = 10 * MINUTE_MS;
const ASK_GRAIN_MS = 10_000;
const ASK_ON_MS = 1_000;

/**
 * The object of a budget that accounts share: a group's, or the deployment's. It grants parts of each window, and keeps what
 * accounts have reported. docs/design/pools.md describes the protocol.
 *
 * Grants are made in memory, which is rebuilt from the rows when the object wakes. A grant's row is written before the
 * answer.
 *
 * @example export { Pool } from 'sluice';
 */
export class Pool extends UpstreamObject implements PoolObject {
  readonly #store: PoolStore;
  readonly #used: UsedSums;
  readonly #name: string;
  readonly #alerts: AlertOutbox;
  readonly #key: RefusedKey;
  readonly #failing: FailingTasks;
  readonly #books: LeaseBooks<PoolLease>;
  #own: PoolLimits | null;
  #rules: PoolRules | undefined;
  /**
   * When each open lease was last asked, and how long it may be silent now. It is not stored, because it only saves calls.
   */
  readonly #asked = new Map<string, { at: number; waitMs: number }>();

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env, ASK_GRAIN_MS);
    this.#name = ctx.id.name ?? DEPLOYMENT_POOL;
    this.#store = new PoolStore(ctx.storage, this.services.abort);
    this.#used = new UsedSums(this.#store);
    this.#alerts = new AlertOutbox(this.#store, this.services);
    this.#key = new RefusedKey(this.#store, this.#alerts, this.services);
    this.#failing = new FailingTasks(this.#store);
    this.#books = createBooks(this.#store.leases(), this.now());
    this.#own = JSON.parse(this.#store.meta('limits') ?? 'null') as PoolLimits | null;
  }

  /** Takes an account's report, and grants what it may have. With JSON texts. A call that is not newer changes nothing. */
  leaseJson(text: string): string {
    const call = JSON.parse(text) as LeaseCall;
    const current = this.#books.open.get(call.lease) ?? this.#store.lease(call.lease);
    const lease = current && !isNewer(call, current) ? current : this.#applyCall(call, current);
    const answer: LeaseAnswer = {
      ...createAnswer(this.#books, this.#currentRules(), lease, call.windows),
      told: lease.told,
    };
    return JSON.stringify(answer);
  }

  /** Answers like `leaseJson` to an account that gets nothing. Nothing is stored, of neither. */
  peekJson(text: string): string {
    const { lease, windows, incarnation, seq } = JSON.parse(text) as LeaseCall;
    const had = windows.map(({ id, end, spent, kept }) => [id, { end, spent, granted: spent + kept }]);
    const nothing = { id: lease, incarnation, seq, toldAt: 0, open: false, windows: Object.fromEntries(had) };
    const granted = createAnswer(this.#books, this.#currentRules(), nothing, windows);
    const answer: LeaseAnswer = { ...granted, told: -1 };
    return JSON.stringify(answer);
  }

  /** Replaces the pool's limits; null means those of the setting, or none. Leased money may be used for another minute. */
  setLimits(limits: PoolLimits | null): void {
    this.#store.setMeta('limits', limits === null ? undefined : JSON.stringify(limits));
    this.#own = limits;
    this.#rules = undefined;
    const now = this.now();
    this.#raiseAlerts(PERIODS.map((period) => windowAt(period, now)));
  }

  /** Changes some of the pool's limits. Null removes one; those that are not in the patch stay. @returns all of them */
  patchLimits(patch: PoolLimitsPatch): PoolLimits {
    const limits = applyPatch(this.#limits, patch);
    this.setLimits(limits);
    return limits;
  }

  /** @returns the limits in force, and what was spent that no account reports after a restore */
  backup(): PoolBackup {
    return { limits: this.#limits, spent: this.#unreportedSpending() };
  }

  /**
   * Restores a backup. Of each window the larger sum counts, so that it may be repeated, also where the backup was made.
   *
   * @returns false if the pool has other limits already. Then nothing changes
   */
  restore({ limits, spent }: PoolBackup): boolean {
    const isSame = limits === null || limitsToJson(limits) === limitsToJson(this.#limits);
    if (this.#own !== null && !isSame) return false;
    if (!isSame) this.setLimits(limits);
    const now = this.now();
    const before = this.#store.lease(RESTORED_LEASE);
    const here = this.#unreportedSpending();
    const missing = Object.entries(spent).map(([id, { end, spent: most }]) => {
      const already = before?.windows[id]?.spent ?? 0;
      const sum = already + Math.max(0, most - (here[id]?.spent ?? 0));
      return [id, { end, spent: sum, granted: sum }] as const;
    });
    const windows = replaceWindows(this.#books, before, Object.fromEntries(missing), now);
    this.#store.put({ ...NAMELESS, id: RESTORED_LEASE, windows, toldAt: now });
    return true;
  }

  /** @returns what leases have spent that no account reports after a restore: accounts restore what they told the deployment */
  #unreportedSpending(): PoolBackup['spent'] {
    const isGroup = this.#name !== DEPLOYMENT_POOL;
    const sums: PoolBackup['spent'] = {};
    for (const { account, isErased, windows } of this.#store.leases()) {
      if (!isGroup && account !== null && !isErased && !isVisitor(account)) continue;
      for (const [id, { end, spent }] of Object.entries(windows))
        sums[id] = { end, spent: (sums[id]?.spent ?? 0) + spent };
    }
    return sums;
  }

  /** @returns the status of the pool in every window. */
  quota(): PoolQuotaReport {
    return { limits: this.#limits, ...reportWindows(this.#books, this.#currentRules(), this.now()) };
  }

  /** @returns a page of the accounts that share the pool, as the query sorts them. */
  accounts(query: SpendQuery): Page<AccountSpendRow> {
    const { groups = {}, isShared = false } = query;
    const rows = this.#listSpenders(isShared).map((row) => withGroupLimit(row, groups));
    return sortAndPage(rows, query);
  }

  /** @returns what went wrong on this day in UTC, and how many accounts can ask for nothing now */
  overview(groups: GroupLimits, isShared: boolean): PoolOverview {
    const now = this.now();
    const { total } = this.#used.usage({ from: spanId('day', spanAt('day', now).start), group_by: 'day' });
    return {
      ...createOverview(
        this.#listSpenders(isShared).map((row) => withGroupLimit(row, groups)),
        total,
      ),
      failing_tasks: this.#failing.current(now),
    };
  }

  /** Notes a task that has failed in an object for some time. A lost answer makes the report come twice, which counts twice. */
  noteFailing(failing: FailingTask): void {
    this.#failing.note(failing, this.now());
  }

  /** @returns how often each task has failed, as far as objects have reported it */
  taskFailures(): { task: RetriedTask; failures: number }[] {
    return this.#failing.totals();
  }

  /** @returns what is known of these accounts; nothing of those that the pool does not know */
  findAccounts(names: readonly string[], isShared: boolean): AccountSpendRow[] {
    return this.#listSpenders(isShared, names);
  }

  /**
   * @param isShared whether the limits of all accounts hold: they stay stored without their setting
   * @returns a row of each account. Where the budget of all accounts is spent, that is what binds each of them
   */
  #listSpenders(isShared: boolean, names?: readonly string[]): AccountSpendRow[] {
    const rows = listSpenders(this.#store, this.now(), names);
    if (!isShared) return rows;
    const [tightest] = sortByTightness(poolLimitsInUse('deployment', null, this.quota()));
    return tightest?.refuses ? rows.map((row) => withSharedLimit(row, tightest)) : rows;
  }

  /** @returns what accounts have reported that they have spent. */
  usage(query: SharedUsageQuery): SharedUsageReport {
    return this.#used.usage(query);
  }

  /** @returns the accounts of which a request was refused, or failed, since a time; the newest first. */
  lastRequests(query: LastRequestsQuery): LastRequest[] {
    return this.#store.lastRequests(query);
  }

  /** Adds what a visitor has spent to the row of all who have ended, and deletes the lease. One that is not there was added. */
  joinVisitors(id: string): void {
    const lease = this.#books.open.get(id) ?? this.#store.lease(id);
    if (!lease || lease.joinedAt !== null) return;
    const now = this.now();
    const ended = this.#store.lease(VISITORS_LEASE);
    const windows = joinLease(this.#books, lease, ended, now);
    const refused = joinRefused(lease.refused, ended?.refused);
    const unseen = { seenAt: null, refusedAt: null, failedAt: null, refused: null };
    const nameless = { ...unseen, account: null, isErased: true, group: null, limits: null, open: false };
    this.#store.transact(() => {
      this.#used.joinVisitors(id);
      const joined = { id: VISITORS_LEASE, incarnation: 0, seq: 0, windows, toldAt: now, refused };
      this.#store.put({ ...lease, ...nameless, ...joined });
      // A call that was on its way must not bring it back, so its number is known for some time.
      this.#store.put({ ...lease, ...nameless, windows: {}, joinedAt: now });
    });
    this.#books.open.delete(id);
    this.services.alarm.schedule(now + JOINED_MS);
  }

  /** Notes what `RefusedKey` notes. */
  noteKey(news: string | null, upstream?: string): void {
    this.#key.note(news, upstream);
  }

  /** Asks accounts that have a lease and have been silent. */
  override async alarm(): Promise<void> {
    this.services.alarm.markFired();
    const now = this.now();
    await this.#alerts.send();
    await this.#key.tryAll();
    const silent = this.#openLeases().filter((lease) => this.#askAt(lease) <= now);
    const some = silent.slice(0, ASKED_AT_ONCE);
    for (let at = 0; at < some.length; at += ASKED_TOGETHER) {
      await Promise.all(some.slice(at, at + ASKED_TOGETHER).map((lease) => this.#askAccount(lease)));
    }
    const joined = this.#store.forgetJoined(now - JOINED_MS);
    if (joined !== undefined) this.services.alarm.schedule(joined + JOINED_MS);
    if (some.length < silent.length) this.services.alarm.schedule(this.now() + ASK_ON_MS, 1);
    for (const lease of this.#openLeases())
      this.services.alarm.schedule(Math.max(this.now() + ASK_ON_MS, this.#askAt(lease)));
  }

  #applyCall(call: LeaseCall, before: PoolLease | undefined): PoolLease {
    const granted = grantLease(this.#books, this.#currentRules(), call, before, this.now());
    const isErased = call.nameless === true;
    const isLast = call.isLast === true;
    const newest = before?.told ?? -1;
    // A report that leaves out something unknown here is ignored. The answer says from which change on to report.
    const sums = call.sums && (isLast || call.sums.since <= newest) ? call.sums : undefined;
    const told = sums?.seq ?? newest;
    const isUntold = this.#name === DEPLOYMENT_POOL && (told < 0 || call.sums !== sums);
    const open = granted.open || call.owes === true || isUntold;
    const lease: PoolLease = {
      ...granted,
      open,
      // While it still has something, it may have to be asked, so its name is kept.
      account: isErased && !open ? null : (call.account ?? before?.account ?? null),
      isErased,
      group: call.group ?? null,
      seenAt: call.seenAt ?? (isErased ? null : (before?.seenAt ?? null)),
      limits: isErased ? null : (call.limits ?? null),
      refusedAt: call.refusedAt ?? null,
      failedAt: call.failedAt ?? null,
      refused: call.refused ?? null,
      told,
      joinedAt: null,
    };
    if (open) this.#books.open.set(lease.id, lease);
    else this.#books.open.delete(lease.id);
    this.#store.transact(() => {
      this.#store.put(lease);
      if (sums) this.#used.put(lease.id, sums);
      if (isLast) this.#used.keepModels(lease.id);
    });
    // The long-running request has ended, so the pool asks often again.
    if (before && isChanged(before, lease)) this.#asked.delete(lease.id);
    if (lease.open) this.services.alarm.schedule(this.#askAt(lease));
    this.#raiseAlerts(call.windows);
    return lease;
  }

  /** Raises the alerts that are due by the settled sums of these windows. It costs little if the limits have no `alerts`. */
  #raiseAlerts(windows: readonly Pick<LeaseFigures, 'period' | 'id' | 'end'>[]): void {
    const { alerts: shares } = this.#limits;
    if (shares === undefined || shares.length === 0) return;
    const { kind: by, group } = parsePoolName(this.#name);
    const rules = this.#currentRules();
    const purses = windows.flatMap(({ period, id, end }) => {
      const [most, count] = [rules[period], this.#books.counts.get(id)];
      if (most === undefined || !count) return [];
      return [{ by, name: limitName(period), limit: most, settled: count.spent, held: 0, end }];
    });
    const node = { type: by, id: group ?? DEPLOYMENT_POOL };
    const due = findReachedThresholds(node, purses, shares, this.now());
    if (due.length > 0) this.#alerts.raise(due, UNOWNED);
  }

  async #askAccount(lease: PoolLease): Promise<void> {
    const { id, account } = lease;
    if (account === null) return;
    const request = { identity: { account }, accounts: this.env, settings: settingsOf(this.env) };
    // Until it answers, what it has stays counted.
    const failed = await callAccount(request, (object) => object.reportTo(this.#name)).then(
      () => undefined,
      (thrown: unknown) => ({ thrown }),
    );
    // While its request goes on, or it cannot be reached, it is asked less and less often.
    const waitMs = Math.min(MOST_SILENT_MS, Math.max(SILENT_MS, 2 * (this.#asked.get(id)?.waitMs ?? SILENT_MS)));
    if (failed) this.services.retries.recordFailure('account_report', failed.thrown, this.now() + waitMs);
    else this.services.retries.recordSuccess('account_report');
    if (this.#books.open.has(id)) this.#asked.set(id, { at: this.now(), waitMs });
    else this.#asked.delete(id);
  }

  #askAt({ id, toldAt }: PoolLease): number {
    const { at, waitMs } = this.#asked.get(id) ?? { at: 0, waitMs: SILENT_MS };
    return Math.max(toldAt, at) + waitMs;
  }

  #openLeases(): PoolLease[] {
    return [...this.#books.open.values()].filter(({ account }) => account !== null);
  }

  get #limits(): PoolLimits {
    if (this.#own) return this.#own;
    const { DEPLOYMENT_LIMITS, VISITORS } = settingsOf(this.env);
    if (this.#name === DEPLOYMENT_POOL) return DEPLOYMENT_LIMITS ?? {};
    return VISITORS && this.#name === poolNameOfGroup(VISITORS.group) ? VISITORS.pool : {};
  }

  #currentRules(): PoolRules {
    this.#rules ??= rulesOf(this.#limits).spend;
    return this.#rules;
  }
}

/** A lease of no account. */
const NAMELESS: Omit<PoolLease, 'id' | 'windows' | 'toldAt'> = {
  incarnation: 0,
  seq: 0,
  open: false,
  account: null,
  isErased: true,
  group: null,
  seenAt: null,
  refusedAt: null,
  failedAt: null,
  refused: null,
  limits: null,
  told: -1,
  joinedAt: null,
};

function limitsToJson(limits: PoolLimits): string {
  return JSON.stringify(Object.entries(limits).sort(([one], [other]) => (one < other ? -1 : 1)));
}

function windowAt(period: Period, now: number): Pick<LeaseFigures, 'period' | 'id' | 'end'> {
  const { start, end } = spanAt(period, now);
  return { period, id: spanId(period, start), end };
}
