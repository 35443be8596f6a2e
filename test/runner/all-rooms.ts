/** Has what is tested know all rooms, as the Worker does: functions are also called without an app, which sets them. */
import { shareRooms } from '../../src/edge/kit/rooms/rooms.ts';
import { ROOMS } from '../../src/edge/rooms.ts';

shareRooms(ROOMS);
