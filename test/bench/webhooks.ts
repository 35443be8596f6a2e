/** What an event of a webhook is billed for until it is labelled. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { signGithub } from '../../scripts/sign-webhook.ts';
import { type Contender, counted } from './contenders.ts';
import { countDuring, countsOf, type NamedCounts, passHour } from './counts.ts';
import { type Bundle, type Server, startServer } from './server.ts';

const SECRET = 'the bench signs as a sender with this';
const STANDARD_SECRET = `whsec_${Buffer.from(SECRET).toString('base64')}`;
const CONCURRENCY = 8;
const COUNTED_EVENTS = 200;
const AFTERWORK_MS = 300;

const vars = {
  ...counted.vars,
  WEBHOOKS:
    '[{"source":"github","secret":"GITHUB_WEBHOOK_SECRET"},{"source":"standard","secret":"STANDARD_WEBHOOK_SECRET"}]',
  GITHUB_WEBHOOK_SECRET: SECRET,
  STANDARD_WEBHOOK_SECRET: STANDARD_SECRET,
};
const counting: Contender = { ...counted, name: 'counted webhook', vars };

interface Sent {
  path: string;
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
  return { path: '/webhooks/github', headers, body };
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
  return { path: '/webhooks/standard', headers, body };
}

async function sendAll(server: Server, from: number, count: number, make: (n: number) => Promise<Sent>): Promise<void> {
  const requests = await Promise.all(Array.from({ length: count }, (_, n) => make(from + n)));
  let next = 0;
  const sender = async () => {
    for (let request = requests[next++]; request; request = requests[next++]) {
      const { path, headers, body } = request;
      const response = await fetch(server.origin + path, { method: 'POST', headers, body });
      await response.arrayBuffer();
      if (response.status !== 202) throw new Error(`${path}: ${response.status}`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, sender));
}

/** @returns what an event is billed for until an hour later. @param source `standard`: its signature covers its id */
export async function countEvent(
  bundle: Bundle,
  upstream: string,
  source: 'github' | 'standard',
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
