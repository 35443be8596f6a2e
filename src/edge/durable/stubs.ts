import type { Settings } from '../config/settings.ts';
import { getOrMake } from '../kit/cache/get-or-make.ts';
import { LruCache } from '../kit/cache/lru.ts';
import type { AccountBinding, Bindings } from '../kit/plugins/bindings.ts';

declare module '../kit/plugins/bindings.ts' {
  interface Bindings {
    POOL: DurableObjectNamespace<Rpc.DurableObjectBranded>;
  }
}

export type InboxBinding = Pick<Bindings, 'INBOX'>;
export type PoolBinding = Pick<Bindings, 'POOL'>;

/** `JURISDICTION` is part of an object's id. With another one, the same name means another, empty object. */
export interface Jurisdiction {
  JURISDICTION?: string | undefined;
}

export function accountStub(
  env: AccountBinding,
  settings: Jurisdiction,
  accountId: string,
): ReturnType<Bindings['ACCOUNT']['get']> {
  const namespace = inJurisdiction(env.ACCOUNT, settings);
  const knownIds = getOrMake(ids, env.ACCOUNT, () => new LruCache({ most: MOST_IDS }));
  const key = `${settings.JURISDICTION ?? ''}/${accountId}`;
  return namespace.get(getOrMake(knownIds, key, () => namespace.idFromName(accountId)));
}

/** A cache of ids by namespace and account. An id costs a hash, and most requests of an isolate are for few accounts. */
const ids = new WeakMap<object, LruCache<string, DurableObjectId>>();
const MOST_IDS = 1_000;

/** Says which object of which account is meant. */
export interface ObjectPlace<Binding extends string> {
  env: Pick<Bindings, Binding>;
  settings: Settings;
  account: string;
  id: string;
}

export const conversationStub = ownedStub(({ CONVERSATION }: Pick<Bindings, 'CONVERSATION'>) => CONVERSATION);

export const batchStub = ownedStub(({ BATCH }: Pick<Bindings, 'BATCH'>) => BATCH);

/** @returns a function that makes stubs. Both names are part of an object's id: nobody reaches another account's. */
function ownedStub<Env, T extends Rpc.DurableObjectBranded>(everywhere: (env: Env) => DurableObjectNamespace<T>) {
  return (env: Env, settings: Jurisdiction, { account, id }: Pick<ObjectPlace<string>, 'account' | 'id'>) =>
    stubOf(everywhere(env), settings, JSON.stringify([account, id]));
}

export function inboxStub(env: InboxBinding, settings: Jurisdiction, source: string) {
  return stubOf(env.INBOX, settings, source);
}

export function stubOf<T extends Rpc.DurableObjectBranded>(
  everywhere: DurableObjectNamespace<T>,
  settings: Jurisdiction,
  name: string,
): DurableObjectStub<T> {
  const namespace = inJurisdiction(everywhere, settings);
  return namespace.get(namespace.idFromName(name));
}

function inJurisdiction<T extends Rpc.DurableObjectBranded>(
  namespace: DurableObjectNamespace<T>,
  { JURISDICTION }: Jurisdiction,
): DurableObjectNamespace<T> {
  return JURISDICTION ? namespace.jurisdiction(JURISDICTION as DurableObjectJurisdiction) : namespace;
}
