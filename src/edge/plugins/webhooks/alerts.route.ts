import { defineRoute } from '../../auth/route.ts';
import { parsePageQuery } from '../../kit/http/page.ts';
import { getAlertTarget } from '../../money/alerts/alert-outbox.ts';
import { ALERT_SOURCE } from '../../money/alerts/alert-source.ts';
import type { AlertList } from '../../money/alerts/alerts-answers.schema.ts';
import { callInbox } from './inbox/call-inbox.ts';

/** Alerts for operators: about spending above a share of a limit, and about failures. */
export const ALERT_ROUTES = [
  defineRoute('GET /alerts', { needs: 'admin:read', pages: true }, async (c) => {
    const page = parsePageQuery(c.req.query());
    const place = { inboxes: c.env, settings: c.get('settings'), source: ALERT_SOURCE };
    const list: AlertList = {
      ...(await callInbox(place, (inbox) => inbox.listAlerts(page))),
      alert_url_set: getAlertTarget(c.get('settings')) !== undefined,
    };
    return c.json(list);
  }),
];
