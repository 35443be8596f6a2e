import type { Context } from 'hono';
import type { RoomShare } from '../../kit/http/body-room.ts';
import { notFound } from '../../kit/http/errors.ts';
import type { LogEntry } from '../../kit/http/log.ts';
import type { Bindings } from '../../kit/objects/bindings.ts';
import type { Remote } from '../../kit/objects/call-object.ts';
import type { AccountBinding } from '../../kit/objects/stubs.ts';
import type { AccountObject } from '../../money/contracts/account.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { Identity } from '../identity/caller.ts';
import { isAccount } from '../identity/identity.ts';
import type { Settings } from '../settings/settings.ts';

/** The context of a request for middleware and routes: `c.env` and `c.get(…)`. */
export interface AppEnv {
  Bindings: Bindings;
  Variables: {
    requestId: string;
    settings: Settings;
    entry: LogEntry;
    /** The memory that its body takes. */
    share: RoomShare;
    /** Absent on a path that a Worker has opened to requests without a credential. */
    identity: Identity;
    /** Whether the path needs no credential, because a Worker has said so. */
    opened?: boolean;
    /** Whether the path needs a credential, whatever route is there. */
    closed?: boolean;
  };
}

/** What the work on a request needs: who asks, how to reach the account, and what keeps the work alive. */
export interface RequestContext {
  requestId: string;
  identity: Identity;
  accounts: AccountBinding;
  /** The KV namespace with prefixes, classifiers and the list of accounts. */
  store: KVNamespace;
  settings: Settings;
  /** Keeps work alive that nobody waits for. If the work fails, the log says so. */
  waitUntil(work: Promise<unknown>): void;
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

/** @returns the context for the work on this request. */
export function contextOf(c: Pick<Context<AppEnv>, 'get' | 'env'>): RequestContext {
  const entry = c.get('entry');
  return {
    requestId: c.get('requestId'),
    identity: c.get('identity'),
    accounts: c.env,
    store: c.env.STORE,
    settings: c.get('settings'),
    waitUntil: (work) => entry.during(work),
  };
}
