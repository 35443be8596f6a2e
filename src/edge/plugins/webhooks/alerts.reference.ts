import * as z from '../../kit/http/zod.ts';
import { alertList } from '../../money/alerts/alerts-answers.schema.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { describeJsonResponse } from '../../openapi/responses.ts';
import { ALERT_ROUTES } from './alerts.route.ts';

const row = {
  type: 'alert',
  event_id: 'alert_5d1f0c7b9a3e4c2d8f6071e2a3b4c5d6',
  kind: 'threshold',
  node: { type: 'account', id: 'alice' },
  created_at: '2026-11-20T10:06:14.000Z',
  limit: 'usd_per_day',
  window: '2026-11-20',
  threshold: 0.8,
  limit_usd: 0.5,
  settled_usd: 0.4021,
  subject: null,
  todo: 'An admin can find the spender with GET /usage?group_by=account or group_by=model, limit this account (PATCH /accounts/:id/limits), and then raise the limit (PATCH …/limits).',
  state: 'delivered',
  attempts: 1,
  next_attempt_at: null,
  error: null,
};

export const alerts: ApiResource = {
  tag: 'Alerts',
  description:
    'Alerts about spending and problems. Spending alerts are sent once for each limit, window and share in `alerts` of the limits. Sluice sends alerts to `ALERT_URL`, signed (Standard Webhooks), with the same id in each attempt.',
  parameters: {},
  routes: describeRoutes(ALERT_ROUTES, {
    'GET /alerts': {
      operation: 'listAlerts',
      summary: 'List alerts, newest first',
      answer: describeJsonResponse('A page of the list.', z.addReferenceMeta(alertList, { id: 'AlertList' }), {
        data: [row],
        has_more: false,
        first_id: row.event_id,
        last_id: row.event_id,
        alert_url_set: true,
      }),
    },
  }),
};
