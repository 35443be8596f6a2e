import type { Room } from '../room.ts';

/** Bound tokens: what a page may ask. */
export const pageTokensRoom: Room = { name: 'page-tokens' };
