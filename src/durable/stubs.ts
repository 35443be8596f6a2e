import { getOrMake } from '../cache/get-or-make.ts';
import { LruCache } from '../cache/lru.ts';
import type { Bindings } from './bindings.ts';
import type { AccountObject } from './contracts/account.ts';
import type { BatchClaimsObject, BatchObject } from './contracts/batch.ts';
import type { ClassificationObject } from './contracts/classification.ts';
import type { ConversationObject } from './contracts/conversation.ts';
import type { InboxObject } from './contracts/inbox.ts';
import type { PoolObject } from './contracts/pool.ts';

/** The bindings that objects are reached by. */
export type AccountBinding = Pick<Bindings, 'ACCOUNT'>;
export type InboxBinding = Pick<Bindings, 'INBOX'>;
export type PoolBinding = Pick<Bindings, 'POOL'>;

/** `JURISDICTION` is part of an object's id. With another one, the same name means another, empty object. */
interface Jurisdiction {
  JURISDICTION?: string | undefined;
}

/** @returns the stub of an account's object. */
export function accountStub(
  env: AccountBinding,
  settings: Jurisdiction,
  accountId: string,
): DurableObjectStub<AccountObject> {
  const namespace = inJurisdiction(env.ACCOUNT, settings);
  const known = getOrMake(ids, env.ACCOUNT, () => new LruCache({ most: MOST_IDS }));
  const key = `${settings.JURISDICTION ?? ''}/${accountId}`;
  return namespace.get(getOrMake(known, key, () => namespace.idFromName(accountId)));
}

/** A cache of ids by namespace and account. An id costs a hash, and most requests of an isolate are for few accounts. */
const ids = new WeakMap<object, LruCache<string, DurableObjectId>>();
const MOST_IDS = 1_000;

/** @returns the stub of a conversation's object. Both names are part of its id: nobody reaches another account's. */
export function conversationStub(
  env: Pick<Bindings, 'CONVERSATION'>,
  settings: Jurisdiction,
  { account, id }: { account: string; id: string },
): DurableObjectStub<ConversationObject> {
  return stubOf(env.CONVERSATION, settings, JSON.stringify([account, id]));
}

/** @returns the stub of the inbox of a webhook source. */
export function inboxStub(env: InboxBinding, settings: Jurisdiction, source: string): DurableObjectStub<InboxObject> {
  return stubOf(env.INBOX, settings, source);
}

/** @returns the stub of a batch's object. Both names are part of its id: nobody reaches another account's. */
export function batchStub(
  env: Pick<Bindings, 'BATCH'>,
  settings: Jurisdiction,
  { account, id }: { account: string; id: string },
): DurableObjectStub<BatchObject> {
  return stubOf(env.BATCH, settings, JSON.stringify([account, id]));
}

/** @returns the stub of a classification by batch. Both names are part of its id: nobody reaches another account's. */
export function classificationStub(
  env: Pick<Bindings, 'CLASSIFICATION'>,
  settings: Jurisdiction,
  { account, id }: { account: string; id: string },
): DurableObjectStub<ClassificationObject> {
  return stubOf(env.CLASSIFICATION, settings, JSON.stringify([account, id]));
}

/** @returns the stub of the claims on the batches of an upstream. @param upstream its name, if there are several */
export function claimsStub(
  env: Pick<Bindings, 'BATCH_CLAIMS'>,
  settings: Jurisdiction,
  upstream: string | undefined,
): DurableObjectStub<BatchClaimsObject> {
  return stubOf(env.BATCH_CLAIMS, settings, upstream ?? '');
}

/** @returns the stub of a pool by its name, as `groupPool` makes it. */
export function poolStub(env: PoolBinding, settings: Jurisdiction, name: string): DurableObjectStub<PoolObject> {
  return stubOf(env.POOL, settings, name);
}

function stubOf<T extends Rpc.DurableObjectBranded>(
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
