import { Webhook as Receiver } from 'standardwebhooks';
import { describe, expect, test, vi } from 'vitest';
import { parseSettings } from '#edge/config/settings.ts';
import { deliverResultOnce } from '#edge/kit/delivery/deliver.ts';
import { hmac } from '#edge/kit/delivery/hmac.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { shippedWebhooks } from '#edge/plugins/webhooks/shipped-sources.ts';
import { defineWebhook, type Webhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import { createDeliveryTarget } from '#edge/plugins/webhooks/target.ts';
import type { ClassificationDelivery } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { createClassification, WEBHOOK_SECRET } from '#test/support/webhooks.ts';

const URL = 'https://hooks.example.com/labels';
const RESULT: ClassificationDelivery = {
  type: 'webhook_event.classified',
  event_id: 'github_1',
  source: 'github',
  subject: 'Grüezi 🌍',
  received_at: '2026-11-20T12:00:00.000Z',
  ...createClassification('bug'),
};
const SET = { ...createWebhookVars('github', { deliver_url: URL }), DELIVERY_SIGNING_SECRET: WEBHOOK_SECRET };

/** Delivers as the settings say. */
async function delivering(
  vars: Record<string, string>,
  fetch: (url: string, init: RequestInit) => Promise<Response>,
  {
    webhook = shippedWebhooks.find(({ source }) => source === 'github') as Webhook,
    timeoutMs = 1_000,
    now = Date.now(),
  } = {},
) {
  const settings = parseSettings(vars);
  const target = createDeliveryTarget(webhook, settings);
  if (!target) throw new Error('no target');
  return await deliverResultOnce(RESULT, target, { env: {} as Bindings, settings, fetch, now, timeoutMs });
}

const answering = (status: number, headers: Record<string, string> = {}) =>
  vi.fn(async () => new Response(null, { status, headers }));

test('a delivery is verified by the library of Standard Webhooks, and a changed body is not', async () => {
  const sent: { url: string; init: RequestInit }[] = [];
  const taking = async (url: string, init: RequestInit) => {
    sent.push({ url, init });
    return new Response('thanks');
  };
  expect(await delivering(SET, taking)).toBeUndefined();
  const [one] = sent;
  const headers = Object.fromEntries(new Headers(one?.init.headers));
  const body = String(one?.init.body);
  expect(one).toMatchObject({ url: URL, init: { method: 'POST', redirect: 'manual' } });
  expect(headers).toMatchObject({ 'webhook-id': 'github_1', 'content-type': 'application/json' });
  expect(new Receiver(WEBHOOK_SECRET).verify(body, headers)).toEqual(RESULT);
  expect(() => new Receiver(WEBHOOK_SECRET).verify(body.replace('bug', 'bag'), headers)).toThrow();
  expect(JSON.stringify(sent)).not.toContain(WEBHOOK_SECRET.slice(6));
});

test('a retried delivery has the same webhook-id and a new timestamp', async () => {
  const seen: Headers[] = [];
  const taking = async (_: string, init: RequestInit) => {
    seen.push(new Headers(init.headers));
    return new Response(null, { status: 503 });
  };
  await delivering(SET, taking, { now: 1_800_000_000_000 });
  await delivering(SET, taking, { now: 1_800_000_060_000 });
  expect(seen.map((headers) => headers.get('webhook-id'))).toEqual(['github_1', 'github_1']);
  expect(seen.map((headers) => headers.get('webhook-timestamp'))).toEqual(['1800000000', '1800000060']);
});

describe('the response of a receiver', () => {
  test.each([200, 201, 204, 299])('confirms the delivery with status %i', async (status) => {
    expect(await delivering(SET, answering(status))).toBeUndefined();
  });

  test.each([301, 302, 307, 308, 400, 404, 500, 503])(
    'fails the delivery with status %i, and a redirect is not followed',
    async (status) => {
      const fetch = answering(status, { location: 'https://elsewhere.example.com/' });
      expect(await delivering(SET, fetch)).toMatchObject({ type: 'api_error', status });
      expect(fetch).toHaveBeenCalledOnce();
    },
  );

  test('sets the time of the next attempt with retry-after, and ends all attempts with 410', async () => {
    expect(await delivering(SET, answering(503, { 'retry-after': '120' }))).toMatchObject({ retryAfter: 120_000 });
    expect(await delivering(SET, answering(503, { 'retry-after': '99999999' }))).toMatchObject({
      retryAfter: 86_400_000,
    });
    expect(await delivering(SET, answering(503, { 'retry-after': 'soon' }))).not.toHaveProperty('retryAfter');
    expect(await delivering(SET, answering(410))).toMatchObject({ final: true, status: 410 });
  });

  test('is described in errors by the receiver’s host, without the URL', async () => {
    const silent = (_: string, { signal }: RequestInit) =>
      new Promise<Response>((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    expect(await delivering(SET, silent, { timeoutMs: 30 })).toMatchObject({ type: 'timeout_error' });
    const absent = async () => {
      throw new TypeError(`connect ECONNREFUSED ${URL}?token=secret`);
    };
    const failure = await delivering(SET, absent);
    const host = 'hooks.example.com';
    expect(failure).toEqual({ type: 'api_error', message: `The receiver ${host} could not be reached.` });
    expect((await delivering(SET, answering(503)))?.message).toBe(`The receiver ${host} answered 503.`);
  });
});

describe('a delivery is not sent', () => {
  const mine = defineWebhook({
    source: 'mine',
    verify: hmac({ header: 'x' }),
    text: () => 'x',
    labels: ['a'],
    deliver: 'https://other.example.com/x',
  });

  test('to a host that is neither in the setting nor in DELIVER_HOSTS', async () => {
    const fetch = answering(204);
    const refused = await delivering({ DELIVERY_SIGNING_SECRET: WEBHOOK_SECRET }, fetch, { webhook: mine });
    expect(refused?.message).toContain('DELIVER_HOSTS');
    expect(fetch).not.toHaveBeenCalled();
    const hosts = { DELIVERY_SIGNING_SECRET: WEBHOOK_SECRET, DELIVER_HOSTS: 'a.example.com, other.example.com' };
    expect(await delivering(hosts, fetch, { webhook: mine })).toBeUndefined();
  });

  test('to a private address, even if DELIVER_HOSTS contains it', async () => {
    const fetch = answering(204);
    const webhook = { ...mine, deliver: 'https://169.254.169.254/latest' };
    const vars = { DELIVERY_SIGNING_SECRET: WEBHOOK_SECRET, DELIVER_HOSTS: '169.254.169.254' };
    expect((await delivering(vars, fetch, { webhook }))?.message).toContain('private');
    expect(fetch).not.toHaveBeenCalled();
  });

  test('without DELIVERY_SIGNING_SECRET', async () => {
    const fetch = answering(204);
    const refused = await delivering({ DELIVER_HOSTS: 'other.example.com' }, fetch, { webhook: mine });
    expect(refused?.message).toContain('DELIVERY_SIGNING_SECRET');
    expect(fetch).not.toHaveBeenCalled();
  });
});
