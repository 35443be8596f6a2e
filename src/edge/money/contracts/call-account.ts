/** Calls an account’s object, again if a call is lost: a repeated call books nothing twice. */

import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { isAccountName } from '../../auth/identity/identity.ts';
import type { Settings } from '../../config/settings.ts';
import { callObjectWithRetry, type RemoteMethods, toRemoteMethods } from '../../durable/call-object.ts';
import { getAccountStub } from '../../durable/stubs.ts';
import { createNotFoundError } from '../../kit/http/errors.ts';
import type { AccountAndPoolBindings } from '../../kit/plugins/bindings.ts';
import type { AccountObject } from './account.ts';
import type { SettlementResult } from './settlement.ts';

/** The account to call, and the binding. */
export interface AccountTarget {
  identity: Pick<Identity, 'account'>;
  accounts: AccountAndPoolBindings;
  settings: Settings;
  /** The stub that was used last; absent at first, and after a call has failed. */
  stub?: RemoteMethods<AccountObject> | undefined;
}

/**
 * Calls an account's object, and again if the call was lost. (Every call here may be repeated.)
 *
 * @param persistence how often to try; see `callObjectWithRetry`
 * @throws ObjectUnreachableError 503 while the object cannot be reached
 */
export function callAccount<T>(
  request: AccountTarget,
  call: (account: RemoteMethods<AccountObject>) => Promise<T>,
  persistence?: Parameters<typeof callObjectWithRetry>[2],
): Promise<T> {
  const { accounts, settings, identity } = request;
  const callOnce = () => {
    request.stub ??= toRemoteMethods(getAccountStub(accounts, settings, identity.account));
    return call(request.stub);
  };
  // A stub may stay broken after an exception, so the retry creates a new one:
  // https://developers.cloudflare.com/durable-objects/best-practices/error-handling
  const dropBrokenStub = () => {
    request.stub = undefined;
  };
  return callObjectWithRetry('account', callOnce, persistence, dropBrokenStub);
}

/**
 * Sends a settlement to its account. It is tried for seconds. If it fails, the account's alarm will settle at the whole hold.
 *
 * @param settlement as JSON
 * @throws ObjectUnreachableError as `callAccount`
 */
export async function sendSettlement(request: AccountTarget, settlement: string): Promise<SettlementResult> {
  return JSON.parse(
    await callAccount(request, (account) => account.settleJson(settlement), 'persistent'),
  ) as SettlementResult;
}

/** @returns the function that calls the object of an owner: an account, or the deployment's own. */
export function createOwnerCaller(c: Context<AppEnv>, owner: string) {
  const request = { identity: { account: owner }, accounts: c.env, settings: c.get('settings') };
  return <T>(call: (object: RemoteMethods<AccountObject>) => Promise<T>) => callAccount(request, call);
}

/**
 * @returns the function that calls the object of an account by its name in a path.
 * @throws ApiError 404 if it cannot be a name
 */
export function createAccountCaller(c: Context<AppEnv>, name: string) {
  if (!isAccountName(name)) throw createNotFoundError('This account does not exist. Check its id.');
  return createOwnerCaller(c, name);
}
