import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import type { AppConfig, AppEnv } from '../../auth/context.ts';
import { defineRoute } from '../../auth/route.ts';
import type { RemoteMethods } from '../../durable/call-object.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { createNotFoundError } from '../../kit/http/errors.ts';
import { createListResponse, parsePageQuery } from '../../kit/http/page.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { createChangeOrigin, logChange } from '../../money/changes/change-origin.ts';
import type { InboxObject } from './contracts/inbox.ts';
import { hideTextsOfReport, hideTextsOfRow } from './event-texts.ts';
import { callInbox } from './inbox/call-inbox.ts';
import { verifyAndReadWebhook } from './receive.ts';
import { shippedWebhooks } from './shipped-sources.ts';
import { findSecretName, sourcesOf } from './source-settings.ts';
import type { Webhook } from './sources/define-webhook.ts';
import { createWebhookSourceReader, type WebhookSourceReader } from './sources-in-use.ts';
import { eventsQuery } from './webhooks.schema.ts';
import type { EventReplayReport, WebhookSourceRow } from './webhooks-answers.schema.ts';

export interface WebhooksOptions {
  /**
   * The sources of webhooks, made by `defineWebhook`. Default: the sources that Sluice comes with. A source without its
   * secret is closed.
   */
  webhooks?: readonly Webhook[];
}

/** The sources of each app by their names. */
const sourcesOfApps = new WeakMap<AppConfig, WebhookSourceReader>();

/** The routes of webhooks. Senders need only their signature; the events are for admins. */
export const WEBHOOK_ROUTES = [
  defineRoute('POST /webhooks/:source', { needs: 'signature' }, (c) =>
    handleIncomingWebhook(c, requireWebhookParam(c)),
  ),
  defineRoute('GET /webhooks', { needs: 'admin:read' }, async (c) => {
    const { settings, app } = c.var;
    const rows = [...getWebhookSourceReader(app)(settings).values()].map((webhook) =>
      createWebhookSourceRow(c, webhook),
    );
    return c.json(createListResponse(await Promise.all(rows), false, ({ source }) => source));
  }),
  defineRoute(
    'GET /webhooks/:source/events',
    { needs: 'admin:read', pages: true, query: eventsQuery },
    async (c, { query }) => {
      const { state, undelivered } = validateBySchema(query, c.req.query());
      const filter = { ...parsePageQuery(c.req.query()), state, undelivered: undelivered !== undefined };
      const { data, ...page } = await createInboxCaller(c, requireWebhookParam(c))((inbox) => inbox.listEvents(filter));
      return c.json({ ...page, data: canReadTexts(c) ? data : data.map(hideTextsOfRow) });
    },
  ),
  defineRoute('GET /webhooks/:source/events/:id', { needs: 'admin:read' }, async (c) => {
    const report = await createInboxCaller(c, requireWebhookParam(c))((inbox) => inbox.readEvent(c.req.param('id')));
    if (!report) throw createEventNotFoundError();
    return c.json(canReadTexts(c) ? report : hideTextsOfReport(report));
  }),
  defineRoute('POST /webhooks/:source/events/:id/replay', { needs: 'admin' }, async (c) => {
    const id = c.req.param('id');
    const webhook = requireWebhookParam(c);
    const report = await createInboxCaller(c, webhook)((inbox) => inbox.replayEvent(id, createChangeOrigin(c)));
    if (!report) throw createEventNotFoundError();
    logChange(c, { type: 'event', id, account: report.account }, ['state']);
    enqueueEventInBackground(c, webhook, id);
    return c.json(report, 202);
  }),
  defineRoute('POST /webhooks/:source/events/replay', { needs: 'admin' }, async (c) => {
    const webhook = requireWebhookParam(c);
    const answer: EventReplayReport = { type: 'webhook_replay', source: webhook.source, scheduled: 0 };
    for (let after: number | undefined = 0; after !== undefined; ) {
      const from: number = after;
      const { scheduled, last } = await createInboxCaller(
        c,
        webhook,
      )((inbox) => inbox.replayUndelivered(from, createChangeOrigin(c)));
      answer.scheduled += scheduled;
      after = last;
    }
    logChange(c, { type: 'webhook', id: webhook.source }, ['events']);
    return c.json(answer, 202);
  }),
];

function canReadTexts(c: Context<AppEnv>): boolean {
  return hasScope(c.get('identity'), 'admin');
}

/** @returns the function that reads the sources of an app, with their settings. @throws Error for two of one name */
export function getWebhookSourceReader(app: AppConfig): WebhookSourceReader {
  return getOrCreate(sourcesOfApps, app, () =>
    createWebhookSourceReader((app as AppConfig & WebhooksOptions).webhooks ?? shippedWebhooks),
  );
}

/** @throws ApiError 404 for a source that this deployment does not have */
function requireWebhookParam(c: Context<AppEnv>): Webhook {
  const webhook = getWebhookSourceReader(c.get('app'))(c.get('settings')).get(c.req.param('source') ?? '');
  if (!webhook) throw createNotFoundError('This webhook source does not exist. GET /webhooks lists the sources.');
  return webhook;
}

async function createWebhookSourceRow(c: Context<AppEnv>, webhook: Webhook): Promise<WebhookSourceRow> {
  const { source, agent = null, task } = webhook;
  const settings = c.get('settings');
  return {
    type: 'webhook_source',
    source,
    open: (sourcesOf(settings).get(source)?.secrets ?? []).length > 0,
    secret: findSecretName(settings, source),
    agent,
    classifier: agent === null ? (task.classifier ?? null) : null,
    undelivered_events: await createInboxCaller(c, webhook)((inbox) => inbox.countUndelivered()),
  };
}

async function handleIncomingWebhook(c: Context<AppEnv>, webhook: Webhook): Promise<Response> {
  const { settings, entry } = c.var;
  const { source } = webhook;
  const { secret, secrets = [] } = sourcesOf(settings).get(source) ?? {};
  if (secrets.length === 0) {
    throw createNotFoundError(
      `This deployment does not accept webhooks of ${source}, because ${secret ?? `${source.toUpperCase()}_WEBHOOK_SECRET, or the secret of an entry in WEBHOOKS,`} is not set. Ask its operator.`,
    );
  }
  entry.line.account = webhook.account;
  const limits = { limitBytes: settings.MAX_BODY_BYTES, now: Date.now() };
  const received = await verifyAndReadWebhook(c.req.raw, webhook, secrets, limits);
  if (received.kind === 'answer') return received.response;
  if (received.kind === 'ignored') {
    if (received.unreadable !== undefined) entry.line.error_type = `webhook_unreadable: ${received.unreadable}`;
    const reason =
      received.unreadable === undefined
        ? 'The source found no text in this event.'
        : 'The source cannot read this event.';
    return c.json({ status: 'ignored', reason });
  }
  const { event } = received;
  entry.line.event_id = event.id;
  const {
    status,
    queue,
    firstId = event.id,
  } = await createInboxCaller(c, webhook)((inbox) => inbox.acceptEvent(event));
  if (queue) enqueueEventInBackground(c, webhook, firstId);
  return c.json({ event_id: firstId, status }, status === 'accepted' ? 202 : 200);
}

/** Puts an event on the queue without waiting. If that fails, the inbox's alarm does it. */
function enqueueEventInBackground(c: Context<AppEnv>, webhook: Webhook, id: string): void {
  const enqueue = async () => {
    try {
      await c.env.QUEUE.send(id, { contentType: 'json' });
    } catch (thrown) {
      await createInboxCaller(c, webhook)((inbox) => inbox.recordEnqueueFailure(id));
      throw thrown;
    }
  };
  c.get('entry').keepAliveFor(enqueue());
}

function createInboxCaller(c: Context<AppEnv>, { source }: Webhook) {
  const place = { inboxes: c.env, settings: c.get('settings'), source };
  return <T>(call: (inbox: RemoteMethods<InboxObject>) => Promise<T>) => callInbox(place, call);
}

function createEventNotFoundError() {
  return createNotFoundError('This event does not exist. GET /webhooks/:source/events lists the events of the source.');
}
