import type { AccountObject } from './contracts/account.ts';
import type { BatchClaimsObject, BatchObject } from './contracts/batch.ts';
import type { ClassificationObject } from './contracts/classification.ts';
import type { ConversationObject } from './contracts/conversation.ts';
import type { InboxObject } from './contracts/inbox.ts';
import type { PoolObject } from './contracts/pool.ts';

/** What the platform binds to the Worker: wrangler.toml, secrets and variables. The settings are strings. */
export interface Bindings {
  STORE: KVNamespace;
  ACCOUNT: DurableObjectNamespace<AccountObject>;
  CONVERSATION: DurableObjectNamespace<ConversationObject>;
  INBOX: DurableObjectNamespace<InboxObject>;
  POOL: DurableObjectNamespace<PoolObject>;
  BATCH: DurableObjectNamespace<BatchObject>;
  BATCH_CLAIMS: DurableObjectNamespace<BatchClaimsObject>;
  CLASSIFICATION: DurableObjectNamespace<ClassificationObject>;
  /** The ids of webhook events that are to be worked on. */
  QUEUE: Queue<string>;
  [setting: string]: unknown;
}
