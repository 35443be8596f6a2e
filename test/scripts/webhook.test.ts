import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { hmac } from '#edge/kit/delivery/hmac.ts';
import type { SignatureScheme } from '#edge/kit/delivery/signature.ts';
import { verifyStandard } from '#edge/kit/delivery/standard-webhooks.ts';
import { SHIPPED_SOURCES } from '#edge/plugins/webhooks/shipped-sources.ts';
import { verifyGithub, verifySlack, verifyStripe } from '#edge/plugins/webhooks/sources/signatures.ts';
import { runScript } from '#test/support/run-script.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

interface Received {
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

let server: Server;
let url: string;
let received: Received[] = [];
/** What the edge says of its event before it has ended. */
let before: { state: string; attempts: object[] }[] = [];

/** An edge that accepts everything, and has labelled it at once. */
beforeAll(async () => {
  server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const path = request.url ?? '';
    const isPost = request.method === 'POST';
    if (isPost) received.push({ path, headers: request.headers, body: Buffer.concat(pieces) });
    response.writeHead(isPost ? 202 : 200, { 'content-type': 'application/json' });
    const ended = { state: 'classified', label: 'bug', subject: null, attempts: [{}] };
    const event = isPost ? ended : { ...ended, ...before.shift() };
    response.end(JSON.stringify(isPost ? { event_id: 'github_1', status: 'accepted' } : event));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

async function run(args: string[], more: Record<string, string> = {}) {
  received = [];
  const secrets = SHIPPED_SOURCES.map((name) => [`${name.toUpperCase()}_WEBHOOK_SECRET`, SECRET]);
  const env = { ...Object.fromEntries(secrets), SLUICE_URL: url, ...more };
  return await runScript(fileURLToPath(new URL('../../scripts/webhook.ts', import.meta.url)), args, env);
}

describe('npm run webhook', () => {
  const senders: [string, string, SignatureScheme][] = [
    ['github', 'issue.json', verifyGithub],
    ['stripe', 'dispute.json', verifyStripe],
    ['slack', 'message.json', verifySlack],
    ['standard', 'message.json', verifyStandard],
  ];
  test.each(senders)('signs %s %s as its sender does, and prints the response', async (source, file, verify) => {
    const { status, stdout, stderr } = await run([source, file]);
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout.split('\n')).toEqual([
      '202 {"event_id":"github_1","status":"accepted"}',
      '{"state":"classified","label":"bug","subject":null}',
      '',
    ]);
    const [one] = received;
    expect(one?.path).toBe(`/webhooks/${source}`);
    const headers = new Headers(one?.headers as Record<string, string>);
    expect(headers.get('content-type')).toBe('application/json');
    const request = { headers, bytes: new Uint8Array(one?.body ?? []), now: Date.now() };
    expect(await verify.verify(request, [SECRET])).toBe('valid');
  });

  test('signs a sample of a custom source after setting the given id at the configured JSON pointer', async () => {
    const sample = join(await mkdtemp(join(tmpdir(), 'sluice-sample-')), 'sample.json');
    onTestFinished(() => rm(dirname(sample), { recursive: true }));
    await writeFile(sample, JSON.stringify({ ticket: { id: 1, text: 'Hello' } }));
    const options = { header: 'x-shop-signature', encoding: 'base64' as const };
    const entry = { source: 'shop', secret: 'SHOP_WEBHOOK_SECRET', verify: { hmac: options }, text: ['/ticket/text'] };
    const env = { SHOP_WEBHOOK_SECRET: SECRET, WEBHOOKS: JSON.stringify([{ ...entry, id: '/ticket/id' }]) };
    const { status, stderr } = await run(['shop', sample, '--id', 'mine'], env);
    expect([status, stderr]).toEqual([0, '']);
    const [one] = received;
    expect(one?.path).toBe('/webhooks/shop');
    expect(JSON.parse(String(one?.body))).toEqual({ ticket: { id: 'mine', text: 'Hello' } });
    const headers = new Headers(one?.headers as Record<string, string>);
    const request = { headers, bytes: new Uint8Array(one?.body ?? []), now: Date.now() };
    expect(await hmac(options).verify(request, [SECRET])).toBe('valid');
  });

  test('is tested for every shipped source', () => {
    expect(new Set(senders.map(([source]) => source))).toEqual(new Set(SHIPPED_SOURCES));
  });

  test('sends any file with the given id, signed with the first of several secrets', async () => {
    const file = fileURLToPath(new URL('../../examples/webhooks/stripe/refund.json', import.meta.url));
    const WEBHOOKS = '[{"source":"stripe","secret":"PAID_WEBHOOK_SECRET"}]';
    const env = { WEBHOOKS, PAID_WEBHOOK_SECRET: `${SECRET},another`, STRIPE_WEBHOOK_SECRET: 'of another deployment' };
    const { status } = await run(['stripe', file, '--id', 'evt_mine'], env);
    expect(status).toBe(0);
    expect(JSON.parse(String(received[0]?.body))).toMatchObject({ id: 'evt_mine', type: 'refund.created' });
    const headers = new Headers(received[0]?.headers as Record<string, string>);
    const request = { headers, bytes: new Uint8Array(received[0]?.body ?? []), now: Date.now() };
    expect(await verifyStripe.verify(request, [SECRET])).toBe('valid');
    // A message of Slack is known by its channel and its time.
    await run(['slack', 'message.json', '--id', 'mine']);
    expect(JSON.parse(String(received[0]?.body))).toMatchObject({ event_id: 'mine', event: { ts: 'mine' } });
  });
});

test.each([
  [[], 'Usage: npm run webhook'],
  [['gitlab', 'issue.json'], 'Usage: npm run webhook'],
  [['github', 'issue.json', '--what'], 'Usage: npm run webhook'],
  [['github', 'nothing.json'], 'samples of github: '],
])('npm run webhook explains invalid arguments and sends nothing: %s', async (args, sentence) => {
  const { status, stderr } = await run(args);
  expect(status).toBe(1);
  expect(stderr).toContain(sentence);
  expect(received).toEqual([]);
});

test('npm run webhook waits until an accepted or running event is classified', async () => {
  before = [
    { state: 'accepted', attempts: [] },
    { state: 'running', attempts: [{}] },
  ];
  const { stdout } = await run(['slack', 'message.json']);
  expect(stdout).toContain('{"state":"classified",');
  expect(before).toEqual([]);
});

test('npm run webhook suggests npm start if no server is listening', async () => {
  const { status, stderr } = await run(['github', 'issue.json'], { SLUICE_URL: 'http://127.0.0.1:9' });
  expect(status).toBe(1);
  expect(stderr).toContain('npm start');
});
