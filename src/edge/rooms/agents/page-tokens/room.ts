import type { Room } from '../../room.ts';
import { boundGuard } from './bound-turn.ts';

/** Bound tokens: what a page may ask. */
export const pageTokensRoom: Room = { name: 'page-tokens', guard: boundGuard };
