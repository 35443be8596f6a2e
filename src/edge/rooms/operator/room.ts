import type { Room } from '../room.ts';
import { webhooksRoom } from '../webhooks/room.ts';
import { ALERT_ROUTES } from './alerts.route.ts';
import { METRICS_ROUTES } from './metrics.route.ts';
import { raiseAlerts } from './raise-alerts.ts';

/** What operators look at: metrics and alerts. Alerts are delivered as what webhooks have brought is. */
export const operatorRoom: Room = {
  name: 'operator',
  needs: [webhooksRoom],
  account: { summed: raiseAlerts, due: ({ alerts }) => alerts.send() },
  routes: [...ALERT_ROUTES, ...METRICS_ROUTES],
};
