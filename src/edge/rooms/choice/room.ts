import type { Room } from '../room.ts';

/** The choice of a model by a label. */
export const choiceRoom: Room = { name: 'choice' };
