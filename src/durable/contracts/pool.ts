import type { AccountSpendRow, PoolStandingReport, SharedUsageReport } from '../../pools/pools-answers.schema.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { PoolLimits } from '../../settings/limits.schema.ts';
import type { Page, PageOf } from './page.ts';

/** A pool's object, as others call it; what each method does stands at the object. */
export interface PoolObject extends Rpc.DurableObjectBranded {
  leaseJson(call: string): string;
  standing(): PoolStandingReport;
  getLimits(): PoolLimits | null;
  setLimits(limits: PoolLimits | null): void;
  accounts(query: SpendQuery): Page<AccountSpendRow>;
  usage(query: SharedUsageQuery): SharedUsageReport;
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
  sums?: SumsReport | undefined;
  /** Whether there are sums that it has not reported: then it is asked when it is silent. */
  owes?: boolean | undefined;
  handover?: Handover | undefined;
}

/** The figures of one window. */
export interface LeaseFigures {
  period: LeasePeriod;
  /** 2026-11-20, 2026-W47 or 2026-11. */
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

export type LeasePeriod = 'day' | 'week' | 'month';

/** A pool's answer: that to the newest call it knows, which may not be the one it answers. */
export interface LeaseAnswer {
  incarnation: number;
  seq: number;
  windows: LeaseGrant[];
  /** The most that the account may keep without holding it. */
  slice: Nanodollars;
  /** The last handover that was taken. */
  epoch: number;
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

/** What was spent, a row for each group and model; each day as a whole takes the place of what was told of it before. */
export interface SumsReport {
  /** Days since 1970. */
  days: number[];
  rows: SumRow[];
}

export interface SumRow {
  day: number;
  /** Empty where there is none. */
  group: string;
  model: string;
  /** Requests, and then as the ledger's sums are ordered. */
  sums: number[];
}

/** What an account leaves behind that was erased. Taken once, by its number. */
export interface Handover {
  epoch: number;
  /**
   * What was not reported when it was erased. Absent where that was handed over before: then what was reported since stays
   * as it is.
   */
  sums?: SumsReport | undefined;
  /** What was settled after it was erased, to be added. */
  late: SumRow[];
}

export interface SpendQuery extends PageOf {
  period: LeasePeriod;
}

export interface SharedUsageQuery {
  /** Days, `YYYY-MM-DD`; the second exclusive. */
  from?: string | undefined;
  to?: string | undefined;
  group_by: 'account' | 'group';
}
