import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { isAccount } from '../../auth/identity/identity.ts';
import type { Settings } from '../../config/settings.ts';
import { callObject, type Remote } from '../../durable/call-object.ts';
import { getAccountStub } from '../../durable/stubs.ts';
import { notFound } from '../../kit/http/errors.ts';
import type { AccountBinding } from '../../kit/plugins/bindings.ts';
import type { AccountObject } from './account.ts';
import type { Settled } from './settlement.ts';

/** Says which account is called, and by which binding. */
export interface AccountRequest {
  identity: Pick<Identity, 'account'>;
  accounts: AccountBinding;
  settings: Settings;
  /** The stub that was used last; absent at first, and after a call has failed. */
  stub?: Remote<AccountObject> | undefined;
}

/**
 * Calls an account's object, and again if the call was lost. (Every call here may be repeated.)
 *
 * @param persistence how often to try; see `callObject`
 * @throws ObjectUnreachable 503 while the object cannot be reached
 */
export function callAccount<T>(
  request: AccountRequest,
  call: (account: Remote<AccountObject>) => Promise<T>,
  persistence?: Parameters<typeof callObject>[2],
): Promise<T> {
  const { accounts, settings, identity } = request;
  const callOnce = () => {
    request.stub ??= getAccountStub(accounts, settings, identity.account) as unknown as Remote<AccountObject>;
    return call(request.stub);
  };
  // A stub that has thrown stays broken.
  const onThrown = () => {
    request.stub = undefined;
  };
  return callObject('account', callOnce, persistence, onThrown);
}

/**
 * Sends a settlement to its account. It is tried for seconds. If it fails, the account's alarm will settle at the whole hold.
 *
 * @param settlement as JSON
 * @throws ObjectUnreachable as `callAccount`
 */
export async function sendSettlement(request: AccountRequest, settlement: string): Promise<Settled> {
  return JSON.parse(await callAccount(request, (account) => account.settleJson(settlement), 'persistent')) as Settled;
}

/** @returns the function that calls the object of an owner: an account, or the deployment's own. */
export function objectOf(c: Context<AppEnv>, owner: string) {
  const request = { identity: { account: owner }, accounts: c.env, settings: c.get('settings') };
  return <T>(call: (object: Remote<AccountObject>) => Promise<T>) => callAccount(request, call);
}

/**
 * @returns the function that calls the object of an account by its name in a path.
 * @throws ApiError 404 if it cannot be a name
 */
export function accountOf(c: Context<AppEnv>, name: string) {
  if (!isAccount(name)) throw notFound('There is no such account.');
  return objectOf(c, name);
}
