import type { Context } from 'hono';
import { requireScope } from '../../gate/auth/authenticate.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import type { RouteOptions } from '../../gate/auth/room-routes.ts';
import { notFound } from '../../kit/http/errors.ts';
import { Hono } from '../../kit/http/hono.ts';
import { readPage } from '../../kit/http/page.ts';
import { validate } from '../../kit/http/validate.ts';
import type { Remote } from '../../kit/objects/call-object.ts';
import type { InboxObject } from './contracts/inbox.ts';
import { callInbox } from './inbox/call-inbox.ts';
import { receive } from './receive.ts';
import { sourcesOf } from './source-settings.ts';
import { type Webhook, webhooksBySource } from './sources/define-webhook.ts';
import { shippedWebhooks } from './sources/shipped.ts';
import { eventsQuery } from './webhooks.schema.ts';

export interface WebhooksOptions {
  /**
   * The sources of webhooks, made by `defineWebhook`. Default: the sources that Sluice comes with. A source without its
   * secret is closed.
   */
  webhooks?: readonly Webhook[];
}

/** Makes the routes of webhooks. Senders need only their signature; the events are for admins. */
export function webhooksRoutes({ webhooks = shippedWebhooks }: RouteOptions & WebhooksOptions = {}) {
  const sources = webhooksBySource(webhooks);
  /** @throws ApiError 404 for a source that this deployment does not have */
  const sourceOf = (c: Context<AppEnv>): Webhook => {
    const webhook = sources.get(c.req.param('source') ?? '');
    if (!webhook) throw notFound('There is no such source of webhooks.');
    return webhook;
  };
  const receiving = new Hono<AppEnv>().post('/webhooks/:source', (c) => receiveEvent(c, sourceOf(c)));
  const events = new Hono<AppEnv>()
    .use('/webhooks/:source/events/*', requireScope('admin'))
    .get('/webhooks/:source/events', async (c) => {
      const query = { ...readPage(c.req.query()), ...validate(eventsQuery, c.req.query()) };
      return c.json(await inboxOf(c, sourceOf(c))((inbox) => inbox.list(query)));
    })
    .get('/webhooks/:source/events/:id', async (c) => {
      const report = await inboxOf(c, sourceOf(c))((inbox) => inbox.read(c.req.param('id')));
      if (!report) throw unknownEvent();
      return c.json(report);
    })
    .post('/webhooks/:source/events/:id/replay', async (c) => {
      const id = c.req.param('id');
      const report = await inboxOf(c, sourceOf(c))((inbox) => inbox.replay(id));
      if (!report) throw unknownEvent();
      enqueue(c, id);
      return c.json(report, 202);
    });
  return { receiving, events };
}

async function receiveEvent(c: Context<AppEnv>, webhook: Webhook): Promise<Response> {
  const { settings, entry } = c.var;
  const { source } = webhook;
  const { secret, secrets = [] } = sourcesOf(settings).sources.get(source) ?? {};
  if (secrets.length === 0) {
    throw notFound(`Webhooks of ${source} are not open here: ${secret ?? 'their entry in WEBHOOKS'} is not set.`);
  }
  entry.line.account = webhook.account;
  const limits = { limitBytes: settings.MAX_BODY_BYTES, now: Date.now() };
  const received = await receive(c.req.raw, webhook, secrets, limits);
  if (received.kind === 'answer') return received.response;
  if (received.kind === 'ignored') {
    if (received.unreadable !== undefined) entry.line.error_type = `webhook_unreadable: ${received.unreadable}`;
    return c.json({ status: 'ignored' });
  }
  const { event } = received;
  entry.line.event_id = event.id;
  const { status, queue, known = event.id } = await inboxOf(c, webhook)((inbox) => inbox.accept(event));
  if (queue) enqueue(c, event.id);
  return c.json({ event_id: known, status }, status === 'accepted' ? 202 : 200);
}

/** Puts an event on the queue without waiting. If it fails, the inbox's alarm does it later. */
function enqueue(c: Context<AppEnv>, id: string): void {
  c.get('entry').during(c.env.QUEUE.send(id, { contentType: 'json' }));
}

function inboxOf(c: Context<AppEnv>, { source }: Webhook) {
  const place = { inboxes: c.env, settings: c.get('settings'), source };
  return <T>(call: (inbox: Remote<InboxObject>) => Promise<T>) => callInbox(place, call);
}

function unknownEvent() {
  return notFound('This source has no such event. Those that it has are at GET /webhooks/:source/events.');
}
