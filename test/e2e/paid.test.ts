import { once } from 'node:events';
import { type IncomingMessage, request as sendRequest } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { readRequestBody, startLocalServer } from '#test/support/local-server.ts';
import { findFreePort } from '#test/support/processes.ts';
import { root } from '#test/support/root.ts';
import { SECRET } from '#test/support/tokens.ts';
import { signStripe } from '../../scripts/sign-webhook.ts';
import { startTerminal } from './terminal.ts';

const STRIPE_SECRET = 'whsec_of_the_tests';
const LOGIN = { authorization: `Basic ${Buffer.from('carol:blue-moon').toString('base64')}` };

let edge: Edge;
beforeAll(async () => {
  edge = await startSimulatingEdge({ SIGNING_SECRET: SECRET });
});
afterAll(async () => await edge.stop());

/** Stripe, as far as the example knows it: it keeps what it was asked for, and sends events that it signs. */
async function startStripe() {
  const asked: URLSearchParams[] = [];
  const server = await startLocalServer(async (request, response) => {
    asked.push(new URLSearchParams(await readRequestBody(request)));
    response.writeHead(request.headers.authorization === 'Bearer sk_test_1' ? 200 : 401);
    response.end(JSON.stringify({ id: 'cs_1', url: 'https://checkout.stripe.com/c/pay/cs_1' }));
  });
  const send = async (app: string, event: object, secret = STRIPE_SECRET): Promise<number> => {
    const bytes = new TextEncoder().encode(JSON.stringify(event));
    const headers = await signStripe(bytes, secret, Date.now());
    return (await fetch(`${app}/stripe`, { method: 'POST', headers, body: bytes })).status;
  };
  return { asked, send, ...server };
}

/** Starts the example, and waits until it listens. It is stopped after the test, or by `stop`. */
async function startExample(stripeUrl: string) {
  const url = `http://localhost:${await findFreePort()}`;
  const env = {
    ...process.env,
    SLUICE_URL: edge.url,
    PORT: new URL(url).port,
    STRIPE_SECRET_KEY: 'sk_test_1',
    STRIPE_WEBHOOK_SECRET: STRIPE_SECRET,
    STRIPE_URL: stripeUrl,
  };
  const terminal = startTerminal(`"${process.execPath}" "${join(root, 'examples/paid/server.mjs')}"`, {
    cwd: root,
    env,
  });
  let ended: Promise<unknown> | undefined;
  const stop = async () => {
    if (ended === undefined) terminal.type('\u0003');
    ended ??= terminal.end();
    await ended;
  };
  onTestFinished(stop);
  await terminal.see(/Open http/);
  return { url, stop };
}

test('the paid example credits each payment once, subtracts refunds, and rejects forged events', async () => {
  const stripe = await startStripe();
  onTestFinished(() => stripe.stop());
  const { url: app } = await startExample(stripe.url);
  const left = async () => await (await fetch(app, { headers: LOGIN })).text();
  const credit = async () =>
    ((await (await fetch(`${edge.url}/accounts/carol`)).json()) as { total: { limit_usd: number } }).total.limit_usd;
  expect((await fetch(app)).status).toBe(401);
  expect(await left()).toContain('You have $0.00 left.');

  const bought = await fetch(`${app}/buy`, { method: 'POST', headers: LOGIN, redirect: 'manual' });
  expect([bought.status, bought.headers.get('location')]).toEqual([303, 'https://checkout.stripe.com/c/pay/cs_1']);
  const session = Object.fromEntries(stripe.asked[0] ?? []);
  expect(session).toMatchObject({ mode: 'payment', 'metadata[account]': 'carol', success_url: app });

  const metadata = { account: 'carol' };
  const completed = (id: string, payment_status: string) => ({
    id,
    type: 'checkout.session.completed',
    data: { object: { metadata, payment_status, amount_total: 500 } },
  });
  expect(await stripe.send(app, completed('evt_0', 'unpaid'))).toBe(200);
  expect(await stripe.send(app, completed('evt_1', 'paid'), 'whsec_of_a_thief')).toBe(400);
  expect(await credit()).toBe(0);
  for (const _ of [1, 2]) expect(await stripe.send(app, completed('evt_1', 'paid'))).toBe(200);
  expect(await credit()).toBe(5);
  expect(await left()).toContain('You have $5.00 left.');

  const refunded = (id: string, amount_refunded: number, before: number) => ({
    id,
    type: 'charge.refunded',
    data: { object: { metadata, amount_refunded }, previous_attributes: { amount_refunded: before } },
  });
  expect(await stripe.send(app, refunded('evt_2', 200, 0))).toBe(200);
  expect(await stripe.send(app, refunded('evt_3', 500, 200))).toBe(200);
  expect(await stripe.send(app, refunded('evt_3', 500, 200))).toBe(200);
  expect(await credit()).toBe(0);
  expect(await stripe.send(app, { ...completed('evt_4', 'paid'), type: 'customer.created' })).toBe(200);
  expect(await credit()).toBe(0);
});

test('the paid example keeps limits that were changed since its last start', async () => {
  const stripe = await startStripe();
  onTestFinished(() => stripe.stop());
  const putLimits = async (limits: object) =>
    await fetch(`${edge.url}/accounts/carol/limits`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(limits),
    });
  const own = async () =>
    ((await (await fetch(`${edge.url}/accounts/carol`)).json()) as { own_limits: object | null }).own_limits;
  // Without `usd_total`, the account would not be prepaid, whatever its other limits are.
  await putLimits({ requests_per_minute: 5 });
  const { stop } = await startExample(stripe.url);
  expect(await own()).toEqual({ requests_per_minute: 5, usd_total: 0 });
  await stop();
  await putLimits({ usd_total: 3, usd_per_day: 1 });
  await startExample(stripe.url);
  expect(await own()).toEqual({ usd_total: 3, usd_per_day: 1 });
});

test('the paid example rejects an event that is too long before it has arrived completely', async () => {
  const stripe = await startStripe();
  onTestFinished(() => stripe.stop());
  const { url } = await startExample(stripe.url);
  const request = sendRequest(`${url}/stripe`, { method: 'POST' });
  // The server closes the connection while the body is still being sent.
  request.on('error', () => {});
  request.write('x'.repeat(1_000_001));
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  expect(response.statusCode).toBe(413);
  request.destroy();
});
