import { abortAllDurableObjects } from 'cloudflare:test';
import { describe, expect, test } from 'vitest';
import { hmac } from '#edge/kit/delivery/hmac.ts';
import { createStandardWebhookHeaders } from '#edge/kit/delivery/standard-webhooks.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { defineWebhook, type Webhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import type { EventReplayReport, WebhookSourceRow } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { createWebhookWorks, getInbox, WEBHOOK_SECRET, type WebhookWorks } from '#test/support/webhooks.ts';
import { signHmac } from '../../../../scripts/sign-webhook.ts';

const SECRET = 'the secret of the shop';
const URL = 'https://hooks.example.com/labels';
const SIGNED = { header: 'x-shop-signature', algorithm: 'SHA-256', encoding: 'hex', prefix: 'sha256=' } as const;
const SHOP = {
  source: 'shop',
  secret: 'SHOP_WEBHOOK_SECRET',
  verify: { hmac: SIGNED },
  id: '/id',
  text: ['/subject', '/data/message'],
  subject: '/url',
};
const TICKET = {
  id: 'ticket-1',
  subject: 'My invoice',
  url: 'https://shop.example.com/tickets/1',
  data: { message: 'I was charged twice' },
};
const LABELS = [{ name: 'billing', description: 'charged, invoice, refund' }, { name: 'technical' }];

interface Edge extends TestApp {
  works: WebhookWorks;
}

/** An edge with these entries of WEBHOOKS, and what comes behind its queue. */
function edgeOf(entries: readonly object[], webhooks?: readonly Webhook[], delivered: Request[] = []): Edge {
  const vars = { SHOP_WEBHOOK_SECRET: SECRET, STANDARD_WEBHOOK_SECRET: WEBHOOK_SECRET };
  const settings = { ...vars, WEBHOOKS: JSON.stringify(entries) };
  const deliveryFetch = async (url: string, init: RequestInit) => {
    delivered.push(new Request(url, init));
    return new Response(null, { status: 204 });
  };
  const options = webhooks ? { webhooks } : {};
  const works = createWebhookWorks({ ...options, deliveryFetch }, settings);
  const bound = { ...works.env, MODE: '', UPSTREAM: 'anthropic' };
  return { ...createTestApp(() => Response.json({}), bound, { options }), works };
}

async function send(edge: Edge, payload: object, secret = SECRET, options: Parameters<typeof signHmac>[2] = SIGNED) {
  const body = JSON.stringify(payload);
  const headers = await signHmac(new TextEncoder().encode(body), secret, options);
  headers.set('content-type', 'application/json');
  const response = await edge.fetch('/webhooks/shop', { method: 'POST', headers: Object.fromEntries(headers), body });
  await edge.waitUntilSettled();
  return response;
}

const asAdmin = async (edge: Edge, path: string, method = 'GET', body?: object) =>
  await edge.fetch(path, {
    method,
    headers: { ...bearerHeader(await createToken('root', ['admin'])), 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });

async function storeClassifier(edge: Edge, classifier: object = { labels: LABELS }): Promise<string> {
  const stored = await asAdmin(edge, '/classifiers/tickets', 'PUT', classifier);
  return ((await stored.json()) as { version: string }).version;
}

describe('a source that only settings define', () => {
  test('verifies, classifies and delivers an event, even if an object dies in between', async () => {
    const delivered: Request[] = [];
    const edge = edgeOf([{ ...SHOP, classifier: 'tickets', deliver_url: URL }], undefined, delivered);
    const version = await storeClassifier(edge);
    const answer = await send(edge, TICKET);
    expect([answer.status, await answer.json()]).toEqual([202, { event_id: 'shop_ticket-1', status: 'accepted' }]);
    await abortAllDurableObjects();
    await edge.works.consume();
    expect(await edge.works.report('shop_ticket-1')).toMatchObject({
      state: 'delivered',
      label: 'billing',
      account: 'webhook-shop',
      subject: TICKET.url,
      text: 'My invoice\n\nI was charged twice',
      result: { classifier: version },
    });
    expect(delivered.map(({ url, headers }) => [url, headers.get('webhook-id')])).toEqual([[URL, 'shop_ticket-1']]);
    const body = (await delivered[0]?.json()) as object;
    expect(body).toMatchObject({
      type: 'webhook_event.classified',
      source: 'shop',
      label: 'billing',
      classifier: version,
    });
  });

  test.each(Object.entries(FIRST_SCHEMAS))(
    'delivers the whole object of a classifier by a schema with %s',
    async (_, { schema, property }) => {
      const delivered: Request[] = [];
      const edge = edgeOf([{ ...SHOP, classifier: 'tickets', deliver_url: URL }], undefined, delivered);
      const classifier = await storeClassifier(edge, { schema });
      await send(edge, { ...TICKET, subject: 'Billing, a high priority, now' });
      await edge.works.consume();
      const { state, label, result } = await edge.works.report('shop_ticket-1');
      const output = (result && 'output' in result && result.output) || {};
      expect([state, label]).toEqual(['delivered', output[property] ?? null]);
      expect(Object.keys(output)).toEqual(
        expect.arrayContaining(
          (schema.required as string[] | undefined) ?? Object.keys(schema.properties as JsonObject),
        ),
      );
      expect(await delivered[0]?.json()).toMatchObject({ label, classifier, output });
    },
  );

  test('rejects an event that is signed with another secret, header or form', async () => {
    const edge = edgeOf([SHOP]);
    for (const [secret, options] of [
      ['another secret of the shop', SIGNED],
      [SECRET, { ...SIGNED, header: 'x-other-signature' }],
      [SECRET, { ...SIGNED, prefix: 'sha512=' }],
      [SECRET, { ...SIGNED, algorithm: 'SHA-512' }],
      [SECRET, { ...SIGNED, encoding: 'base64' }],
    ] as const)
      expect((await send(edge, TICKET, secret, options)).status, JSON.stringify(options)).toBe(401);
    expect((await getInbox('shop').listEvents({})).data).toEqual([]);
  });

  test.each([
    ['no header', {}],
    ['another prefix', { 'x-shop-signature': 'ab'.repeat(32) }],
    ['another encoding', { 'x-shop-signature': `sha256=${btoa('x'.repeat(32))}` }],
  ])('names the expected header and its form in the error for a request with %s', async (_, headers) => {
    const answer = await edgeOf([SHOP]).fetch('/webhooks/shop', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(TICKET),
    });
    const { error } = (await answer.json()) as { error: { message: string } };
    expect([answer.status, error.message]).toEqual([
      401,
      'This request has no signature of this source in the form `x-shop-signature: sha256=…, with an SHA-256 HMAC of the body in hex`. Check the webhook’s settings at the sender.',
    ]);
  });

  test('identifies an event by its id, or by its body if it has no id', async () => {
    const edge = edgeOf([SHOP]);
    const statuses = async (payload: object) =>
      ((await (await send(edge, payload)).json()) as { status: string }).status;
    expect(await statuses(TICKET)).toBe('accepted');
    expect(await statuses({ ...TICKET, at: 'later' })).toBe('duplicate');
    for (const id of [undefined, '', null, {}]) {
      const payload = { ...TICKET, id, is: String(id) };
      expect([await statuses(payload), await statuses(payload)], String(id)).toEqual(['accepted', 'duplicate']);
    }
    expect(await statuses({ ...TICKET, id: 7 })).toBe('accepted');
    expect((await getInbox('shop').listEvents({})).data[0]?.event_id).toBe('shop_7');
  });

  test.each([
    ['no text', { id: 'a' }],
    ['blank texts', { id: 'a', subject: ' ', data: { message: '\n' } }],
    ['objects in place of texts', { id: 'a', subject: { en: 'Hi' }, data: ['message'] }],
    ['texts that are only inherited', { id: 'a', data: 'message' }],
  ])('ignores an event with %s', async (_, payload) => {
    const edge = edgeOf([{ ...SHOP, text: ['/subject', '/data/message', '/constructor/name'] }]);
    const answer = await send(edge, payload);
    expect([answer.status, await answer.json()]).toEqual([
      200,
      { status: 'ignored', reason: 'The source found no text in this event.' },
    ]);
  });

  test('uses the default labels if its entry names no classifier', async () => {
    const edge = edgeOf([SHOP]);
    await send(edge, TICKET);
    await edge.works.consume();
    const report = await edge.works.report('shop_ticket-1');
    expect([report.state, report.result]).toEqual(['classified', expect.objectContaining({ classifier: null })]);
    expect(['question', 'problem', 'request', 'other']).toContain(report.label);
  });

  test('retries later if its classifier is not stored', async () => {
    const edge = edgeOf([{ ...SHOP, classifier: 'tickets' }]);
    await send(edge, TICKET);
    await edge.works.consume();
    expect(await edge.works.report('shop_ticket-1')).toMatchObject({
      state: 'accepted',
      attempts: [{ error: { type: 'not_found_error', message: expect.stringContaining('tickets') } }],
    });
  });

  test('is rejected if the Worker’s code defines a source with that name', async () => {
    const own = defineWebhook({
      source: 'shop',
      verify: hmac(SIGNED),
      text: () => 'Hi',
      labels: ['a', 'b'],
    });
    const { message } = await readError(await send(edgeOf([SHOP], [own]), TICKET));
    expect(message).toContain('WEBHOOKS.shop.verify');
  });
});

test('a classifier in the entry of a shipped source replaces its labels', async () => {
  const edge = edgeOf([{ source: 'standard', secret: 'STANDARD_WEBHOOK_SECRET', classifier: 'tickets' }]);
  const version = await storeClassifier(edge);
  const body = JSON.stringify({ text: 'I was charged twice' });
  const headers = await createStandardWebhookHeaders(body, WEBHOOK_SECRET, 'one', Date.now());
  headers.set('content-type', 'application/json');
  const sent = { method: 'POST', headers: Object.fromEntries(headers), body };
  expect((await edge.fetch('/webhooks/standard', sent)).status).toBe(202);
  await edge.waitUntilSettled();
  await edge.works.consume();
  expect(await edge.works.report('standard_one')).toMatchObject({ label: 'billing', result: { classifier: version } });
});

describe('the list of sources', () => {
  test('contains the sources of the code and of the settings, with their classifier or agent', async () => {
    const desk = { source: 'slack', secret: 'SLACK_WEBHOOK_SECRET', agent: 'desk' };
    const edge = edgeOf([{ ...SHOP, classifier: 'tickets' }, desk]);
    const { data } = (await (await asAdmin(edge, '/webhooks')).json()) as { data: WebhookSourceRow[] };
    const row = { type: 'webhook_source', open: false, agent: null, classifier: null, undelivered_events: 0 };
    expect(data).toEqual([
      { ...row, source: 'github', secret: 'GITHUB_WEBHOOK_SECRET' },
      { ...row, source: 'slack', secret: 'SLACK_WEBHOOK_SECRET', agent: 'desk' },
      { ...row, source: 'standard', secret: 'STANDARD_WEBHOOK_SECRET', open: true },
      { ...row, source: 'stripe', secret: 'STRIPE_WEBHOOK_SECRET' },
      { ...row, source: 'shop', secret: SHOP.secret, open: true, classifier: 'tickets' },
    ]);
    expect((await edge.fetch('/webhooks', { headers: bearerHeader(await createToken('ana')) })).status).toBe(403);
  });

  test('counts undelivered events, which are listed and replayed together', async () => {
    const edge = edgeOf([{ ...SHOP, deliver_url: URL }]);
    const { clock } = edge.works;
    const ids = ['one', 'two', 'three'].map((id) => `shop_${id}`);
    for (const id of ['one', 'two', 'three', 'four']) await send(edge, { ...TICKET, id });
    const error = { type: 'api_error', message: 'The receiver answered 503.' };
    const attempt = { at: '2026-11-20T12:00:00.000Z', ms: 5, error };
    for (const [at, id] of ids.entries()) {
      const work = await getInbox('shop').leaseEvent(id, 1_000);
      if (work.kind === 'none') throw new Error(`nothing to do for ${id}`);
      const again = { state: 'again' as const, pause: 3_600_000, notBefore: null };
      await getInbox('shop').recordJobEnd(id, {
        lease: work.lease,
        attempt,
        to: at === 0 ? again : { state: 'parked' },
      });
    }
    // A job works on this one.
    await getInbox('shop').replayEvent('shop_three');
    const leased = await getInbox('shop').leaseEvent('shop_three', 1_000);
    expect(leased.kind).toBe('work');
    const listed = async () => {
      const { data } = (await (await asAdmin(edge, '/webhooks/shop/events?undelivered=true')).json()) as {
        data: { event_id: string }[];
      };
      return data.map(({ event_id }) => event_id);
    };
    const rows = (await (await asAdmin(edge, '/webhooks')).json()) as { data: WebhookSourceRow[] };
    expect(rows.data.find(({ source }) => source === 'shop')?.undelivered_events).toBe(2);
    expect(await listed()).toEqual(['shop_two', 'shop_one']);
    edge.works.queue.ids.splice(0);
    const replay = async () => {
      const answer = await asAdmin(edge, '/webhooks/shop/events/replay', 'POST');
      return [answer.status, ((await answer.json()) as EventReplayReport).scheduled];
    };
    expect(await replay()).toEqual([202, 2]);
    expect(await replay()).toEqual([202, 0]);
    expect(await listed()).toEqual([]);
    await edge.works.wakeAt('shop', clock.now);
    expect(edge.works.queue.ids.toSorted()).toEqual(['shop_one', 'shop_two']);
    await edge.works.consume();
    for (const id of ['shop_one', 'shop_two'])
      expect(await edge.works.report(id), id).toMatchObject({ state: 'delivered' });
    expect((await asAdmin(edge, '/webhooks/unknown/events/replay', 'POST')).status).toBe(404);
  });

  test('replays more events than one call of the inbox supports, each once', async () => {
    const edge = edgeOf([SHOP]);
    const inbox = getInbox('shop');
    const total = 1_005;
    const attempt = { at: '2026-11-20T12:00:00.000Z', ms: 5, error: { type: 'api_error', message: 'No.' } };
    for (let at = 0; at < total; at += 1) {
      const id = `shop_${at}`;
      await inbox.acceptEvent({ id, account: 'webhook-shop', text: 'Hi', subject: null, digest: `sha256:${at}` });
      const work = await inbox.leaseEvent(id, 1_000);
      if (work.kind === 'none') throw new Error(`nothing to do for ${id}`);
      await inbox.recordJobEnd(id, { lease: work.lease, attempt, to: { state: 'parked' } });
    }
    const answer = await asAdmin(edge, '/webhooks/shop/events/replay', 'POST');
    expect(((await answer.json()) as EventReplayReport).scheduled).toBe(total);
    expect(await inbox.countUndelivered()).toBe(0);
  });
});
