/** What is known of all accounts together. */

import type { Context, MiddlewareHandler } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import type { KeyChange } from '../../claude/upstreams/key-health.ts';
import { missingPluginError } from '../../kit/http/errors.ts';
import { contribution } from '../../kit/plugins/plugins.ts';
import type { UsageReport, UsedLimit } from '../account/usage-answers.schema.ts';
import type { ListedOutcome, UsageQuery } from './account.ts';
import type { AccountRequest } from './call-account.ts';

/** When an account's last request of an outcome was; milliseconds since 1970. */
export interface LastRequest {
  account: string;
  at: number;
}

/** Which accounts are asked, those with the newest last request of an outcome first. */
export interface LastRequestsQuery {
  outcome: ListedOutcome;
  /** Only those whose last was at this time or later; milliseconds since 1970. */
  from: number;
  /** Only those that follow this one. */
  after?: LastRequest | undefined;
  /** The most accounts. */
  limit: number;
}

/** By whole days. */
export interface SharedUsageQuery extends UsageQuery {
  /** Only for what this group has paid. */
  group?: string | undefined;
  /** How many are listed at most. The total is that of all. */
  limit?: number | undefined;
}

/** Who is told by all accounts, and tells the operator: the plugin of the budgets that they share. */
export interface AllAccounts {
  usage(c: Context<AppEnv>, query: SharedUsageQuery): Promise<UsageReport>;
  /** @returns the accounts of which a request was refused, or failed, since a time; the newest first */
  findLastRequests(c: Context<AppEnv>, query: LastRequestsQuery): Promise<LastRequest[]>;
  /** @returns the limits of the budgets that an account shares: its group's, and the deployment's */
  sharedLimits(c: Context<AppEnv>, group: string | null): Promise<UsedLimit[]>;
  /** @returns whether an account has told of itself */
  isKnown(c: Context<AppEnv>, account: string): Promise<boolean>;
  /** Tells the operator that an upstream refuses its key, in its words, or with null that it answers again. */
  reportKeyChange(
    place: Pick<AccountRequest, 'accounts' | 'settings'>,
    news: KeyChange,
    upstream: string,
  ): Promise<void>;
  /** Called before the body of a request that spends money is read: it refuses the request, or calls `next`. */
  beforeSpending: MiddlewareHandler<AppEnv>;
}

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Lists and sums all accounts, and alerts the operator. Only one plugin may have it. */
    readonly allAccounts?: AllAccounts;
  }
}

/** @returns who is told by all accounts. @throws ApiError 400 if nobody is */
export function allAccounts(): AllAccounts {
  const all = contribution('allAccounts');
  if (!all) throw missingPluginError('pools', 'account: all accounts are summed by the budget that they share');
  return all;
}
