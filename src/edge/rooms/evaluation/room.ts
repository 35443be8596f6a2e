import type { Room } from '../room.ts';

/** Evaluations of classifiers. */
export const evaluationRoom: Room = { name: 'evaluation' };
