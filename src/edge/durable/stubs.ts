import type { Settings } from '../config/settings.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { createLruCache, type LruCache } from '../kit/cache/lru.ts';
import type { AccountAndPoolBindings, Bindings } from '../kit/plugins/bindings.ts';

declare module '../kit/plugins/bindings.ts' {
  interface Bindings {
    POOL: DurableObjectNamespace<Rpc.DurableObjectBranded>;
  }
}

export type InboxBinding = Pick<Bindings, 'INBOX'>;
export type PoolBinding = Pick<Bindings, 'POOL'>;

/** `JURISDICTION` is part of an object's id. With another one, the same name means another, empty object. */
export interface JurisdictionSetting {
  JURISDICTION?: string | undefined;
}

export function getAccountStub(
  env: AccountAndPoolBindings,
  settings: JurisdictionSetting,
  accountId: string,
): ReturnType<Bindings['ACCOUNT']['get']> {
  const namespace = restrictToJurisdiction(env.ACCOUNT, settings);
  const knownIds = getOrCreate(idCache, env.ACCOUNT, () => createLruCache(MAX_CACHED_IDS));
  const key = `${settings.JURISDICTION ?? ''}/${accountId}`;
  return namespace.get(getOrCreate(knownIds, key, () => namespace.idFromName(accountId)));
}

/** A cache of ids by namespace and account. An id costs a hash, and most requests of an isolate are for few accounts. */
const idCache = new WeakMap<object, LruCache<string, DurableObjectId>>();
const MAX_CACHED_IDS = 1_000;

/** Identifies an object of an account. */
export interface OwnedObjectKey<Binding extends string> {
  env: Pick<Bindings, Binding>;
  settings: Settings;
  account: string;
  id: string;
}

export const getConversationStub = createStubGetter(({ CONVERSATION }: Pick<Bindings, 'CONVERSATION'>) => CONVERSATION);

export const getBatchStub = createStubGetter(({ BATCH }: Pick<Bindings, 'BATCH'>) => BATCH);

/**
 * @returns a function that makes stubs. Both names are part of an object's id, so that a caller cannot reach another account's
 * object.
 */
function createStubGetter<Env, T extends Rpc.DurableObjectBranded>(
  everywhere: (env: Env) => DurableObjectNamespace<T>,
) {
  return (env: Env, settings: JurisdictionSetting, { account, id }: Pick<OwnedObjectKey<string>, 'account' | 'id'>) =>
    getDurableObjectStub(everywhere(env), settings, JSON.stringify([account, id]));
}

export function getInboxStub(env: InboxBinding, settings: JurisdictionSetting, source: string) {
  return getDurableObjectStub(env.INBOX, settings, source);
}

export function getDurableObjectStub<T extends Rpc.DurableObjectBranded>(
  everywhere: DurableObjectNamespace<T>,
  settings: JurisdictionSetting,
  name: string,
): DurableObjectStub<T> {
  const namespace = restrictToJurisdiction(everywhere, settings);
  return namespace.get(namespace.idFromName(name));
}

function restrictToJurisdiction<T extends Rpc.DurableObjectBranded>(
  namespace: DurableObjectNamespace<T>,
  { JURISDICTION }: JurisdictionSetting,
): DurableObjectNamespace<T> {
  return JURISDICTION ? namespace.jurisdiction(JURISDICTION as DurableObjectJurisdiction) : namespace;
}
