import type { Room } from '../room.ts';
import { METRICS_ROUTES } from './metrics.route.ts';

/** What operators look at: metrics, and when they are alerted. */
export const operatorRoom: Room = { name: 'operator', routes: METRICS_ROUTES };
