import type { AccountObject } from './contracts/account.ts';
import type { BatchObject } from './contracts/batch.ts';
import type { ClassificationObject } from './contracts/classification.ts';
import type { ConversationObject } from './contracts/conversation.ts';
import type { InboxObject } from './contracts/inbox.ts';
import type { PoolObject } from './contracts/pool.ts';

/** The Worker's bindings, from wrangler.toml, secrets and variables. The settings are strings. */
export interface Bindings {
  STORE: KVNamespace;
  ACCOUNT: DurableObjectNamespace<AccountObject>;
  CONVERSATION: DurableObjectNamespace<ConversationObject>;
  INBOX: DurableObjectNamespace<InboxObject>;
  POOL: DurableObjectNamespace<PoolObject>;
  BATCH: DurableObjectNamespace<BatchObject>;
  CLASSIFICATION: DurableObjectNamespace<ClassificationObject>;
  /** The queue with the ids of webhook events to work on. */
  QUEUE: Queue<string>;
  /** Counts new visitors by their address; absent where there are none. */
  VISITOR_BRAKE?: RateLimit;
  [setting: string]: unknown;
}
