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

test('credits each payment once, subtracts refunds, and ignores forged events', async () => {
  const stripe = await startStripe();
  const app = `http://localhost:${await findFreePort()}`;
  const env = {
    ...process.env,
    SLUICE_URL: edge.url,
    PORT: new URL(app).port,
    STRIPE_SECRET_KEY: 'sk_test_1',
    STRIPE_WEBHOOK_SECRET: STRIPE_SECRET,
    STRIPE_URL: stripe.url,
  };
  const terminal = startTerminal(`"${process.execPath}" "${join(root, 'examples/paid/server.mjs')}"`, {
    cwd: root,
    env,
  });
  onTestFinished(async () => {
    terminal.type('\u0003');
    await terminal.end();
    stripe.stop();
  });
  await terminal.see(/Open http/);
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
