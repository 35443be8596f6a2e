/** What an event of a webhook is billed for until it is labelled. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { type Contender, counted } from './contenders.ts';
import { type Counts, countDuring, countsOf, passHour } from './counts.ts';
import { type Server, startServer } from './server.ts';

const SECRET = 'the bench signs as a sender with this';
const STANDARD_SECRET = `whsec_${Buffer.from(SECRET).toString('base64')}`;
const CONCURRENCY = 8;
const COUNTED_EVENTS = 200;
const AFTERWORK_MS = 300;

const vars = {
  ...counted.vars,
  WEBHOOKS: '[{"source":"standard","secret":"STANDARD_WEBHOOK_SECRET"}]',
  STANDARD_WEBHOOK_SECRET: STANDARD_SECRET,
};
const counting: Contender = { ...counted, name: 'counted webhook', vars };

interface Sent {
  path: string;
  headers: Headers;
  body: string;
}

/** An event of a sender whose signature covers its id. */
function signedEvent(n: number, now: Date): Sent {
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

async function sendAll(server: Server, from: number, count: number, make: (n: number) => Sent): Promise<void> {
  const requests = Array.from({ length: count }, (_, n) => make(from + n));
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

/** @returns what an event is billed for until an hour later */
export async function countEvent(script: string, upstream: string): Promise<Counts> {
  const server = await startServer(counting, script, upstream);
  // The edge's clock is turned, and what was signed an hour ago is stale.
  let aheadMs = 0;
  const make = (n: number) => signedEvent(n, new Date(Date.now() + aheadMs));
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
