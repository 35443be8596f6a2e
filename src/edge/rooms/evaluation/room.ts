import type { Room } from '../room.ts';
import { evaluationRoutes } from './evaluation.route.ts';

/** Evaluations of classifiers. */
export const evaluationRoom: Room = { name: 'evaluation', routes: ({ fetch }) => [evaluationRoutes(fetch)] };
