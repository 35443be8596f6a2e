import type { AccountObject } from '../../money/contracts/account.ts';
import type { ConversationObject } from '../../talk/contracts/conversation.ts';

/** The Worker's bindings, from wrangler.toml, secrets and variables. The settings are strings. Rooms add those of their objects. */
export interface Bindings {
  STORE: KVNamespace;
  ACCOUNT: DurableObjectNamespace<AccountObject>;
  CONVERSATION: DurableObjectNamespace<ConversationObject>;
  POOL: DurableObjectNamespace<Rpc.DurableObjectBranded>;
  /** The queue with the ids of webhook events to work on. */
  QUEUE: Queue<string>;
  /** Counts new visitors by their address; absent where there are none. */
  VISITOR_BRAKE?: RateLimit;
  [setting: string]: unknown;
}
