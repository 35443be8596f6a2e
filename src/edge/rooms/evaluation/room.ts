import type { Room } from '../room.ts';
import { EVALUATION_ROUTES } from './evaluation.route.ts';

/** Evaluations of classifiers. */
export const evaluationRoom: Room = { name: 'evaluation', routes: EVALUATION_ROUTES };
