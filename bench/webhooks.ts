/** What a webhook costs: accepting it, beside the bare Worker, and what an event is billed for until it is labelled. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { signGithub } from '../scripts/sign-webhook.ts';
import { bare, type Contender, counted } from './contenders.ts';
import { countDuring, countsOf, type NamedCounts, passHour } from './counts.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, number } from './table.ts';

const SECRET = 'the bench signs as a sender with this';
const STANDARD_SECRET = `whsec_${Buffer.from(SECRET).toString('base64')}`;
const CONCURRENCY = 8;
const EVENTS = 1_000;
const COUNTED_EVENTS = 200;
const AFTERWORK_MS = 300;

const vars = {
  ...counted.vars,
  WEBHOOKS:
    '[{"source":"github","secret":"GITHUB_WEBHOOK_SECRET"},{"source":"standard","secret":"STANDARD_WEBHOOK_SECRET"}]',
  GITHUB_WEBHOOK_SECRET: SECRET,
  STANDARD_WEBHOOK_SECRET: STANDARD_SECRET,
};
const accepting: Contender = {
  ...counted,
  name: 'accepting a webhook',
  worker: { file: new URL('workers/accepting.ts', import.meta.url), configured: true },
  vars,
};
const counting: Contender = { ...counted, name: 'counted webhook', vars };

export interface WebhookFigures {
  /** CPU of accepting one, as a multiple of what the bare Worker needs for a body of the same size. */
  ratio: Spread | undefined;
  cpuMs: Spread | undefined;
  /** Of one event, from its request to its recorded label; the account's part is that of any metered request. */
  counts: NamedCounts;
}

interface Sent {
  path: string;
  status: number;
  headers: Headers;
  body: string;
}

/** A payload of the size that GitHub's have. */
async function event(n: number): Promise<Sent> {
  const body = JSON.stringify({
    action: 'opened',
    issue: {
      title: `Crash number ${n}`,
      body: 'It fails with an error. '.repeat(20),
      html_url: 'https://example.com/1',
    },
    repository: { description: 'x'.repeat(6_000) },
  });
  const headers = await signGithub(body, SECRET, 'issues', `bench-${n}`);
  headers.set('content-type', 'application/json');
  return { path: '/webhooks/github', status: 202, headers, body };
}

/** The same from a sender whose signature covers the event's id. */
async function signedEvent(n: number, now: Date): Promise<Sent> {
  const body = JSON.stringify({ type: 'message', data: { text: `Where is order ${n}? `.repeat(20) } });
  const id = `bench-${n}`;
  const headers = new Headers({
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': new Webhook(STANDARD_SECRET).sign(id, now, body),
  });
  return { path: '/webhooks/standard', status: 202, headers, body };
}

/** The same bytes through the bare Worker, to the fake upstream's shortest answer. */
async function passed(n: number): Promise<Sent> {
  const { body } = await event(n);
  return { path: '/v1/messages', status: 200, headers: new Headers({ 'x-bench': 'json' }), body };
}

async function sendAll(server: Server, from: number, count: number, make: (n: number) => Promise<Sent>): Promise<void> {
  const requests = await Promise.all(Array.from({ length: count }, (_, n) => make(from + n)));
  let next = 0;
  const sender = async () => {
    for (let request = requests[next++]; request; request = requests[next++]) {
      const { path, status, headers, body } = request;
      const response = await fetch(server.origin + path, { method: 'POST', headers, body });
      await response.arrayBuffer();
      if (response.status !== status) throw new Error(`${path}: ${response.status}`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, sender));
}

/** @returns milliseconds of CPU for one request; undefined where that cannot be read */
async function cpuOf(
  contender: Contender,
  bundle: Bundle,
  upstream: string,
  make: (n: number) => Promise<Sent>,
): Promise<number | undefined> {
  const server = await startServer(contender, bundle, upstream);
  await sendAll(server, 0, EVENTS / 2, make);
  await sleep(AFTERWORK_MS);
  const before = server.cpuMs();
  await sendAll(server, EVENTS, EVENTS, make);
  await sleep(AFTERWORK_MS);
  const after = server.cpuMs();
  await server.stop();
  return before === undefined || after === undefined ? undefined : (after - before) / EVENTS;
}

/** @returns what an event is billed for until an hour later. @param source `standard`: its signature covers its id */
export async function countEvent(
  bundle: Bundle,
  upstream: string,
  source: 'github' | 'standard' = 'github',
): Promise<NamedCounts> {
  const server = await startServer(counting, bundle, upstream);
  // The edge's clock is turned, and what was signed an hour ago is stale.
  let aheadMs = 0;
  const make = source === 'github' ? event : (n: number) => signedEvent(n, new Date(Date.now() + aheadMs));
  const sendSome = async (from: number, count: number) => {
    await sendAll(server, from, count, make);
    for (let last = await countsOf(server); ; ) {
      await sleep(AFTERWORK_MS);
      const now = await countsOf(server);
      if (now.objectCalls === last.objectCalls && now.rowsWritten === last.rowsWritten) return;
      last = now;
    }
  };
  await sendSome(0, 10);
  aheadMs += await passHour(server);
  const counts = await countDuring(
    server,
    COUNTED_EVENTS,
    () => sendSome(10, COUNTED_EVENTS),
    () => passHour(server),
  );
  await server.stop();
  return counts;
}

/** @param build builds a Worker, or has built it before */
export async function measureWebhooks(
  rounds: number,
  upstream: string,
  build: (worker: Contender['worker']) => Promise<Bundle>,
): Promise<WebhookFigures> {
  const bundles = { bare: await build(bare.worker), accepting: await build(accepting.worker) };
  const ratios: number[] = [];
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const least = await cpuOf(bare, bundles.bare, upstream, passed);
    const cpu = await cpuOf(accepting, bundles.accepting, upstream, event);
    if (least === undefined || cpu === undefined) continue;
    ratios.push(cpu / least);
    times.push(cpu);
  }
  const counts = await countEvent(await build(counting.worker), upstream);
  const known = times.length > 0;
  return { ratio: known ? spread(ratios) : undefined, cpuMs: known ? spread(times) : undefined, counts };
}

export function webhookTable({ ratio, cpuMs, counts }: WebhookFigures): string {
  const shown = (of: Spread | undefined) =>
    of === undefined ? 'n/a' : `${number(of.median)} (${number(of.min)}–${number(of.max)})`;
  return align([
    ['webhooks', 'CPU ms', 'of bare', 'object calls', 'rows written'],
    ['  accepting one', shown(cpuMs), shown(ratio), '', ''],
    ['  one event, to its label', '', '', number(counts.objectCalls), number(counts.rowsWritten)],
  ]);
}
