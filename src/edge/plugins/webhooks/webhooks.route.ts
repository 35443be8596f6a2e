import type { Context } from 'hono';
import type { AppConfig, AppEnv } from '../../auth/context.ts';
import { route } from '../../auth/route.ts';
import type { Remote } from '../../durable/call-object.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { notFound } from '../../kit/http/errors.ts';
import { createList, readPage } from '../../kit/http/page.ts';
import { validate } from '../../kit/http/validate.ts';
import type { InboxObject } from './contracts/inbox.ts';
import { callInbox } from './inbox/call-inbox.ts';
import { receiveWebhook } from './receive.ts';
import { shippedWebhooks } from './shipped-sources.ts';
import { sourcesOf } from './source-settings.ts';
import type { Webhook } from './sources/define-webhook.ts';
import { type SourcesInUse, withConfiguredSources } from './sources-in-use.ts';
import { eventsQuery } from './webhooks.schema.ts';
import type { Replayed, SourceRow } from './webhooks-answers.schema.ts';

export interface WebhooksOptions {
  /**
   * The sources of webhooks, made by `defineWebhook`. Default: the sources that Sluice comes with. A source without its
   * secret is closed.
   */
  webhooks?: readonly Webhook[];
}

/** The sources of each app by their names. */
const sourcesOfApps = new WeakMap<AppConfig, SourcesInUse>();

/** The routes of webhooks. Senders need only their signature; the events are for admins. */
export const WEBHOOK_ROUTES = [
  route('POST /webhooks/:source', { needs: 'signature' }, (c) => receiveEvent(c, webhookOfPath(c))),
  route('GET /webhooks', { needs: 'admin' }, async (c) => {
    const { settings, app } = c.var;
    const rows = [...createSourceReader(app)(settings).values()].map((webhook) => createSourceRow(c, webhook));
    return c.json(createList(await Promise.all(rows), false, ({ source }) => source));
  }),
  route('GET /webhooks/:source/events', { needs: 'admin', pages: true, query: eventsQuery }, async (c, { query }) => {
    const { state, undelivered } = validate(query, c.req.query());
    const filter = { ...readPage(c.req.query()), state, undelivered: undelivered !== undefined };
    return c.json(await inboxOf(c, webhookOfPath(c))((inbox) => inbox.list(filter)));
  }),
  route('GET /webhooks/:source/events/:id', { needs: 'admin' }, async (c) => {
    const report = await inboxOf(c, webhookOfPath(c))((inbox) => inbox.read(c.req.param('id')));
    if (!report) throw eventNotFound();
    return c.json(report);
  }),
  route('POST /webhooks/:source/events/:id/replay', { needs: 'admin' }, async (c) => {
    const id = c.req.param('id');
    const report = await inboxOf(c, webhookOfPath(c))((inbox) => inbox.replay(id));
    if (!report) throw eventNotFound();
    enqueue(c, id);
    return c.json(report, 202);
  }),
  route('POST /webhooks/:source/events/replay', { needs: 'admin' }, async (c) => {
    const webhook = webhookOfPath(c);
    const answer: Replayed = { type: 'webhook_replay', source: webhook.source, scheduled: 0 };
    for (let after: number | undefined = 0; after !== undefined; ) {
      const from: number = after;
      const { scheduled, last } = await inboxOf(c, webhook)((inbox) => inbox.replayUndelivered(from));
      answer.scheduled += scheduled;
      after = last;
    }
    return c.json(answer, 202);
  }),
];

/** @returns the function that reads the sources of an app, with their settings. @throws Error for two of one name */
export function createSourceReader(app: AppConfig): SourcesInUse {
  return getOrCreate(sourcesOfApps, app, () =>
    withConfiguredSources((app as AppConfig & WebhooksOptions).webhooks ?? shippedWebhooks),
  );
}

/** @throws ApiError 404 for a source that this deployment does not have */
function webhookOfPath(c: Context<AppEnv>): Webhook {
  const webhook = createSourceReader(c.get('app'))(c.get('settings')).get(c.req.param('source') ?? '');
  if (!webhook) throw notFound('There is no such source of webhooks.');
  return webhook;
}

async function createSourceRow(c: Context<AppEnv>, webhook: Webhook): Promise<SourceRow> {
  const { source, agent = null, task } = webhook;
  return {
    type: 'webhook_source',
    source,
    open: (sourcesOf(c.get('settings')).get(source)?.secrets ?? []).length > 0,
    agent,
    classifier: agent === null ? (task.classifier ?? null) : null,
    undelivered_events: await inboxOf(c, webhook)((inbox) => inbox.undelivered()),
  };
}

async function receiveEvent(c: Context<AppEnv>, webhook: Webhook): Promise<Response> {
  const { settings, entry } = c.var;
  const { source } = webhook;
  const { secret, secrets = [] } = sourcesOf(settings).get(source) ?? {};
  if (secrets.length === 0) {
    throw notFound(
      `Webhooks of ${source} are not open here: ${secret ?? `${source.toUpperCase()}_WEBHOOK_SECRET, or the secret of an entry in WEBHOOKS,`} is not set.`,
    );
  }
  entry.line.account = webhook.account;
  const limits = { limitBytes: settings.MAX_BODY_BYTES, now: Date.now() };
  const received = await receiveWebhook(c.req.raw, webhook, secrets, limits);
  if (received.kind === 'answer') return received.response;
  if (received.kind === 'ignored') {
    if (received.unreadable !== undefined) entry.line.error_type = `webhook_unreadable: ${received.unreadable}`;
    return c.json({ status: 'ignored' });
  }
  const { event } = received;
  entry.line.event_id = event.id;
  const { status, queue, firstId = event.id } = await inboxOf(c, webhook)((inbox) => inbox.accept(event));
  if (queue) enqueue(c, event.id);
  return c.json({ event_id: firstId, status }, status === 'accepted' ? 202 : 200);
}

/** Puts an event on the queue without waiting. If it fails, the inbox's alarm does it later. */
function enqueue(c: Context<AppEnv>, id: string): void {
  c.get('entry').trackWork(c.env.QUEUE.send(id, { contentType: 'json' }));
}

function inboxOf(c: Context<AppEnv>, { source }: Webhook) {
  const place = { inboxes: c.env, settings: c.get('settings'), source };
  return <T>(call: (inbox: Remote<InboxObject>) => Promise<T>) => callInbox(place, call);
}

function eventNotFound() {
  return notFound('This source has no such event. Those that it has are at GET /webhooks/:source/events.');
}
