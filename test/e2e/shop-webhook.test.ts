/** A source that settings define, and the guide's receiver, over HTTP: `test/edge/plugins/webhooks` has no receiver of its own process, and loses no power. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Webhook as Receiver } from 'standardwebhooks';
import { expect, onTestFinished, test } from 'vitest';
import type { EventReport } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { bundleWorker } from '#test/support/bundle-worker.ts';
import { type Edge, startEdge, startSimulatingEdge } from '#test/support/edge.ts';
import { codeBlocksOf, readGuide, sectionOf } from '#test/support/guides.ts';
import { findFreePort } from '#test/support/processes.ts';
import { root } from '#test/support/root.ts';
import { SECRET } from '#test/support/tokens.ts';
import { signHmac } from '../../scripts/sign-webhook.ts';

const KEY = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const SHOP_SECRET = 'the secret of the shop';
const HMAC = { header: 'x-shop-signature', prefix: 'sha256=' };
const LABELS = [{ name: 'billing', description: 'charged, invoice, refund' }, { name: 'technical' }];

interface Delivery {
  event_id: string;
  label: string;
  classifier: string;
}

test('a shop event is classified and delivered with a signature, even if the edge is killed', async () => {
  const state = await mkdtemp(join(tmpdir(), 'sluice-shop-'));
  const delivered: Delivery[] = [];
  // The first delivery of each event is not answered: the edge is killed meanwhile.
  let isHeld = true;
  const receiver = createServer({ keepAliveTimeout: 0 }, async (request, response) => {
    let body = '';
    for await (const piece of request) body += String(piece);
    delivered.push(new Receiver(KEY).verify(body, request.headers as Record<string, string>) as Delivery);
    if (!isHeld) response.writeHead(204).end();
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const script = await bundleWorker('test/fixtures/impatient-worker.ts');
  const entry = {
    source: 'shop',
    secret: 'SHOP_WEBHOOK_SECRET',
    verify: { hmac: HMAC },
    classifier: 'tickets',
    id: '/id',
    text: ['/subject', '/data/message'],
    subject: '/url',
    deliver_url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/labels`,
  };
  const quick = { SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0', UPSTREAM: 'simulator' };
  const secrets = { SIGNING_SECRET: SECRET, SHOP_WEBHOOK_SECRET: SHOP_SECRET, DELIVERY_SIGNING_SECRET: KEY };
  const start = () => startEdge(script, { ...quick, ...secrets, WEBHOOKS: JSON.stringify([entry]) }, state);
  let edge: Edge = await start();
  onTestFinished(async () => {
    await edge.stop();
    receiver.closeAllConnections();
    receiver.close();
    await rm(state, { recursive: true, force: true });
  });
  const json = { 'content-type': 'application/json' };
  const stored = await fetch(`${edge.url}/classifiers/tickets`, {
    method: 'PUT',
    headers: json,
    body: JSON.stringify({ labels: LABELS }),
  });
  const { version } = (await stored.json()) as { version: string };
  const body = JSON.stringify({
    id: 'ticket-1',
    subject: 'My invoice',
    url: 'https://shop.example.com/tickets/1',
    data: { message: 'I was charged twice' },
  });
  const send = async () => {
    const headers = await signHmac(new TextEncoder().encode(body), SHOP_SECRET, HMAC);
    headers.set('content-type', 'application/json');
    const response = await fetch(`${edge.url}/webhooks/shop`, { method: 'POST', headers, body });
    return [response.status, await response.json()];
  };
  expect(await send()).toEqual([202, { event_id: 'shop_ticket-1', status: 'accepted' }]);
  await edge.kill();
  edge = await start();
  await expect.poll(() => delivered.length).toBeGreaterThan(0);
  await edge.kill();
  isHeld = false;
  edge = await start();
  const report = async () =>
    (await (await fetch(`${edge.url}/webhooks/shop/events/shop_ticket-1`)).json()) as EventReport;
  await expect.poll(async () => (await report()).state).toBe('delivered');
  expect(await report()).toMatchObject({ label: 'billing', account: 'webhook-shop', result: { classifier: version } });
  // It comes at least once, and always says the same.
  expect(delivered.length).toBeGreaterThanOrEqual(2);
  for (const one of delivered)
    expect(one).toMatchObject({ event_id: 'shop_ticket-1', label: 'billing', classifier: version });
  expect(await send()).toEqual([200, { event_id: 'shop_ticket-1', status: 'duplicate' }]);
});

test("the guide's receiver accepts signed deliveries, prints repeated ones once, and rejects unsigned and forged ones", async () => {
  const [code = ''] = codeBlocksOf(sectionOf(await readGuide('webhooks'), 'Delivery'), 'ts');
  const folder = await mkdtemp(join(tmpdir(), 'sluice-receiver-'));
  await writeFile(join(folder, 'receiver.mts'), code);
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  const port = String(await findFreePort());
  const url = `http://127.0.0.1:${port}/`;
  const env = { PATH: process.env.PATH, PORT: port, DELIVERY_SIGNING_SECRET: KEY };
  const receiver = spawn(process.execPath, ['receiver.mts'], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  receiver.stdout.on('data', (text) => {
    printed += String(text);
  });
  const edge = await startSimulatingEdge({
    SIMULATOR_TTFT_MS: '0',
    SHOP_WEBHOOK_SECRET: SHOP_SECRET,
    DELIVERY_SIGNING_SECRET: KEY,
    WEBHOOKS: JSON.stringify([
      {
        source: 'shop',
        secret: 'SHOP_WEBHOOK_SECRET',
        verify: { hmac: HMAC },
        id: '/id',
        text: ['/text'],
        deliver_url: url,
      },
    ]),
  });
  onTestFinished(async () => {
    await edge.stop();
    const ended = once(receiver, 'exit');
    if (receiver.kill()) await ended;
    await rm(folder, { recursive: true, force: true });
  });
  const forge = (headers: Record<string, string>) =>
    fetch(url, { method: 'POST', headers, body: '{"type":"webhook_event.classified","label":"forged"}' }).then(
      ({ status }) => status,
      () => undefined,
    );
  await expect.poll(() => forge({})).toBe(401);
  const now = String(Math.floor(Date.now() / 1_000));
  expect(await forge({ 'webhook-id': 'shop_1', 'webhook-timestamp': now, 'webhook-signature': 'v1,AAAA' })).toBe(401);

  const body = JSON.stringify({ id: '1', text: 'Why is it broken?' });
  const headers = await signHmac(new TextEncoder().encode(body), SHOP_SECRET, HMAC);
  headers.set('content-type', 'application/json');
  expect((await fetch(`${edge.url}/webhooks/shop`, { method: 'POST', headers, body })).status).toBe(202);
  const read = async () => (await (await fetch(`${edge.url}/webhooks/shop/events/shop_1`)).json()) as EventReport;
  await expect.poll(async () => (await read()).state).toBe('delivered');
  const { label, attempts } = await read();
  const replayed = await fetch(`${edge.url}/webhooks/shop/events/shop_1/replay`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  });
  expect(replayed.ok).toBe(true);
  await expect.poll(async () => (await read()).attempts.length).toBeGreaterThan(attempts.length);
  await expect.poll(async () => (await read()).state).toBe('delivered');
  expect(printed).toBe(`shop_1 webhook_event.classified ${label}\n`);
});
