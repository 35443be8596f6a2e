import { requireScope } from '../auth/authenticate.ts';
import type { AppEnv } from '../auth/context.ts';
import { ALERT_SOURCE } from '../delivery/alert-outbox.ts';
import { Hono } from '../http/hono.ts';
import { readPage } from '../http/page.ts';
import { callInbox } from '../webhooks/inbox/call-inbox.ts';

/** Alerts: what was spent beyond a share of a limit, and what went wrong; for admins. */
export function alertsRoutes() {
  return new Hono<AppEnv>().get('/alerts', requireScope('admin'), async (c) => {
    const page = readPage(c.req.query());
    const place = { inboxes: c.env, settings: c.get('settings'), source: ALERT_SOURCE };
    return c.json(await callInbox(place, (inbox) => inbox.alerts(page)));
  });
}
