import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** Sends long bodies, in a process of its own: what it holds must not slow down who samples. */

export interface UploadOrder {
  origin: string;
  path: string;
  method: string;
  headers: Record<string, string>;
  /** What stands near the end of each whole answer. One without it has status 0. */
  saysLast?: string;
  /** What the requests carry besides, each the next of these. */
  inTurn?: readonly Record<string, string>[];
  body: BodyOrder;
  /** So many at once. */
  requests: number;
  /** Whether each answer is held open once it has begun, until the process ends. */
  holds: boolean;
  /** Whether each is a turn, in a conversation of its own. */
  isTurn?: boolean;
}

/**
 * A Messages body, or a prefix, of about so many bytes, whose text has one character that is not Latin.
 */
type BodyOrder =
  | { kind: 'message' | 'prefix'; bytes: number }
  /** A run with one tool. Each is in a conversation of its own. */
  | { kind: 'run'; tool: string };

export interface Uploaded {
  /** Of each request's first answer. */
  first: number[];
  /** Of its last one, which follows the 503s that say when to come again. */
  last: number[];
}

const MOST_TRIES = 60;
/** Characters of the end of an answer in which its last text stands. */
const LAST_CHARACTERS = 4_000;

const sentence = 'Summarise what the gate keeper wrote down about the water level today. ';

function bodyOf(order: BodyOrder): Buffer {
  if (order.kind === 'run') {
    const tools = [
      { name: 'look_up', input_schema: { type: 'object' }, run: { url: order.tool, timeout_seconds: 300 } },
    ];
    const messages = [{ role: 'user', content: 'What is there to know?' }];
    return Buffer.from(JSON.stringify({ model: 'claude-haiku-5-5', max_tokens: 64, stream: true, tools, messages }));
  }
  const { kind, bytes } = order;
  const text = `🌊 ${sentence.repeat(Math.ceil(bytes / sentence.length))}`.slice(0, bytes);
  const model = 'claude-haiku-5-5';
  if (kind === 'prefix') return Buffer.from(JSON.stringify({ system: text, model, cache_ttl: '5m' }));
  const messages = [{ role: 'user', content: text }];
  return Buffer.from(JSON.stringify({ model, max_tokens: 64, stream: true, messages }));
}

/** @returns the status of the answer, and after how many milliseconds to come again */
function send(order: UploadOrder, body: Buffer, n: number): Promise<{ status: number; retryAfterMs: number }> {
  return new Promise((resolve, reject) => {
    const { origin, path, method, headers, inTurn = [], saysLast = '' } = order;
    const { hostname, port } = new URL(origin);
    const length = String(body.length);
    const all = {
      'content-type': 'application/json',
      'content-length': length,
      ...headers,
      ...inTurn[n % inTurn.length],
    };
    if (order.body.kind === 'run' || order.isTurn) Object.assign(all, { 'sluice-conversation': `run-${n}` });
    const outgoing = request({ host: hostname, port, method, path, agent: false, headers: all }, (response) => {
      const status = response.statusCode ?? 0;
      const told = { status, retryAfterMs: Number(response.headers['retry-after'] ?? 1) * 1000 };
      if (order.holds && status === 200) {
        response.once('data', () => {
          response.pause();
          resolve(told);
        });
        return;
      }
      let last = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        last = (last + text).slice(-LAST_CHARACTERS);
      });
      response.once('end', () => resolve(last.includes(saysLast) || status !== 200 ? told : { ...told, status: 0 }));
      response.once('error', reject);
    });
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}

async function run(order: UploadOrder): Promise<Uploaded> {
  const body = bodyOf(order.body);
  const sendUntilTaken = async (n: number): Promise<[number, number]> => {
    let answer = await send(order, body, n);
    const first = answer.status;
    for (let tries = 1; answer.status === 503 && tries < MOST_TRIES; tries += 1) {
      await sleep(answer.retryAfterMs);
      answer = await send(order, body, n);
    }
    return [first, answer.status];
  };
  const statuses = await Promise.all(Array.from({ length: order.requests }, (_, n) => sendUntilTaken(n)));
  return { first: statuses.map(([first]) => first), last: statuses.map(([, last]) => last) };
}

process.on('message', (order: UploadOrder) => {
  run(order).then(
    (result) => process.send?.({ result }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.once('disconnect', () => process.exit());
