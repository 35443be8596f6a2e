import { LruCache } from '../cache/lru.ts';
import type { AccountObject } from '../durable/contracts/account.ts';
import type { ConversationObject } from '../durable/contracts/conversation.ts';
import type { InboxObject } from '../durable/contracts/inbox.ts';
import type { PoolObject } from '../durable/contracts/pool.ts';

/** The binding that accounts' objects are reached by. */
export interface AccountBinding {
  ACCOUNT: DurableObjectNamespace<AccountObject>;
}

/**
 * Returns the stub of an account's object.
 *
 * @param settings `JURISDICTION` is part of the object's id: another one is another, empty account
 */
export function accountStub(
  env: AccountBinding,
  settings: { JURISDICTION?: string | undefined },
  accountId: string,
): DurableObjectStub<AccountObject> {
  const namespace = settings.JURISDICTION
    ? env.ACCOUNT.jurisdiction(settings.JURISDICTION as DurableObjectJurisdiction)
    : env.ACCOUNT;
  let known = ids.get(env.ACCOUNT);
  if (!known) {
    known = new LruCache({ most: MOST_IDS });
    ids.set(env.ACCOUNT, known);
  }
  const key = `${settings.JURISDICTION ?? ''}/${accountId}`;
  let id = known.get(key);
  if (!id) {
    id = namespace.idFromName(accountId);
    known.set(key, id);
  }
  return namespace.get(id);
}

/** Ids by namespace and account. Each costs a hash to compute, and most requests of an isolate are for few accounts. */
const ids = new WeakMap<object, LruCache<string, DurableObjectId>>();
const MOST_IDS = 1_000;

/** The binding that conversations' objects are reached by. */
export interface ConversationBinding {
  CONVERSATION: DurableObjectNamespace<ConversationObject>;
}

/**
 * Returns the stub of a conversation's object.
 *
 * @param place both names are part of the object's id, so that nobody reaches another account's by any id
 */
export function conversationStub(
  env: ConversationBinding,
  settings: { JURISDICTION?: string | undefined },
  place: { account: string; id: string },
): DurableObjectStub<ConversationObject> {
  const namespace = settings.JURISDICTION
    ? env.CONVERSATION.jurisdiction(settings.JURISDICTION as DurableObjectJurisdiction)
    : env.CONVERSATION;
  return namespace.get(namespace.idFromName(JSON.stringify([place.account, place.id])));
}

/** The binding that inboxes are reached by. */
export interface InboxBinding {
  INBOX: DurableObjectNamespace<InboxObject>;
}

/** Returns the stub of the inbox of a webhook source. */
export function inboxStub(
  env: InboxBinding,
  settings: { JURISDICTION?: string | undefined },
  source: string,
): DurableObjectStub<InboxObject> {
  const namespace = settings.JURISDICTION
    ? env.INBOX.jurisdiction(settings.JURISDICTION as DurableObjectJurisdiction)
    : env.INBOX;
  return namespace.get(namespace.idFromName(source));
}

/** The binding that pools are reached by. */
export interface PoolBinding {
  POOL: DurableObjectNamespace<PoolObject>;
}

/** Returns the stub of a pool by its name, as `poolName` makes it. */
export function poolStub(
  env: PoolBinding,
  settings: { JURISDICTION?: string | undefined },
  name: string,
): DurableObjectStub<PoolObject> {
  const namespace = settings.JURISDICTION
    ? env.POOL.jurisdiction(settings.JURISDICTION as DurableObjectJurisdiction)
    : env.POOL;
  return namespace.get(namespace.idFromName(name));
}
