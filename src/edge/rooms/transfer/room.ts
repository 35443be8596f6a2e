import type { Room } from '../room.ts';
import { transferPart } from './part.ts';
import { TRANSFER_ROUTES } from './transfer.route.ts';

/** Copies, imports and exports of conversations. */
export const transferRoom: Room = { name: 'transfer', routes: TRANSFER_ROUTES, conversation: transferPart };
