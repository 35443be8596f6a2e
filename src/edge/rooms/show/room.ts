import type { Room } from '../room.ts';

/** Answers of which a part is shown. */
export const showRoom: Room = { name: 'show' };
