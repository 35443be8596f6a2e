/** Queries about all accounts together. */

import type { Context, MiddlewareHandler } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import type { KeyHealthChange } from '../../claude/upstreams/key-health.ts';
import { createMissingPluginError } from '../../kit/http/errors.ts';
import { getSinglePluginMember } from '../../kit/plugins/plugins.ts';
import type { SpendLimitUsageBeforeRejection, UsageReport } from '../account/usage-answers.schema.ts';
import type { RequestFailureKind, UsageQuery } from './account.ts';
import type { AccountTarget } from './call-account.ts';

/** When an account's last request of an outcome was; milliseconds since 1970. */
export interface AccountLastFailure {
  account: string;
  at: number;
}

/** Selects accounts, those with the newest last request of an outcome first. */
export interface AccountLastFailuresQuery {
  outcome: RequestFailureKind;
  /** Only those whose last was at this time or later; milliseconds since 1970. */
  from: number;
  /** Only those that follow this one. */
  after?: AccountLastFailure | undefined;
  /** The most accounts. */
  limit: number;
}

/** By whole days. */
export interface AllAccountsUsageQuery extends UsageQuery {
  /** Only for requests for which this group paid. */
  group?: string | undefined;
  /** How many are listed at most. The total is that of all. */
  limit?: number | undefined;
}

/** The plugin to which all accounts report, and which reports to the operator: that of the shared budgets. */
export interface AllAccountsPlugin {
  getSharedUsage(c: Context<AppEnv>, query: AllAccountsUsageQuery): Promise<UsageReport>;
  /** @returns the accounts of which a request was rejected, or failed, since a time; the newest first */
  findAccountsByLastFailure(c: Context<AppEnv>, query: AccountLastFailuresQuery): Promise<AccountLastFailure[]>;
  /** @returns the limits of the budgets that an account shares: its group's, and the deployment's */
  readSharedLimits(c: Context<AppEnv>, group: string | null): Promise<SpendLimitUsageBeforeRejection[]>;
  /** @returns whether an account has reported itself */
  isAccountKnown(c: Context<AppEnv>, account: string): Promise<boolean>;
  /** Alerts the operator that an upstream rejects its key, with the upstream's message; with null, that it responds again. */
  alertOnKeyChange(
    place: Pick<AccountTarget, 'accounts' | 'settings'>,
    news: KeyHealthChange,
    upstream: string,
  ): Promise<void>;
  /** Called before the body of a request that spends money is read: it rejects the request, or calls `next`. */
  beforeSpending: MiddlewareHandler<AppEnv>;
}

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Lists and sums all accounts, and alerts the operator. Only one plugin may have it. */
    readonly allAccounts?: AllAccountsPlugin;
  }
}

/** @returns the plugin to which all accounts report. @throws ApiError 400 if there is none */
export function requireAllAccountsPlugin(): AllAccountsPlugin {
  const all = getSinglePluginMember('allAccounts');
  if (!all) throw createMissingPluginError('pools', 'account: the usage of all accounts');
  return all;
}
