// Has a script know all rooms, as the Worker does: their settings, and the kinds of upstream that they have. It has no types: those of
// what rooms import are the runtime's, which scripts do not have.
import { shareRooms } from '../src/edge/kit/rooms/rooms.ts';
import { ROOMS } from '../src/edge/rooms.ts';

shareRooms(ROOMS);
