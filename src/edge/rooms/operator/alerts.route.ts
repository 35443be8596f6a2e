import { requireScope } from '../../gate/auth/authenticate.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import { Hono } from '../../kit/http/hono.ts';
import { readPage } from '../../kit/http/page.ts';
import { callInbox } from '../webhooks/inbox/call-inbox.ts';
import { ALERT_SOURCE } from './alert-outbox.ts';

/** Alerts: what was spent beyond a share of a limit, and what went wrong; for admins. */
export function alertsRoutes() {
  return new Hono<AppEnv>().get('/alerts', requireScope('admin'), async (c) => {
    const page = readPage(c.req.query());
    const place = { inboxes: c.env, settings: c.get('settings'), source: ALERT_SOURCE };
    return c.json(await callInbox(place, (inbox) => inbox.alerts(page)));
  });
}
