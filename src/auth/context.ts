import type { Bindings } from '../durable/bindings.ts';
import type { Place } from '../http/body-room.ts';
import type { LogEntry } from '../http/log.ts';
import type { Identity } from '../identity/caller.ts';
import type { Settings } from '../settings/settings.ts';

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
