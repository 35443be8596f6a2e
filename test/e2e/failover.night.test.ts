/** Failover with sockets that refuse, hang and reset: `test/edge/claude/failover.test.ts` has answers, and no connections. */
import type { ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { computeCost } from '#edge/claude/pricing/cost.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { type FakeUpstream, type ReceivedRequest, startUpstream } from '#test/support/upstream.ts';
import { blockEnd, messageEnd, messageStart as startOf, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';

const MODEL = 'claude-haiku-5-5';
const row = MODELS.find(({ id }) => id === MODEL);
const FIRST_BYTE_MS = 2_500;
/** What a well upstream takes for its first byte. */
const ANSWER_MS = 40;
const CALLERS = 50;
const USAGE = { input_tokens: 40, output_tokens: 20 };

/** How an upstream is, for a while. */
type Mood = 'well' | 'refuses' | 'hangs' | 'resets' | 'resets after headers' | 'limits' | 'overloaded' | 'slow';
const SICK: readonly Mood[] = ['refuses', 'hangs', 'resets', 'resets after headers', 'limits', 'overloaded', 'slow'];

/** One of three stand-ins for the Claude API, each with a price of its own. */
interface Place {
  name: string;
  key: string;
  factor: number;
  mood: Mood;
  server: FakeUpstream;
}

const FACTORS: Record<string, number> = { first: 1, second: 1.1, third: 2 };
let places: Place[] = [];
let edge: Edge;

/** What each upstream bills, by the id of its request, in nanodollars; and whether it has told so. */
const bills = new Map<string, { nanodollars: number; isTold: boolean }>();
let served = 0;

const priceOf = (usage: typeof USAGE, factor: number) => {
  if (!row) throw new Error('No such model.');
  return computeCost(usage, row) * factor;
};

const opening = (text: string) =>
  startOf({ model: MODEL, usage: { ...USAGE, output_tokens: 1 } }) + TEXT_BLOCK_START + textDelta(text);

const ending = blockEnd() + messageEnd({ output_tokens: 20 });

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function answer(place: Place, { body, headers }: ReceivedRequest, response: ServerResponse): Promise<void> {
  expect(headers['x-api-key']).toBe(place.key);
  const { messages, stream } = JSON.parse(body.toString()) as { messages: { content: string }[]; stream?: boolean };
  const text = messages[0]?.content ?? '';
  served += 1;
  const id = `req_${place.name}_${served}`;
  const { mood } = place;
  const bill = (usage: typeof USAGE, isTold = false) =>
    bills.set(id, { nanodollars: priceOf(usage, place.factor), isTold });
  const refuse = (status: number, type: string, more: Record<string, string> = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', 'request-id': id, ...more });
    response.end(JSON.stringify({ type: 'error', error: { type, message: 'Not now.' } }));
  };
  if (mood === 'refuses') return void response.socket?.destroy();
  if (mood === 'limits') return refuse(429, 'rate_limit_error', { 'retry-after': '30' });
  if (mood === 'overloaded') return refuse(529, 'overloaded_error');
  await wait(mood === 'well' ? ANSWER_MS : 100);
  if (mood !== 'well') {
    // It has read the prompt, and has begun to write.
    bill({ ...USAGE, output_tokens: 2 });
    if (mood === 'slow') await wait(2 * FIRST_BYTE_MS);
    if (mood === 'hangs') return;
    if (mood === 'resets') return void response.socket?.destroy();
  }
  if (response.destroyed) return;
  response.writeHead(200, {
    'content-type': stream ? 'text/event-stream' : 'application/json',
    'request-id': id,
  });
  response.flushHeaders();
  if (mood === 'resets after headers') {
    await wait(10);
    response.socket?.destroy();
    return;
  }
  bill(USAGE, true);
  if (!stream) {
    const content = [{ type: 'text', text: `re: ${text}` }];
    const message = { id: 'msg_1', type: 'message', role: 'assistant', model: MODEL, content, stop_reason: 'end_turn' };
    response.end(JSON.stringify({ ...message, usage: USAGE }));
    return;
  }
  response.write(opening(`re: ${text}`));
  await wait(5);
  response.end(ending);
}

beforeAll(async () => {
  places = await Promise.all(
    Object.entries(FACTORS).map(async ([name, factor]) => {
      const place = { name, factor, key: `key-of-${name}`, mood: 'well' as const };
      const server = await startUpstream((received, response) => {
        const own = places.find((one) => one.name === name);
        if (own) void answer(own, received, response);
      });
      return { ...place, server };
    }),
  );
});

/** Starts an edge with the upstreams. What it knows of them begins anew. */
async function start(): Promise<Edge> {
  const upstreams = places.map(({ name, factor, server }) => ({
    name,
    kind: 'anthropic',
    base_url: server.url,
    price_factor: factor,
    first_byte_ms: FIRST_BYTE_MS,
  }));
  return await startEdge(inject('worker'), {
    SIGNING_SECRET: SECRET,
    UPSTREAMS: JSON.stringify(upstreams),
    ...Object.fromEntries(places.map(({ name, key }) => [`UPSTREAM_${name.toUpperCase()}_KEY`, key])),
  });
}

beforeEach(async () => {
  edge = await start();
});

afterEach(() => edge.stop());

afterAll(async () => {
  for (const { server } of places) await server.stop();
});

let asked = 0;
/** How often a whole answer is asked for. */
const MOST_ASKED = 5;

/** Asks once, and reads the whole answer. @returns what came */
async function ask(
  path: string,
  streams: boolean,
  as?: string,
): Promise<{ status: number; text: string; said: string }> {
  asked += 1;
  const said = `question ${asked}`;
  const body = JSON.stringify({
    model: MODEL,
    max_tokens: 4_096,
    stream: streams,
    messages: [{ role: 'user', content: said }],
    ...(path.endsWith('#') ? { conversation: `c${asked}` } : {}),
  });
  const headers = {
    'content-type': 'application/json',
    ...(as === undefined ? {} : bearerHeader(await createToken(as))),
  };
  for (let left = MOST_ASKED; ; left -= 1) {
    const response = await fetch(edge.url + path.replace('#', ''), { method: 'POST', headers, body });
    const text = await response.text();
    const { status } = response;
    // A whole answer that may have run is asked for again by the caller, as an SDK does it.
    if (streams || status < 500 || left === 1) return { status, text, said };
    await wait(20);
  }
}

/** Lets fifty callers ask one after the other, together so many times. */
async function askAll(
  count: number,
  path = '/v1/messages',
  streams = true,
  of?: string,
): Promise<Awaited<ReturnType<typeof ask>>[]> {
  const answers: Awaited<ReturnType<typeof ask>>[] = [];
  let left = count;
  await Promise.all(
    Array.from({ length: CALLERS }, async (_, caller) => {
      while (left > 0) {
        left -= 1;
        answers.push(await ask(path, streams, of && `${of}-${caller}`));
      }
    }),
  );
  return answers;
}

function expectAnswered(answers: Awaited<ReturnType<typeof ask>>[]): void {
  const failed = answers.filter(({ status, text, said }) => status !== 200 || !text.includes(`re: ${said}"`));
  expect(failed.slice(0, 3)).toEqual([]);
  // One answer, from its beginning to its end, and nothing of another.
  const times = (text: string, part: string) => text.split(part).length - 1;
  const mixed = answers.filter(({ text, said }) => {
    const streamed = text.includes('event: ')
      ? [times(text, 'event: message_start'), times(text, 'event: error')]
      : [1, 0];
    return JSON.stringify([times(text, `re: ${said}"`), ...streamed]) !== '[1,1,0]';
  });
  expect(mixed.slice(0, 3)).toEqual([]);
}

interface Row {
  request_id: string;
  upstream: string | null;
  upstream_request_id: string | null;
  status: string;
  cost_usd: number;
  hold_usd: number;
  estimated: boolean;
}

async function ledger(): Promise<Row[]> {
  const rows: Row[] = [];
  let after = '';
  for (;;) {
    const response = await fetch(`${edge.url}/usage/requests?limit=1000${after}`);
    const page = (await response.json()) as { data: Row[]; has_more: boolean; last_id: string };
    rows.push(...page.data);
    if (!page.has_more) return rows;
    after = `&after_id=${page.last_id}`;
  }
}

test('fifty concurrent callers each get one complete, fully paid response while two of three upstreams fail', async () => {
  // A fixed row of moods: each upstream is in turn the only one that is well, beside every pair of the others.
  let turn = 0;
  for (const well of places) {
    for (const mood of SICK) {
      turn += 1;
      const streams = turn % 4 !== 0;
      for (const [index, place] of places.entries()) {
        const sick = SICK[(turn * (index + 1) + SICK.indexOf(mood)) % SICK.length] ?? mood;
        // A whole answer may take as long as it takes: nobody can tell it from one that hangs.
        place.mood = place === well ? 'well' : sick === 'hangs' && !streams ? 'resets' : sick;
      }
      const path = ['/v1/messages', '/messages', '/v1/messages#'][turn % 3] ?? '';
      expectAnswered(await askAll(CALLERS, path, streams));
    }
  }
  for (const place of places) place.mood = 'well';
  await expect.poll(async () => (await ledger()).filter(({ status }) => status === 'held').length).toBe(0);
  const rows = await ledger();
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const billed = sum([...bills.values()].map(({ nanodollars }) => nanodollars));
  const booked = sum(rows.map(({ cost_usd }) => cost_usd)) * 1e9;
  const held = sum(rows.map(({ hold_usd }) => hold_usd)) * 1e9;
  expect(billed).toBeLessThanOrEqual(booked + rows.length);
  expect(booked).toBeLessThanOrEqual(held);
  // No answer was begun for a caller and not ended; what broke before it began is told only of whole answers.
  expect([...new Set(rows.map(({ status }) => status))].toSorted()).toEqual(['complete', 'retried']);
  const told = rows.filter(({ status }) => status === 'complete');
  expect(told.length).toBe(asked);
  for (const { upstream, upstream_request_id, cost_usd, estimated } of told) {
    const bill = bills.get(upstream_request_id ?? '');
    expect(upstream_request_id).toContain(`req_${upstream}_`);
    // A table's prices have three decimals, also after a factor: up to half a nanodollar a token is rounded up.
    expect([estimated, bill?.isTold]).toEqual([false, true]);
    expect(cost_usd * 1e9).toBeGreaterThanOrEqual((bill?.nanodollars ?? Number.NaN) - 1e-3);
    expect(cost_usd * 1e9).toBeLessThanOrEqual((bill?.nanodollars ?? Number.NaN) + 60);
  }
  const usage = (await (await fetch(`${edge.url}/usage?group_by=upstream&account=dev`)).json()) as {
    data: { key: string }[];
  };
  expect(new Set(usage.data.map(({ key }) => key))).toEqual(new Set(Object.keys(FACTORS)));
});

const ROUNDS = 4;
/** At night more. */
const CALLS = caseCount(10, 2.5);

test('an open breaker keeps 99 of 100 requests from its upstream', async () => {
  const [first] = places;
  if (!first) throw new Error('No upstream.');
  for (const mood of ['hangs', 'overloaded'] as const) {
    first.mood = mood;
    expectAnswered(await askAll(CALLERS * 2, '/v1/messages', true, mood));
    let least = Number.POSITIVE_INFINITY;
    // One request now and then finds out whether it is well again: on a busy machine a round has time for more of them. A
    // breaker that does not open has each request ask.
    for (let round = 0; round < ROUNDS && least > 0.01; round += 1) {
      const before = first.server.receivedRequests.length;
      expectAnswered(await askAll(CALLERS * CALLS, '/v1/messages', true, mood));
      least = Math.min(least, (first.server.receivedRequests.length - before) / (CALLERS * CALLS));
    }
    expect(least).toBeLessThanOrEqual(0.01);
    // It comes back: whoever has no cache anywhere asks the first one first.
    first.mood = 'well';
    let nth = 0;
    await expect
      .poll(async () => {
        nth += 1;
        await ask('/v1/messages', true, `${mood}-again-${nth}`);
        const health = (await (await fetch(`${edge.url}/health?upstreams`)).json()) as {
          upstreams: { models: { state: string }[] }[];
        };
        return health.upstreams[0]?.models.every(({ state }) => state === 'closed');
      })
      .toBe(true);
  }
});
