import type { AccountObject } from '../durable/contracts/account.ts';
import { ApiError } from '../http/errors.ts';
import type { Identity } from '../identity/caller.ts';
import type { Settings } from '../settings/settings.ts';
import { callObject, type Remote } from './call-object.ts';
import { type AccountBinding, accountStub } from './stubs.ts';

export interface AccountRequest {
  identity: Pick<Identity, 'account'>;
  accounts: AccountBinding;
  settings: Settings;
  /** The object as it was reached last; absent at first, and once a call has failed. */
  stub?: Remote<AccountObject> | undefined;
}

/**
 * Calls an account's object, a second time if the call was lost on the way: every call here may be repeated.
 *
 * @throws ApiError 503 while the object cannot be reached
 */
export async function callAccount<T>(
  request: AccountRequest,
  call: (account: Remote<AccountObject>) => Promise<T>,
): Promise<T> {
  return await callObject(
    () => callOnce(request, call),
    (cause) => new AccountUnreachable(cause),
  );
}

async function callOnce<T>(request: AccountRequest, call: (account: Remote<AccountObject>) => Promise<T>): Promise<T> {
  const { accounts, settings, identity } = request;
  request.stub ??= accountStub(accounts, settings, identity.account) as unknown as Remote<AccountObject>;
  try {
    return await call(request.stub);
  } catch (thrown) {
    // A stub that has thrown stays broken.
    request.stub = undefined;
    throw thrown;
  }
}

export class AccountUnreachable extends ApiError {
  constructor(cause: unknown) {
    super('api_error', 'The account could not be reached. Try again in a moment.', {
      status: 503,
      headers: { 'retry-after': '1' },
      logged: `account_unreachable: ${cause instanceof Error ? cause.message : 'unknown'}`,
      cause,
    });
  }
}
