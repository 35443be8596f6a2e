import type { Identity } from './auth/identity.ts';
import type { LogEntry } from './log.ts';
import type { Account } from './objects/account.ts';
import type { Conversation } from './objects/conversation.ts';
import type { Inbox } from './objects/inbox.ts';
import type { Place } from './schemas/room.ts';
import type { Settings } from './settings.ts';

/** What the platform binds to the Worker: wrangler.toml, secrets and variables. The settings are strings. */
export interface Bindings {
  STORE: KVNamespace;
  ACCOUNT: DurableObjectNamespace<Account>;
  CONVERSATION: DurableObjectNamespace<Conversation>;
  INBOX: DurableObjectNamespace<Inbox>;
  /** The ids of webhook events that are to be worked on. */
  QUEUE: Queue<string>;
  [setting: string]: unknown;
}

/** What each request carries through the app. */
export interface AppEnv {
  Bindings: Bindings;
  Variables: {
    requestId: string;
    settings: Settings;
    entry: LogEntry;
    /** What its body takes up. */
    place: Place;
    /** Not there where a Worker has opened a path of its own. */
    identity: Identity;
    /** What a Worker says of the path: whether it needs a credential. */
    opened?: boolean;
    closed?: boolean;
  };
}
