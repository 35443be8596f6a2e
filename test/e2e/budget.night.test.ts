/** Holds under a thousand callers at once and a kill: `test/edge/money/account` has one process, which neither crowd nor power cut meets. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { LedgerRow, QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { type Edge, startEdge, startSimulatingEdge } from '#test/support/edge.ts';
import { MODEL, SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { type FakeUpstream, type ReceivedRequest, startUpstream, streamBytes } from '#test/support/upstream.ts';
import { messageEnd, messageStart, textBlock } from '#test/support/wire.ts';

// $1 and $5 for a million tokens; a hold adds a tenth for a geography that the workspace may have set.
const [INPUT, OUTPUT] = [1_000, 5_000];
const nano = (usd: number) => Math.round(usd * 1e9);
const ask = { model: MODEL, max_tokens: 1_000, messages: [{ role: 'user' as const, content: 'Hi' }] };
const message = (usage: object) => JSON.stringify({ ...SMALL_MESSAGE, usage });
const json = { 'content-type': 'application/json' };
const isCount = ({ path }: ReceivedRequest) => path.endsWith('/count_tokens');

let upstream: FakeUpstream;
let edge: Edge;

const settings = () => ({
  SIGNING_SECRET: SECRET,
  // What others hold is refused as soon as the line is looked at.
  HOLD_WAIT_MS: '1',
  ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
  ANTHROPIC_BASE_URL: upstream.url,
});

beforeAll(async () => {
  upstream = await startUpstream(() => {});
  edge = await startEdge(inject('deployed').code, settings());
});

afterAll(async () => {
  await edge.stop();
  await upstream.stop();
});

const client = async (account: string) => new Anthropic({ apiKey: await createToken(account), baseURL: edge.url });

async function api(path: string, init: RequestInit = {}): Promise<unknown> {
  const headers = { ...json, ...bearerHeader(await createToken('root', ['admin'])) };
  const send = () => fetch(edge.url + path, { ...init, headers });
  // Beside a thousand requests a kept connection may be closed in the moment in which it is used again. Twice is the same here.
  const response = await send().catch(send);
  expect(response.ok, `${path}: ${response.status}`).toBe(true);
  return await response.json();
}

const setLimits = async (account: string, limits: Limits) =>
  await api(`/accounts/${account}/limits`, { method: 'PUT', body: JSON.stringify(limits) });
const standing = async (account: string) => (await api(`/accounts/${account}`)) as QuotaReport;
const rows = async (account: string) =>
  ((await api(`/usage/requests?account=${account}&limit=1000`)) as { data: LedgerRow[] }).data;

/** The standing at rest: what goes on behind the answers has ended. */
async function atRest(account: string): Promise<QuotaReport> {
  await expect.poll(async () => (await standing(account)).running_requests).toBe(0);
  const rested = await standing(account);
  expect(rested.day.held_usd).toBe(0);
  return rested;
}

describe('concurrent requests of the official SDK', () => {
  test('succeed as often as the budget covers their holds, and the rest of a thousand are rejected with a time to retry', async () => {
    upstream.answer = (_, response) =>
      response.writeHead(200, json).end(message({ input_tokens: 8, output_tokens: 9 }));
    await (await client('probe')).messages.create(ask);
    await atRest('probe');
    const hold = nano((await rows('probe'))[0]?.hold_usd ?? Number.NaN);
    expect(hold).toBeGreaterThan(1_000 * OUTPUT);
    // One nanodollar less than another hold is left over.
    await setLimits('alice', { usd_per_day: (137 * hold + hold - 1) / 1e9, on_shortfall: 'refuse' });
    edge.log.length = 0;
    upstream.receivedRequests.length = 0;
    const release: (() => void)[] = [];
    upstream.answer = (received, response) => {
      response.writeHead(200, json);
      // No count makes it smaller.
      if (isCount(received)) response.end('{"input_tokens":1000000}');
      else release.push(() => response.end(message({ input_tokens: 8, output_tokens: 9 })));
    };
    // It would come back by itself.
    const alice = (await client('alice')).withOptions({ maxRetries: 0 });
    const refused: unknown[] = [];
    const asked = Promise.all(
      Array.from({ length: 1_000 }, () =>
        alice.messages.create(ask).catch((thrown: unknown) => {
          refused.push(thrown);
          return undefined;
        }),
      ),
    );
    await expect.poll(() => release.length + refused.length).toBe(1_000);
    // Whatever else went wrong would be hidden by a count.
    for (const thrown of refused) if (!(thrown instanceof Anthropic.RateLimitError)) throw thrown;
    // A request that broke off on its way up may have run: its booked cost leaves budget for one less.
    expect((await rows('alice')).filter(({ status }) => status !== 'held')).toEqual([]);
    expect(release).toHaveLength(137);
    const { day, running_requests } = await standing('alice');
    expect({ held: nano(day.held_usd), running_requests }).toEqual({ held: 137 * hold, running_requests: 137 });
    for (const answer of release) answer();
    const answered = (await asked).filter((one) => one !== undefined);
    expect(answered).toHaveLength(137);
    expect(refused).toHaveLength(863);
    for (const error of refused) {
      if (!(error instanceof Anthropic.RateLimitError)) throw error;
      expect(error.error).toMatchObject({ type: 'error', error: { type: 'rate_limit_error' } });
      const told = (name: string) => error.headers?.get(name);
      expect(told('x-should-retry')).toBeNull();
      expect(told('sluice-limited-by')).toBe('account');
      expect(told('anthropic-ratelimit-unified-status')).toBe('allowed');
      expect(told('retry-after')).toBe('2');
    }
    const rested = await atRest('alice');
    expect(nano(rested.day.settled_usd)).toBe(137 * (8 * INPUT + 9 * OUTPUT));
    const byStatus = Map.groupBy(
      edge.log.filter(({ route }) => route === '/v1/messages'),
      ({ status }) => status,
    );
    expect([...byStatus].map(([status, lines]) => [status, lines.length]).sort()).toEqual([
      [200, 137],
      [429, 863],
    ]);
    expect(upstream.receivedRequests.filter((received) => !isCount(received))).toHaveLength(137);
    // Each that did not fit was counted once at most: on a busy machine a count may come too late, and none is tried again.
    expect(upstream.receivedRequests.filter(isCount).length).toBeLessThanOrEqual(863);
  });

  test('with lowered max_tokens, repeated by twenty callers until rejected, cost at most the limit, and leave too little for another', async () => {
    const limit = 50_000_000;
    const least = 256;
    await setLimits('bob', { usd_per_day: limit / 1e9, min_output_tokens: least });
    let spent = 0;
    let seed = 7;
    upstream.answer = (received, response) => {
      response.writeHead(200, json);
      if (isCount(received)) {
        response.end('{"input_tokens":20}');
        return;
      }
      const { max_tokens } = JSON.parse(received.body.toString()) as { max_tokens: number };
      seed = (seed * 16_807) % 2_147_483_647;
      const output_tokens = 1 + (seed % max_tokens);
      spent += 20 * INPUT + output_tokens * OUTPUT;
      // As the API sends it, late enough for others to come in between.
      setTimeout(() => response.end(message({ input_tokens: 20, output_tokens })), seed % 20);
    };
    const bob = await client('bob');
    const repeat = async () => {
      for (let answers = 0; ; answers += 1) {
        try {
          await bob.messages.create({ ...ask, max_tokens: 3_000 });
        } catch (thrown) {
          if (!(thrown instanceof Anthropic.RateLimitError)) throw thrown;
          return answers;
        }
      }
    };
    const answers = await Promise.all(Array.from({ length: 20 }, repeat));
    expect(answers.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(3);
    // A refusal while others run says nothing about what they will leave: the last one asks alone.
    await atRest('bob');
    const input = (20 + 64) * INPUT * 1.1;
    // Where a busy machine has no time for the count of its prompt, it is refused by the most that this may have: it asks again.
    const leaves = async () => {
      await repeat();
      return limit - spent;
    };
    await expect.poll(leaves).toBeLessThan(input + least * OUTPUT * 1.1);
    const { day } = await atRest('bob');
    expect(nano(day.settled_usd)).toBe(spent);
    expect(spent).toBeLessThanOrEqual(limit);
    expect((await rows('bob')).every(({ over_hold, status }) => !over_hold && status === 'complete')).toBe(true);
  });
});

/** An answer of 400 tokens. */
const answerOf400 = Buffer.from(
  messageStart({ ...SMALL_MESSAGE, content: [], usage: { input_tokens: 20, output_tokens: 1 } }) +
    textBlock(['word '.repeat(400)]) +
    messageEnd({ output_tokens: 400 }),
);

test.each([
  { limits: { usd_per_hour: 0.25 }, model: 'claude-opus-5-5', max_tokens: 4_096 },
  { limits: { usd_per_day: 2 }, model: 'claude-sonnet-5-5', max_tokens: 128_000 },
  { limits: { usd_per_day: 2 }, model: 'claude-opus-5-5', max_tokens: 128_000, isShared: true },
])(
  'completes all of twenty concurrent requests, some after a wait, with at least 400 max_tokens: $model, $max_tokens tokens, $limits',
  async (given) => {
    const { limits, isShared = false, ...asked } = given;
    const own = await startEdge(inject('deployed').code, {
      ...settings(),
      HOLD_WAIT_MS: '30000',
      [isShared ? 'DEPLOYMENT_LIMITS' : 'DEFAULT_LIMITS']: JSON.stringify(limits),
    });
    try {
      const running: (() => void)[] = [];
      upstream.answer = (received, response) => {
        if (isCount(received)) response.writeHead(200, json).end('{"input_tokens":20}');
        else running.push(() => void streamBytes(response, [answerOf400], 'end'));
      };
      const one = async (_: unknown, nth: number) => {
        const apiKey = await createToken(isShared ? `shared-${nth % 4}` : 'dave');
        const sdk = new Anthropic({ apiKey, baseURL: own.url, maxRetries: 0 });
        const { data, response } = await sdk.messages
          .create({ ...asked, messages: ask.messages, stream: true })
          .withResponse();
        const types: string[] = [];
        for await (const event of data) types.push(event.type);
        return { last: types.at(-1), most: Number(response.headers.get('sluice-max-tokens') ?? asked.max_tokens) };
      };
      const answers = Promise.all(Array.from({ length: 20 }, one));
      let most = 0;
      for (let ended = 0; ended < 20; ended += 1) {
        await expect.poll(() => running.length).toBeGreaterThan(0);
        most = Math.max(most, running.length);
        running.shift()?.();
      }
      const told = await answers;
      expect(new Set(told.map(({ last }) => last))).toEqual(new Set(['message_stop']));
      expect(Math.min(...told.map((answer) => answer.most))).toBeGreaterThanOrEqual(400);
      // Some had to wait: the budget does not cover all of them at once.
      expect(most).toBeLessThan(20);
    } finally {
      await own.stop();
    }
  },
);

test('a hold survives a kill of the runtime, and still counts against the limit', async () => {
  const state = await mkdtemp(join(tmpdir(), 'sluice-state-'));
  const shared = edge;
  try {
    edge = await startEdge(inject('deployed').code, settings(), state);
    const bytes = new TextEncoder().encode(TEXT_STREAM);
    upstream.answer = ({ headers }, response) => {
      if (headers['x-stage'] === 'settled') void streamBytes(response, [bytes], 'end');
      if (headers['x-stage'] !== 'stream') return;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(bytes.subarray(0, 700));
    };
    const carol = bearerHeader(await createToken('carol'));
    const post = async (stage: string) =>
      await fetch(`${edge.url}/messages`, {
        method: 'POST',
        headers: { ...json, ...carol, 'x-stage': stage },
        body: JSON.stringify(ask),
      });
    const settled = await post('settled');
    expect(await settled.text()).toContain('sluice-cost-usd');
    const { day: before } = await atRest('carol');
    upstream.receivedRequests.length = 0;
    const waiting = post('upstream').catch((thrown: unknown) => thrown);
    const streaming = await post('stream');
    await streaming.body?.getReader().read();
    await expect.poll(() => upstream.receivedRequests.length).toBe(2);
    const held = (await standing('carol')).day.held_usd;
    expect(held).toBeGreaterThan(0);
    await edge.kill();
    expect(await waiting).toBeInstanceOf(Error);
    edge = await startEdge(inject('deployed').code, settings(), state);
    const after = await standing('carol');
    expect(after.day).toEqual({ ...before, held_usd: held });
    expect(after.running_requests).toBe(2);
    const found = await rows('carol');
    expect(found.map(({ status }) => status).sort()).toEqual(['complete', 'held', 'held']);
    // What is held cannot be spent by another.
    await setLimits('carol', { usd_per_day: before.settled_usd + held, on_shortfall: 'refuse' });
    expect((await post('settled')).status).toBe(429);
  } finally {
    await edge.stop();
    edge = shared;
    await rm(state, { recursive: true, force: true });
  }
});

test.each(['claude-haiku-5-5', 'claude-opus-5-5'])(
  'a budget of one dollar a day pays for ten responses of %s to requests with a max_tokens of 128,000',
  async (model) => {
    const simulated = await startSimulatingEdge({
      SIMULATOR_TTFT_MS: '0',
      SIMULATOR_TOKENS_PER_SECOND: '0',
      DEFAULT_LIMITS: '{"usd_per_day":1}',
    });
    try {
      const anthropic = new Anthropic({ apiKey: 'any', baseURL: simulated.url });
      const lowered: number[] = [];
      for (let i = 0; i < 10; i += 1) {
        const { data, response } = await anthropic.messages
          .create({ ...ask, model, max_tokens: 128_000, stream: true })
          .withResponse();
        const types: string[] = [];
        for await (const event of data) types.push(event.type);
        expect(types.at(-1)).toBe('message_stop');
        lowered.push(Number(response.headers.get('sluice-max-tokens') ?? 128_000));
      }
      // $20 for a million tokens: 128,000 of them would cost $2.56, and as many as half a dollar buys are enough.
      if (model === 'claude-haiku-5-5') expect(new Set(lowered)).toEqual(new Set([128_000]));
      else expect(Math.min(...lowered)).toBeGreaterThan(20_000);
      const own = (await (await fetch(`${simulated.url}/accounts/dev`)).json()) as QuotaReport;
      expect(own.day.settled_usd).toBeGreaterThan(0);
      expect(own.day.settled_usd).toBeLessThan(0.1);
    } finally {
      await simulated.stop();
    }
  },
);
