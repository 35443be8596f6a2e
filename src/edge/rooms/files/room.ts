import type { Room } from '../room.ts';
import { filesRoutes } from './files.route.ts';

/** Files of accounts. */
export const filesRoom: Room = { name: 'files', routes: ({ fetch }) => [filesRoutes(fetch)] };
