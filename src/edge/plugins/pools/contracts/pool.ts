import type { Nanodollars } from '../../../claude/pricing/cost.ts';
import type { KeyRateLimits } from '../../../claude/upstreams/rate-limits.ts';
import type { ListPage, PageSelection } from '../../../durable/page.ts';
import type { FailingTask, RetriedTaskName } from '../../../durable/retries.ts';
import type { OverviewResponse } from '../../../health/overview-answers.schema.ts';
import type { SpendLimitUsage } from '../../../money/account/usage-answers.schema.ts';
import type { BatchHoldsTotal } from '../../../money/budget/budget-windows.ts';
import type { BlockCause, PoolLimits, PoolLimitsPatch } from '../../../money/budget/limits.schema.ts';
import type { ChangeOrigin } from '../../../money/changes/change-origin.ts';
import type { DailyRejectionCount } from '../../../money/contracts/account.ts';
import type { InsufficientLimit, SpendLimitedToken } from '../../../money/contracts/admission.ts';
import type {
  AccountLastFailure,
  AccountLastFailuresQuery,
  AllAccountsUsageQuery,
} from '../../../money/contracts/all-accounts.ts';
import type { LimitConflict } from '../../../money/contracts/limit-conflict.ts';
import type { AccountSpendRow, PoolQuotaReport, SharedUsageReport } from '../pools-answers.schema.ts';
import type { UsageSumsReport } from './sums.ts';

/** The methods of a pool's object. They are documented at the object. */
export interface PoolObject extends Rpc.DurableObjectBranded {
  leaseJson(call: string): string;
  previewLeaseJson(call: string): string;
  findAccountsByLastFailure(query: AccountLastFailuresQuery): AccountLastFailure[];
  getPoolQuotaReport(): PoolQuotaReport;
  setLimits(limits: PoolLimits | null, by?: ChangeOrigin): string[];
  patchLimits(
    patch: PoolLimitsPatch,
    by?: ChangeOrigin,
  ): { limits: PoolLimits; changed: string[] } | { conflict: LimitConflict };
  createPoolBackup(): PoolBackup;
  restorePoolBackup(backup: PoolBackup, by?: ChangeOrigin): boolean;
  listAccountSpending(query: AccountSpendingQuery): ListPage<AccountSpendRow>;
  getPoolOverview(groups: TightestLimitByGroup, isShared: boolean): PoolOverview;
  getAccountSpending(names: readonly string[], isShared: boolean): AccountSpendRow[];
  getSharedUsage(query: AllAccountsUsageQuery): SharedUsageReport;
  mergeIntoEndedVisitors(id: string): void;
  recordUpstreamKeyState(news: string | null, upstream?: string): void;
  recordFailingTask(failing: FailingTask): void;
  listTaskFailures(): { task: RetriedTaskName; failures: number }[];
  getDeploymentState(): DeploymentState;
  countRejectionsByGroup(groups: readonly string[]): Record<string, number>;
}

/** The part of a backup that belongs to a pool. */
export interface PoolBackup {
  /** The limits in force; null if accounts do not share this budget. */
  limits: PoolLimits | null;
  /** By the id of its window: spending that no restored account reports. */
  spent: Record<string, { end: number; spent: Nanodollars }>;
}

/** A call of an account to a pool. All figures are absolute, so a call may come twice, late, or never. */
export interface LeaseRequest {
  /** The lease's own id. It identifies the account's figures even after the account's name was erased. */
  lease: string;
  /** The account's name, by which the pool can call it; absent if the platform does not know it, and in a last call. */
  account?: string | undefined;
  /** Whether the account was erased and not used since. Until then it has no name. */
  nameless?: boolean | undefined;
  /** Grows each time the account's object wakes and leases again. */
  incarnation: number;
  /** Grows with each call within an incarnation. */
  seq: number;
  windows: LeaseRequestWindow[];
  /** The amount that the account would like to keep unused for later requests, in addition to the wanted amount. */
  wish: Nanodollars;
  /** When it was last used; milliseconds since 1970. */
  seenAt?: number | undefined;
  group?: string | undefined;
  limits?: ReportedAccountLimits | undefined;
  /** Sums of its spending, for reports. Only the deployment's pool gets them. */
  sums?: UsageSumsReport | undefined;
  /** When a request of it was last refused, and when its newest that failed began. Only the deployment's pool gets them. */
  refusedAt?: number | undefined;
  failedAt?: number | undefined;
  /** How many of a day were refused, of the last day on which any was. Only the deployment's pool gets it. */
  refused?: DailyRejectionCount | undefined;
  /** What upstreams have answered in the last minutes, since the account's object woke. Only the deployment's pool gets it. */
  outcomes?: OutcomeCount[] | undefined;
  /** The remaining rate limits of the deployment's keys. Only the deployment's pool gets them. */
  keyLimits?: readonly KeyRateLimits[] | undefined;
  batched?: BatchHoldsTotal | undefined;
  /** Whether the account is in use, or has more sums than this call reports. Then the pool calls it if it is silent. */
  owes?: boolean | undefined;
  /** Whether the lease ends with this call, because its account was erased. Then its sums are taken whatever is known. */
  isLast?: boolean | undefined;
}

/** How many requests to a model of an upstream ended in a minute, and how many of them the upstream failed. */
export interface OutcomeCount {
  /** Minutes since 1970. */
  minute: number;
  /** The upstream's name; empty for the only upstream. */
  upstream: string;
  /** The id of a model in the model table; empty for all other models. */
  model: string;
  requests: number;
  failed: number;
  /** How many of the failed requests another upstream has answered. */
  rerouted: number;
  /** The error type of the last failure; empty if none has failed. */
  error: string;
}

/** How much is left of a rate limit of a key. */
export type KeyLimitReport = Omit<NonNullable<OverviewResponse['key_limits']>[number], 'rejected_requests'>;

/**
 * The limits in USD in force for an account, by the names of its windows, with what credit adds. Absent windows have no limit.
 */
export interface ReportedAccountLimits extends Omit<PoolLimits, 'alerts'> {
  /** Whether all of `usd_total` is credit. */
  prepaid?: boolean | undefined;
  /** What rejects all of its requests. */
  blockedBy?: BlockCause | undefined;
  /** The limit of which too little is left for the account's last request. */
  insufficient?: InsufficientLimit | undefined;
  /** The token that has used up most of its own limit. */
  token?: SpendLimitedToken | undefined;
}

export interface LeaseRequestWindow {
  period: LeasePeriod;
  /** 2026-11-20T12, 2026-11-20, 2026-W47, 2026-11 or total. */
  id: string;
  /** When it ends; milliseconds since 1970. */
  end: number;
  spent: Nanodollars;
  /** The amount that is held, or leased and kept. */
  kept: Nanodollars;
  /** The amount that is requested in addition, and the smallest useful part of it. */
  want: Nanodollars;
  least: Nanodollars;
}

type LeasePeriod = 'hour' | 'day' | 'week' | 'month' | 'total';

/** A pool's answer to the newest call that it knows. This may not be the call that it answers. */
export interface LeaseResponse {
  incarnation: number;
  seq: number;
  windows: LeaseResponseWindow[];
  /** The most that the account may keep without a hold. */
  slice: Nanodollars;
  /** The holds of the batches of all accounts; reported if the pool's budget is short. */
  batched?: BatchHoldsTotal | undefined;
  /** The change up to which the pool knows the account's sums; -1 if it wants all of them again. */
  told: number;
}

export interface LeaseResponseWindow {
  id: string;
  /** The most that the account may settle and hold together in this window; null if the pool has no limit. */
  granted: Nanodollars | null;
  limit: Nanodollars;
  /** The amount that is not leased; negative if more is leased than the limit, because the limit was lowered. */
  free: Nanodollars;
  /** The amount that is not spent. This is more than `free` while other accounts hold or lease something. */
  left: Nanodollars;
}

/** What accounts have reported of the whole deployment, for metrics. */
export interface DeploymentState {
  key_limits: KeyLimitReport[];
  /** The upstreams that refuse the key; an empty name is that of the only one. */
  rejecting_upstreams: string[];
  /** The upstreams and models that are failing; an empty model means the whole upstream. */
  outages: OutageState[];
  /** Requests that limits have refused today, by the limit's owner and the reason. */
  rejections: NonNullable<OverviewResponse['rejections']>;
}

/** An outage of an upstream, or of one of its models. */
export interface OutageState {
  upstream: string;
  /** Empty for the whole upstream. */
  model: string;
  /** Whether other upstreams answer all requests that fail. */
  isRerouted: boolean;
}

/** An alert about an upstream that is not over. */
export type UpstreamIncident = NonNullable<OverviewResponse['incidents']>[number];

/** A version of the Worker, and since when it was deployed. */
export type DeployedVersion = NonNullable<OverviewResponse['versions']>[number];

/** Failures that accounts have reported, and changes of the deployed version. */
export interface PoolOverview {
  requests: NonNullable<OverviewResponse['requests']>;
  rejections: NonNullable<OverviewResponse['rejections']>;
  accounts: NonNullable<OverviewResponse['accounts']>;
  incidents: UpstreamIncident[];
  failing_tasks: NonNullable<OverviewResponse['failing_tasks']>;
  key_limits: NonNullable<OverviewResponse['key_limits']>;
  versions: DeployedVersion[];
}

export interface AccountSpendingQuery extends PageSelection {
  period: Extract<LeasePeriod, 'day' | 'week' | 'month'>;
  /** `used` is the share of its tightest limit that an account has spent. */
  sort: 'spent' | 'limit' | 'used' | 'refused' | 'last_seen' | 'group';
  groups?: TightestLimitByGroup | undefined;
  /** Whether the limits of all accounts hold. Default: they do not. */
  isShared?: boolean;
}

/** The tightest limit in USD of groups, by their names. */
export type TightestLimitByGroup = Readonly<Record<string, SpendLimitUsage>>;
