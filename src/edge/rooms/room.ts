import type { AnyRoom, Plugged } from '../kit/rooms/rooms.ts';
import type { CONVERSATION_PARTS } from '../talk/conversations/parts.ts';
import type { PAUSES } from './runs/pauses.ts';

/** A feature: one folder, one object, one line in the list of rooms. Each of its members is a seam of the core. */
export interface Room extends AnyRoom, Plugged<typeof CONVERSATION_PARTS>, Plugged<typeof PAUSES> {}
