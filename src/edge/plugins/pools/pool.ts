import { isVisitor } from '../../auth/identity/identity.ts';
import { UpstreamDurableObject } from '../../claude/upstream-object.ts';
import { parseSettingsOnce } from '../../config/settings.ts';
import type { ListPage } from '../../durable/page.ts';
import type { FailingTask, RetriedTaskName } from '../../durable/retries.ts';
import { DAY_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { AlertOutbox, UNOWNED } from '../../money/alerts/alert-outbox.ts';
import { createUndeliveredAlert } from '../../money/alerts/create-alert.ts';
import { findReachedThresholds } from '../../money/alerts/thresholds.ts';
import { sortByTightness } from '../../money/budget/binding-limits.ts';
import { findLimitConflict } from '../../money/budget/limit-conflict.ts';
import { applyPatch, type PoolLimits, type PoolLimitsPatch } from '../../money/budget/limits.schema.ts';
import { toLimitRules } from '../../money/budget/rules.ts';
import {
  findCalendarWindowAt,
  formatCalendarWindowId,
  getUsdLimitName,
  PERIODS,
  type Period,
} from '../../money/budget/windows.ts';
import type { ChangeOrigin } from '../../money/changes/change-origin.ts';
import { ChangeOutbox, compareFields, createLimitsChange } from '../../money/changes/change-outbox.ts';
import type {
  AccountLastFailure,
  AccountLastFailuresQuery,
  AllAccountsUsageQuery,
} from '../../money/contracts/all-accounts.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { LimitConflict } from '../../money/contracts/limit-conflict.ts';
import type {
  AccountSpendingQuery,
  DeploymentState,
  LeaseRequest,
  LeaseRequestWindow,
  LeaseResponse,
  PoolBackup,
  PoolObject,
  PoolOverview,
  TightestLimitByGroup,
} from './contracts/pool.ts';
import { DeployedVersionList } from './deployed-versions.ts';
import { FailingTaskStore } from './failing-tasks.ts';
import { UpstreamOutageMonitor } from './failing-upstreams.ts';
import {
  createLeaseResponse,
  createOpenLeasesAndTotals,
  createPoolWindowsReport,
  grantLease,
  hasLeaseChanged,
  isNewerLeaseRequest,
  mergeIntoEndedLease,
  type OpenLeasesAndTotals,
  type PoolLimitByPeriod,
  replaceLeaseWindows,
} from './grant.ts';
import { KeyLimitMonitor } from './key-limits.ts';
import { DEPLOYMENT_POOL, parsePoolName, toGroupPoolName } from './pool-name.ts';
import { PoolStore, type StoredPoolLease } from './pool-store.ts';
import type { AccountSpendRow, PoolQuotaReport, SharedUsageReport } from './pools-answers.schema.ts';
import { UpstreamKeyMonitor } from './refused-key.ts';
import {
  applyGroupLimitIfTighter,
  applySharedLimitIfTighter,
  createOverview,
  listAccountSpendingRows,
  listUsedPoolLimits,
  mergeDailyRejectionCounts,
  sortAndPaginateRows,
} from './spenders.ts';
import { RESTORED_LEASE, VISITORS_LEASE } from './tables.ts';
import { ReportedUsageTable } from './used-sums.ts';

/** If an account with a lease is silent for longer than this, the pool calls it. Milliseconds. */
const SILENT_MS = MINUTE_MS;
/** The longest such time. The interval grows while the account has a request running. Milliseconds. */
const MOST_SILENT_MS = 15 * MINUTE_MS;
/**
 * How many accounts one alarm calls, and how many at the same time. (An object may have six open connections:
 * https://developers.cloudflare.com/workers/platform/limits/)
 */
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
export class Pool extends UpstreamDurableObject implements PoolObject {
  readonly #store: PoolStore;
  readonly #used: ReportedUsageTable;
  readonly #name: string;
  readonly #alerts: AlertOutbox;
  readonly #changes: ChangeOutbox;
  readonly #key: UpstreamKeyMonitor;
  readonly #failing: FailingTaskStore;
  readonly #outages: UpstreamOutageMonitor;
  readonly #keyLimits: KeyLimitMonitor;
  readonly #versions: DeployedVersionList;
  readonly #books: OpenLeasesAndTotals<StoredPoolLease>;
  #own: PoolLimits | null;
  #rules: PoolLimitByPeriod | undefined;
  /**
   * When the account of each open lease was last called, and how long it may be silent now. It is not stored, because it only
   * saves calls.
   */
  readonly #asked = new Map<string, { at: number; waitMs: number }>();

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env, ASK_GRAIN_MS);
    this.#name = ctx.id.name ?? DEPLOYMENT_POOL;
    this.#store = new PoolStore(ctx.storage, this.services.abortObjectWithMessage);
    this.#used = new ReportedUsageTable(this.#store);
    this.#alerts = new AlertOutbox(this.#store, this.services);
    this.#changes = new ChangeOutbox(this.#store, this.services);
    this.#key = new UpstreamKeyMonitor(this.#store, this.#alerts, this.services);
    this.#failing = new FailingTaskStore(this.#store);
    this.#keyLimits = new KeyLimitMonitor(this.#store, this.#alerts, this.services);
    this.#versions = new DeployedVersionList(this.#store, env.CF_VERSION_METADATA?.id);
    this.#outages = new UpstreamOutageMonitor(this.#store, this.#alerts, this.#key, this.#keyLimits, this.services);
    const leases = this.#outages.countStoredLeases(this.#store.iterateLeases());
    this.#books = createOpenLeasesAndTotals(leases, this.now());
    this.#own = JSON.parse(this.#store.readMetaValue('limits') ?? 'null') as PoolLimits | null;
  }

  /**
   * Applies an account's report, and grants an amount. Uses JSON texts. A call that is not newer than the last one changes
   * nothing.
   */
  leaseJson(text: string): string {
    const call = JSON.parse(text) as LeaseRequest;
    const current = this.#books.open.get(call.lease) ?? this.#store.findLease(call.lease);
    const lease = current && !isNewerLeaseRequest(call, current) ? current : this.#applyLeaseRequest(call, current);
    const answer: LeaseResponse = {
      ...createLeaseResponse(this.#books, this.#getLimitByPeriod(), lease, call.windows),
      told: lease.told,
    };
    return JSON.stringify(answer);
  }

  /** Answers like `leaseJson` to an account that gets nothing. Nothing is stored, of neither. */
  previewLeaseJson(text: string): string {
    const { lease, windows, incarnation, seq } = JSON.parse(text) as LeaseRequest;
    const had = windows.map(({ id, end, spent, kept }) => [id, { end, spent, granted: spent + kept }]);
    const nothing = { id: lease, incarnation, seq, toldAt: 0, open: false, windows: Object.fromEntries(had) };
    const granted = createLeaseResponse(this.#books, this.#getLimitByPeriod(), nothing, windows);
    const answer: LeaseResponse = { ...granted, told: -1 };
    return JSON.stringify(answer);
  }

  /** Replaces the pool's limits; null means those of the setting, or none. Leased money may be used for another minute. @returns the names of the changed limits */
  setLimits(limits: PoolLimits | null, by?: ChangeOrigin): string[] {
    const before = this.#effectiveLimits;
    this.#store.writeMetaValue('limits', limits === null ? undefined : JSON.stringify(limits));
    this.#own = limits;
    this.#rules = undefined;
    const { kind: type, group } = parsePoolName(this.#name);
    const subject = { type, id: group ?? DEPLOYMENT_POOL };
    this.#changes.recordChanges(by, createLimitsChange(subject, before, this.#effectiveLimits));
    const now = this.now();
    this.#raiseDueSpendAlerts(PERIODS.map((period) => getPoolWindowAt(period, now)));
    return Object.keys(compareFields(before, this.#effectiveLimits));
  }

  /**
   * Changes some of the pool's limits. Null removes one; those that are not in the patch stay.
   *
   * @returns all of them, or the one that is not as expected. Then nothing changes
   */
  patchLimits(
    patch: PoolLimitsPatch,
    by?: ChangeOrigin,
  ): { limits: PoolLimits; changed: string[] } | { conflict: LimitConflict } {
    const conflict = findLimitConflict<PoolLimits>(this.#effectiveLimits, patch);
    if (conflict) return { conflict };
    const limits = applyPatch(this.#effectiveLimits, patch);
    return { limits, changed: this.setLimits(limits, by) };
  }

  /** @returns the limits in force, and the spending that no account reports after a restore */
  createPoolBackup(): PoolBackup {
    return { limits: this.#effectiveLimits, spent: this.#sumSpendingNotRestoredByAccounts() };
  }

  /**
   * Restores a backup. Of each window the larger sum counts, so that it may be repeated, also where the backup was made.
   *
   * @returns false if the pool has other limits already. Then nothing changes
   */
  restorePoolBackup({ limits, spent }: PoolBackup, by?: ChangeOrigin): boolean {
    const isSame = limits === null || stringifyPoolLimits(limits) === stringifyPoolLimits(this.#effectiveLimits);
    if (this.#own !== null && !isSame) return false;
    if (!isSame) this.setLimits(limits, by);
    const now = this.now();
    const before = this.#store.findLease(RESTORED_LEASE);
    const here = this.#sumSpendingNotRestoredByAccounts();
    const missing = Object.entries(spent).map(([id, { end, spent: most }]) => {
      const already = before?.windows[id]?.spent ?? 0;
      const sum = already + Math.max(0, most - (here[id]?.spent ?? 0));
      return [id, { end, spent: sum, granted: sum }] as const;
    });
    const windows = replaceLeaseWindows(this.#books, before, Object.fromEntries(missing), now);
    this.#store.writeLease({ ...NAMELESS, id: RESTORED_LEASE, windows, toldAt: now });
    return true;
  }

  /**
   * @returns the spending of leases that no account reports after a restore: accounts restore the spending that they had
   *   reported
   */
  #sumSpendingNotRestoredByAccounts(): PoolBackup['spent'] {
    const isGroup = this.#name !== DEPLOYMENT_POOL;
    const sums: PoolBackup['spent'] = {};
    for (const { account, isErased, windows } of this.#store.iterateLeases()) {
      if (!isGroup && account !== null && !isErased && !isVisitor(account)) continue;
      for (const [id, { end, spent }] of Object.entries(windows))
        sums[id] = { end, spent: (sums[id]?.spent ?? 0) + spent };
    }
    return sums;
  }

  /** @returns the status of the pool in every window. */
  getPoolQuotaReport(): PoolQuotaReport {
    return {
      limits: this.#effectiveLimits,
      ...createPoolWindowsReport(this.#books, this.#getLimitByPeriod(), this.now()),
    };
  }

  /** @returns a page of the accounts that share the pool, as the query sorts them. */
  listAccountSpending(query: AccountSpendingQuery): ListPage<AccountSpendRow> {
    const { groups = {}, isShared = false } = query;
    const rows = this.#listSpendingRows(isShared).map((row) => applyGroupLimitIfTighter(row, groups));
    return sortAndPaginateRows(rows, query);
  }

  /** @returns the failures of this day in UTC, and how many accounts cannot send requests because of their limits */
  getPoolOverview(groups: TightestLimitByGroup, isShared: boolean): PoolOverview {
    const now = this.now();
    const { total } = this.#used.computeSharedUsage({
      from: formatCalendarWindowId('day', findCalendarWindowAt('day', now).start),
      group_by: 'day',
    });
    return {
      ...createOverview(
        this.#listSpendingRows(isShared).map((row) => applyGroupLimitIfTighter(row, groups)),
        total,
        this.#store.findLastFailureTime(),
      ),
      rejections: this.#store.countRejectionsOfDay(Math.floor(now / DAY_MS)),
      incidents: [...this.#key.listIncidents(), ...this.#outages.listIncidents()],
      failing_tasks: this.#failing.listFailingTasks(now),
      key_limits: this.#keyLimits.listLowLimits().map((one) => ({
        ...one,
        rejected_requests: this.#outages.countRateLimitedRequests(one.upstream, one.model_class),
      })),
      versions: this.#versions.listVersions(),
    };
  }

  /**
   * Records a task that has failed in an object for some time. If the response is lost, the report is repeated and counts
   * twice.
   */
  recordFailingTask(failing: FailingTask): void {
    const now = this.now();
    const since = this.#failing.recordFailingTask(failing, now);
    if (since === undefined) return;
    const error = 'a deliver_url of batches or runs; the log lines of the task `delivery` name the object';
    this.#alerts.storeAndSendAlerts([createUndeliveredAlert(undefined, { since, error }, now)], UNOWNED);
  }

  /** @returns how often each task has failed, as far as objects have reported it */
  listTaskFailures(): { task: RetriedTaskName; failures: number }[] {
    return this.#failing.listTaskFailures();
  }

  /** @returns the state of the upstreams and their keys, and how many requests limits have refused today */
  getDeploymentState(): DeploymentState {
    return {
      key_limits: this.#keyLimits.listKeyLimits(),
      rejecting_upstreams: this.#key.listRejectingUpstreams(),
      outages: this.#outages.listOutages(),
      rejections: this.#store.countRejectionsOfDay(Math.floor(this.now() / DAY_MS)),
    };
  }

  /** @returns how many requests the limits of each of these groups have rejected today, by the names of the groups with any */
  countRejectionsByGroup(groups: readonly string[]): Record<string, number> {
    return this.#store.countRejectionsByGroup(Math.floor(this.now() / DAY_MS), groups);
  }

  /** @returns the spending of these accounts, without accounts that the pool does not know */
  getAccountSpending(names: readonly string[], isShared: boolean): AccountSpendRow[] {
    return this.#listSpendingRows(isShared, names);
  }

  /**
   * @param isShared whether the limits of all accounts hold: they stay stored without their setting
   * @returns a row of each account. Where the budget of all accounts is spent, that is what binds each of them
   */
  #listSpendingRows(isShared: boolean, names?: readonly string[]): AccountSpendRow[] {
    const rows = listAccountSpendingRows(this.#store, this.now(), names);
    if (!isShared) return rows;
    const [tightest] = sortByTightness(listUsedPoolLimits('deployment', null, this.getPoolQuotaReport()));
    return tightest?.refuses ? rows.map((row) => applySharedLimitIfTighter(row, tightest)) : rows;
  }

  /** @returns what accounts have reported that they have spent. */
  getSharedUsage(query: AllAccountsUsageQuery): SharedUsageReport {
    return this.#used.computeSharedUsage(query);
  }

  /** @returns the accounts of which a request was refused, or failed, since a time; the newest first. */
  findAccountsByLastFailure(query: AccountLastFailuresQuery): AccountLastFailure[] {
    return this.#store.findAccountsByLastFailure(query);
  }

  /**
   * Adds the spending of a visitor to the row of all ended visitors, and deletes the lease. A missing lease was merged before.
   */
  mergeIntoEndedVisitors(id: string): void {
    const lease = this.#books.open.get(id) ?? this.#store.findLease(id);
    if (!lease || lease.joinedAt !== null) return;
    const now = this.now();
    const ended = this.#store.findLease(VISITORS_LEASE);
    const windows = mergeIntoEndedLease(this.#books, lease, ended, now);
    const refused = mergeDailyRejectionCounts(lease.refused, ended?.refused);
    const unseen = { seenAt: null, refusedAt: null, failedAt: null, refused: null };
    const nameless = { ...unseen, account: null, isErased: true, group: null, limits: null, open: false };
    this.services.alarm.scheduleAt(now + JOINED_MS);
    this.#store.runInTransaction(() => {
      this.#used.mergeIntoEndedVisitors(id);
      // Merge everything except the outcome counts, which stay in the visitor's own row so that they are not counted twice.
      const joined = { id: VISITORS_LEASE, incarnation: 0, seq: 0, windows, toldAt: now, refused, outcomes: null };
      this.#store.writeLease({ ...lease, ...nameless, ...joined });
      // Keep a row with the lease's number for a while, so that a delayed call cannot create the lease again.
      this.#store.writeLease({ ...lease, ...nameless, windows: {}, joinedAt: now });
    });
    this.#books.open.delete(id);
  }

  /** Passes the state of a key to `UpstreamKeyMonitor`. */
  recordUpstreamKeyState(news: string | null, upstream?: string): void {
    this.#key.recordUpstreamKeyState(news, upstream);
  }

  /** Calls accounts that have a lease and have been silent. */
  override async alarm(): Promise<void> {
    this.services.alarm.markFired();
    const now = this.now();
    await this.#alerts.sendUnconfirmedAlerts();
    await this.#changes.sendUnconfirmedChanges();
    await this.#key.retryRejectedKeys();
    const silent = this.#listOpenLeases().filter((lease) => this.#computeAskTime(lease) <= now);
    const some = silent.slice(0, ASKED_AT_ONCE);
    for (let at = 0; at < some.length; at += ASKED_TOGETHER) {
      await Promise.all(some.slice(at, at + ASKED_TOGETHER).map((lease) => this.#askAccountToReport(lease)));
    }
    const joined = this.#store.deleteMergedLeases(now - JOINED_MS);
    if (joined !== undefined) this.services.alarm.scheduleAt(joined + JOINED_MS);
    if (some.length < silent.length) this.services.alarm.scheduleAt(this.now() + ASK_ON_MS, 1);
    for (const lease of this.#listOpenLeases())
      this.services.alarm.scheduleAt(Math.max(this.now() + ASK_ON_MS, this.#computeAskTime(lease)));
  }

  #applyLeaseRequest(call: LeaseRequest, before: StoredPoolLease | undefined): StoredPoolLease {
    const granted = grantLease(this.#books, this.#getLimitByPeriod(), call, before, this.now());
    const isErased = call.nameless === true;
    const isLast = call.isLast === true;
    const newest = before?.told ?? -1;
    // Ignore sums that do not include all changes since the last stored report. The response contains the number from which the
    // account has to report.
    const sums = call.sums && (isLast || call.sums.since <= newest) ? call.sums : undefined;
    const told = sums?.seq ?? newest;
    const isUntold = this.#name === DEPLOYMENT_POOL && (told < 0 || call.sums !== sums);
    const open = granted.open || call.owes === true || isUntold;
    const lease: StoredPoolLease = {
      ...granted,
      open,
      // Keep the account's name while the lease is open, because the pool may have to ask the account for a report.
      account: isErased && !open ? null : (call.account ?? before?.account ?? null),
      isErased,
      group: call.group ?? null,
      seenAt: call.seenAt ?? (isErased ? null : (before?.seenAt ?? null)),
      limits: isErased ? null : (call.limits ?? null),
      refusedAt: call.refusedAt ?? null,
      failedAt: call.failedAt ?? null,
      refused: call.refused ?? null,
      outcomes: this.#outages.replaceReport(
        before?.outcomes ?? null,
        call.outcomes,
        before?.incarnation === call.incarnation,
      ),
      told,
      joinedAt: null,
    };
    if (open) this.#books.open.set(lease.id, lease);
    else this.#books.open.delete(lease.id);
    this.#store.runInTransaction(() => {
      this.#store.writeLease(lease);
      if (sums) this.#used.storeReport(lease.id, sums);
      if (isLast) this.#used.deleteAllButModelSums(lease.id);
    });
    // A changed lease means that the account is active, so use the short interval again if it falls silent.
    if (before && hasLeaseChanged(before, lease)) this.#asked.delete(lease.id);
    if (lease.open) this.services.alarm.scheduleAt(this.#computeAskTime(lease));
    this.#raiseDueSpendAlerts(call.windows);
    this.#keyLimits.recordKeyLimits(call.keyLimits);
    this.#outages.raiseDueAlerts();
    if (this.#name === DEPLOYMENT_POOL) this.#versions.recordCurrentVersion(this.now());
    return lease;
  }

  /** Raises the alerts that are due by the settled sums of these windows. It costs little if the limits have no `alerts`. */
  #raiseDueSpendAlerts(windows: readonly Pick<LeaseRequestWindow, 'period' | 'id' | 'end'>[]): void {
    const { alerts: shares } = this.#effectiveLimits;
    if (shares === undefined || shares.length === 0) return;
    const { kind: by, group } = parsePoolName(this.#name);
    const rules = this.#getLimitByPeriod();
    const budgetWindows = windows.flatMap(({ period, id, end }) => {
      const [most, count] = [rules[period], this.#books.counts.get(id)];
      if (most === undefined || !count) return [];
      return [{ by, name: getUsdLimitName(period), limit: most, settled: count.spent, held: 0, end }];
    });
    const node = { type: by, id: group ?? DEPLOYMENT_POOL };
    const due = findReachedThresholds(node, budgetWindows, shares, this.now());
    if (due.length > 0) this.#alerts.storeAndSendAlerts(due, UNOWNED);
  }

  async #askAccountToReport(lease: StoredPoolLease): Promise<void> {
    const { id, account } = lease;
    if (account === null) return;
    const request = { identity: { account }, accounts: this.env, settings: parseSettingsOnce(this.env) };
    // The lease stays counted until the account has responded.
    const failed = await callAccount(request, (object) => object.reportSpendingToPool(this.#name)).then(
      () => undefined,
      (thrown: unknown) => ({ thrown }),
    );
    // Double the interval between two calls while the account has a request running or cannot be reached.
    const waitMs = Math.min(MOST_SILENT_MS, Math.max(SILENT_MS, 2 * (this.#asked.get(id)?.waitMs ?? SILENT_MS)));
    if (failed)
      this.services.retries.recordFailure('account_report', failed.thrown, this.now() + waitMs, { subject: id });
    else this.services.retries.recordSuccess('account_report', id);
    if (this.#books.open.has(id)) this.#asked.set(id, { at: this.now(), waitMs });
    else this.#asked.delete(id);
  }

  #computeAskTime({ id, toldAt }: StoredPoolLease): number {
    const { at, waitMs } = this.#asked.get(id) ?? { at: 0, waitMs: SILENT_MS };
    return Math.max(toldAt, at) + waitMs;
  }

  #listOpenLeases(): StoredPoolLease[] {
    return [...this.#books.open.values()].filter(({ account }) => account !== null);
  }

  get #effectiveLimits(): PoolLimits {
    if (this.#own) return this.#own;
    const { DEPLOYMENT_LIMITS, VISITORS } = parseSettingsOnce(this.env);
    if (this.#name === DEPLOYMENT_POOL) return DEPLOYMENT_LIMITS ?? {};
    return VISITORS && this.#name === toGroupPoolName(VISITORS.group) ? VISITORS.pool : {};
  }

  #getLimitByPeriod(): PoolLimitByPeriod {
    this.#rules ??= toLimitRules(this.#effectiveLimits).spend;
    return this.#rules;
  }
}

/** A lease of no account. */
const NAMELESS: Omit<StoredPoolLease, 'id' | 'windows' | 'toldAt'> = {
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
  outcomes: null,
  limits: null,
  told: -1,
  joinedAt: null,
};

function stringifyPoolLimits(limits: PoolLimits): string {
  return JSON.stringify(Object.entries(limits).sort(([one], [other]) => (one < other ? -1 : 1)));
}

function getPoolWindowAt(period: Period, now: number): Pick<LeaseRequestWindow, 'period' | 'id' | 'end'> {
  const { start, end } = findCalendarWindowAt(period, now);
  return { period, id: formatCalendarWindowId(period, start), end };
}
