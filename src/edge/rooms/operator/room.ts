import type { Room } from '../room.ts';
import { METRICS_ROUTES } from './metrics.route.ts';
import { raiseAlerts } from './raise-alerts.ts';

/** What operators look at: metrics, and when they are alerted. */
export const operatorRoom: Room = {
  name: 'operator',
  account: { summed: raiseAlerts, due: ({ alerts }) => alerts.send() },
  routes: METRICS_ROUTES,
};
