import type { Bindings } from '../env.ts';
import type { LogEntry } from '../log.ts';
import type { Place } from '../schemas/room.ts';
import type { Settings } from '../settings.ts';
import type { Identity } from './identity.ts';

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
