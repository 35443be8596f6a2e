/**
 * Builds an edge from Sluice as a package: Sluice is under /ai, a route asks Claude within the caller's budget, and the
 * texts of a webhook are labelled.
 */
import { Hono } from 'hono';
import { type AppEnv, allRooms, createApp, createConsumer, defineWebhook, hmac } from 'sluice';

export { Account, Batch, BatchClaims, ClassificationJob, Conversation, Inbox, Pool } from 'sluice';

/** `POST /ai/webhooks/tickets`, open once the setting WEBHOOKS names it with its secret. */
const tickets = defineWebhook<{ id: string; text: string }>({
  source: 'tickets',
  verify: hmac({ header: 'x-tickets-signature' }),
  id: ({ body }) => body.id,
  text: ({ body }) => body.text,
  labels: ['billing', 'technical', 'other'],
  deliver: async ({ subject, label }, { id }) => console.log(JSON.stringify({ ticket: subject ?? id, label })),
});
const webhooks = [tickets];

// `[webhooksRoom]` in their place would be webhooks alone, with fewer bindings.
const edge = createApp({ rooms: allRooms, webhooks });

const app = new Hono<AppEnv>();

app.use(async (c, next) => {
  await next();
  c.header('x-served-by', 'own-worker');
});

app.route('/ai', edge);

app.post('/summaries', async (c) => {
  // The caller's credential is passed on: the edge verifies it, and holds and settles the cost.
  const headers = new Headers({ 'content-type': 'application/json' });
  for (const name of ['authorization', 'x-api-key']) {
    const value = c.req.header(name);
    if (value !== undefined) headers.set(name, value);
  }
  const body = JSON.stringify({
    model: 'claude-haiku-5-5',
    max_tokens: 2_048,
    system: 'Summarise the text in one sentence, in its own language.',
    messages: [{ role: 'user', content: await c.req.text() }],
  });
  const request = new Request(new URL('/v1/messages', c.req.url), { method: 'POST', headers, body });
  return await edge.fetch(request, c.env, c.executionCtx);
});

export default { fetch: app.fetch, queue: createConsumer({ webhooks }) };
