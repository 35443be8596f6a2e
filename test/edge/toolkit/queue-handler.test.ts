import { createMessageBatch, getQueueResult, waitOnExecutionContext } from 'cloudflare:test';
import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { createApp } from '#edge/app.ts';
import type { AppEnv } from '#edge/auth/context.ts';
import { defineWebhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import { createTrackedContext } from '#test/support/pending-work.ts';
import { createSimulatedUpstream } from '#test/support/prefixes.ts';
import { createEvent, createWebhookWorks, getInbox } from '#test/support/webhooks.ts';

const createDeliveringSource = () => {
  const delivered: string[] = [];
  const clinic = defineWebhook({
    source: 'clinic',
    verify: async () => 'valid',
    text: ({ body }) => String(body.text),
    labels: ['bug', 'other'],
    deliver: async ({ event_id, label }) => void delivered.push(`${event_id}: ${label}`),
  });
  return { clinic, delivered };
};

test('an app processes and delivers the events of the sources that createApp was called with', async () => {
  const { clinic, delivered } = createDeliveringSource();
  const works = createWebhookWorks();
  const app = createApp({ webhooks: [clinic], fetch: createSimulatedUpstream(works.clock) });
  await getInbox('clinic').acceptEvent(createEvent('clinic_1', 'This is a bug', 'webhook-clinic'));
  const message = { id: 'm', timestamp: new Date(), attempts: 1, body: 'clinic_1' };
  const batch = createMessageBatch<string>('events', [message]);
  const ctx = createTrackedContext('a batch of the queue');
  await app.queue(batch, works.env, ctx);
  expect((await getQueueResult(batch, ctx)).retryMessages).toEqual([]);
  expect(await works.report('clinic_1')).toMatchObject({ state: 'delivered', label: 'bug' });
  expect(delivered).toEqual(['clinic_1: bug']);
});

/** @returns the warnings of `GET /health` about the queue's handler */
async function readHandlerWarnings(app: Pick<Hono<AppEnv>, 'fetch'>): Promise<string[]> {
  const ctx = createTrackedContext('GET /health');
  const response = await app.fetch(new Request('http://localhost/health'), createWebhookWorks().env, ctx);
  const { warnings = [] } = (await response.json()) as { warnings?: string[] };
  await waitOnExecutionContext(ctx);
  return warnings.filter((warning) => warning.includes('queue'));
}

test('/health warns until the Worker exports the handler of the queue', async () => {
  const app = createApp();
  const around = new Hono<AppEnv>().route('/', app);
  expect(await readHandlerWarnings(around)).toEqual([
    'The queue handler is missing, so events are accepted but not processed: export the app itself, or `queue: app.queue` beside `fetch`, from your Worker’s main module.',
  ]);
  const exported = { fetch: around.fetch, queue: app.queue };
  expect(await readHandlerWarnings(exported)).toEqual([]);
});

test('a copy of an app has its handler, and a tool that traces the Worker can replace the handler', async () => {
  const app = createApp();
  const { queue } = app;
  expect({ ...app }.queue).toBe(queue);
  const traced: typeof queue = (...parameters) => queue(...parameters);
  app.queue = traced;
  expect(app.queue).toBe(traced);
  expect(await readHandlerWarnings(app)).toEqual([]);
});
