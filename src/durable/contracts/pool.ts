import type { AccountSpendRow, PoolQuotaReport, SharedUsageReport } from '../../pools/pools-answers.schema.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { PoolLimits } from '../../settings/limits.schema.ts';
import type { Page, PageOf } from './page.ts';

/** A pool's object, as others call it; what each method does stands at the object. */
export interface PoolObject extends Rpc.DurableObjectBranded {
  leaseJson(call: string): string;
  standing(): PoolQuotaReport;
  getLimits(): PoolLimits | null;
  setLimits(limits: PoolLimits | null): void;
  accounts(query: SpendQuery): Page<AccountSpendRow>;
  usage(query: SharedUsageQuery): SharedUsageReport;
  recount(): { accounts: number };
}

/** What an account tells a pool, and asks of it. All figures are absolute, so a call may come twice, late, or never. */
export interface LeaseCall {
  /** The lease's own id. It names the account's figures also when its name was erased. */
  lease: string;
  /** By what the account is asked; absent where the platform does not tell its object. */
  account?: string | undefined;
  /** Whether nobody has used the account in this life of its object: one that was erased has no name until then. */
  nameless?: boolean | undefined;
  /** Grows each time the account's object wakes and leases anew. */
  incarnation: number;
  /** Grows with each call of an incarnation. */
  seq: number;
  windows: LeaseFigures[];
  /** What the account would like to keep unused for what comes next, beyond what it asks for. */
  wish: Nanodollars;
  /** When it was last used; milliseconds since 1970. */
  seenAt?: number | undefined;
  group?: string | undefined;
  /** The account's own limits in USD, by the names of its windows; what is absent has none. */
  limits?: PoolLimits | undefined;
  /** What it has spent, for who asks who spent what; told to the deployment's pool alone. */
  sums?: SumsReport | undefined;
  /** Whether there are sums that this does not tell: then it is asked when it is silent. */
  owes?: boolean | undefined;
  handover?: Handover | undefined;
}

/** The figures of one window. */
export interface LeaseFigures {
  period: LeasePeriod;
  /** 2026-11-20T12, 2026-11-20, 2026-W47, 2026-11 or total. */
  id: string;
  /** When it ends; milliseconds since 1970. */
  end: number;
  spent: Nanodollars;
  /** Held, or leased and kept. */
  kept: Nanodollars;
  /** Asked for on top, and the smallest part of that which is of use. */
  want: Nanodollars;
  least: Nanodollars;
}

export type LeasePeriod = 'hour' | 'day' | 'week' | 'month' | 'total';

/** A pool's answer: that to the newest call it knows, which may not be the one it answers. */
export interface LeaseAnswer {
  incarnation: number;
  seq: number;
  windows: LeaseGrant[];
  /** The most that the account may keep without holding it. */
  slice: Nanodollars;
  /** The last handover that was taken. */
  epoch: number;
  /** The change up to which the pool knows the account's sums; -1 where it wants to be told all of them. */
  told: number;
}

export interface LeaseGrant {
  id: string;
  /** How far the account may go in this window, settled and held together; null where the pool has no limit. */
  granted: Nanodollars | null;
  limit: Nanodollars;
  /** What nobody has leased; negative where more is leased than the limit, since that was lowered. */
  free: Nanodollars;
  /** What nobody has spent: more than is free while others hold. */
  left: Nanodollars;
}

/** What an account has spent: absolute sums of what has changed since it told them last. */
export interface SumsReport {
  /**
   * The change up to which the pool must know them already, or it takes nothing of this; -1 where this takes the place of
   * all that was told before.
   */
  since: number;
  /** The change up to which this tells. */
  seq: number;
  rows: SumRow[];
  /** What the rows tell all of: what else the pool knows of it is gone. */
  whole: Pick<SumRow, 'day' | 'dimension'>[];
}

export interface SumRow {
  /** Days since 1970. */
  day: number;
  /** Empty where no group has paid. */
  group: string;
  dimension: 'model' | 'token' | 'user' | 'tag';
  /** The model, the jti, …; `(other)` for all for which a day had no room; an empty tag for requests with any. */
  value: string;
  /** As `packSums` orders them. */
  sums: number[];
}

/** What an account leaves behind that was erased. Taken once, by its number. */
export interface Handover {
  epoch: number;
  /**
   * What was not reported when it was erased, by day and group alone. Absent where that was handed over before: then what
   * was reported since stays as it is.
   */
  sums?: SumsReport | undefined;
  /** What was settled after it was erased, to be added. */
  late: SumRow[];
}

export interface SpendQuery extends PageOf {
  period: Extract<LeasePeriod, 'day' | 'week' | 'month'>;
}

export interface SharedUsageQuery {
  /** Days, `YYYY-MM-DD`; the second exclusive. */
  from?: string | undefined;
  to?: string | undefined;
  group_by: 'day' | 'model' | 'token' | 'user' | 'tag' | 'account' | 'group';
  /** Only of what this group has paid for. */
  group?: string | undefined;
}
