/** Has this process know all rooms. It is imported before what asks for them while it is loaded, as references do. */
import { shareRooms } from './kit/rooms/rooms.ts';
import { ROOMS } from './rooms.ts';

shareRooms(ROOMS);
