import type { Room } from '../room.ts';
import { FILE_ROUTES } from './files.route.ts';
import { filesPart } from './part.ts';

/** Files of accounts. */
export const filesRoom: Room = { name: 'files', routes: FILE_ROUTES, account: filesPart };
