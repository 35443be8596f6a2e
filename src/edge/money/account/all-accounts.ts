/** What is known of all accounts together. */

import type { Context } from 'hono';
import type { AppEnv } from '../../gate/auth/context.ts';
import { needsRoom } from '../../kit/http/errors.ts';
import type { Page, PageOf } from '../../kit/objects/page.ts';
import { pluggedOne, singleSeam } from '../../kit/rooms/rooms.ts';
import type { UsageQuery } from '../contracts/account.ts';
import type { RefusedRequest } from '../contracts/admission.ts';
import type { UsageReport } from './usage-answers.schema.ts';

/** Which of the last refusals of all accounts. */
export interface RefusalsQuery extends PageOf {
  /** From the first time to before the second; milliseconds since 1970. */
  from: number;
  to: number;
  token?: string | undefined;
}

export interface RefusalOfAccount extends RefusedRequest {
  account: string;
}

/** By whole days. */
export interface SharedUsageQuery extends UsageQuery {
  /** Only for what this group has paid. */
  group?: string | undefined;
  /** How many are listed at most. The total is that of all. */
  limit?: number | undefined;
}

export interface AllAccounts {
  usage(c: Context<AppEnv>, query: SharedUsageQuery): Promise<UsageReport>;
  refusals(c: Context<AppEnv>, query: RefusalsQuery): Promise<Page<RefusalOfAccount>>;
  /** @returns whether an account has told of itself */
  knows(c: Context<AppEnv>, account: string): Promise<boolean>;
}

export const ALL_ACCOUNTS = singleSeam<AllAccounts>()('allAccounts');

/** @returns who is told by all accounts. @throws ApiError 400 if nobody is */
export function allAccounts(): AllAccounts {
  const all = pluggedOne(ALL_ACCOUNTS);
  if (!all) throw needsRoom('pools', 'account: all accounts are summed by the budget that they share');
  return all;
}
