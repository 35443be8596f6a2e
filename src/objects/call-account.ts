import { pause } from '../async/pause.ts';
import type { Identity } from '../auth/identity.ts';
import type { AccountObject } from '../durable/contracts/account.ts';
import { ApiError } from '../errors.ts';
import type { Settings } from '../settings.ts';
import { type AccountBinding, accountStub } from './namespace.ts';

/** Before a call that was lost is made again. */
const LONGEST_PAUSE_MS = 100;

/** An object's methods as they are called from outside. (The platform's own type splits promises of unions.) */
export type Remote<T> = {
  [Method in keyof T]: T[Method] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

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
  try {
    return await callOnce(request, call);
  } catch (thrown) {
    if (!isRetryable(thrown)) throw new AccountUnreachable(thrown);
  }
  await pause(LONGEST_PAUSE_MS * Math.random());
  try {
    return await callOnce(request, call);
  } catch (thrown) {
    throw new AccountUnreachable(thrown);
  }
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

function isRetryable(thrown: unknown): boolean {
  return (thrown as { retryable?: unknown }).retryable === true && !isOverloaded(thrown);
}

/** An object that has too much to do was not reached, and is left alone. */
export function isOverloaded(thrown: unknown): boolean {
  return (thrown as { overloaded?: unknown } | undefined)?.overloaded === true;
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
