import type { Plugin } from '../plugin.ts';
import { EVALUATION_ROUTES } from './evaluation.route.ts';

/** Evaluations of classifiers. */
export const evaluation: Plugin = { name: 'evaluation', routes: EVALUATION_ROUTES };
