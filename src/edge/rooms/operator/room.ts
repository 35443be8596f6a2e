import type { Room } from '../room.ts';
import { ALERT_ROUTES } from './alerts.route.ts';
import { METRICS_ROUTES } from './metrics.route.ts';

/** What operators look at: metrics, alerts, refusals. */
export const operatorRoom: Room = { name: 'operator', routes: [...ALERT_ROUTES, ...METRICS_ROUTES] };
