import type { AccountObject } from '../../money/contracts/account.ts';
import type { BatchObject } from '../../rooms/batches/contracts/batch.ts';
import type { ClassificationObject } from '../../rooms/classify-batches/contracts/classification.ts';
import type { InboxObject } from '../../rooms/webhooks/contracts/inbox.ts';
import type { ConversationObject } from '../../talk/contracts/conversation.ts';

/** The Worker's bindings, from wrangler.toml, secrets and variables. The settings are strings. */
export interface Bindings {
  STORE: KVNamespace;
  ACCOUNT: DurableObjectNamespace<AccountObject>;
  CONVERSATION: DurableObjectNamespace<ConversationObject>;
  INBOX: DurableObjectNamespace<InboxObject>;
  POOL: DurableObjectNamespace<Rpc.DurableObjectBranded>;
  BATCH: DurableObjectNamespace<BatchObject>;
  CLASSIFICATION: DurableObjectNamespace<ClassificationObject>;
  /** The queue with the ids of webhook events to work on. */
  QUEUE: Queue<string>;
  /** Counts new visitors by their address; absent where there are none. */
  VISITOR_BRAKE?: RateLimit;
  [setting: string]: unknown;
}
