/** The official SDKs where a stream is cut: `test/edge/claude/stream.test.ts` reads without them. */
import type { ServerResponse } from 'node:http';
import AnthropicCurrent from '@anthropic-ai/sdk';
import AnthropicOld from 'anthropic-sdk-0';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '#test/support/upstream.ts';

let upstream: FakeUpstream;
let edge: Edge;
const bytes = new TextEncoder().encode(TEXT_STREAM);
const toolBytes = new TextEncoder().encode(TOOL_STREAM);

/** Asks for the next event, where a stream is sent by the event. */
let next: () => void = () => {};

beforeAll(async () => {
  // Each test names its stream, the place to cut or split it, and the end, in a header that goes up untouched.
  upstream = await startUpstream((request, response) => {
    const [stream, end, ...places] = String(request.headers['x-stream']).split(',');
    const source = stream === 'tool' ? toolBytes : bytes;
    if (end === 'asked') {
      void sendAsked(response);
      return;
    }
    const at = [0, ...places.map(Number)];
    const until = end === 'cut' ? [] : [source.length];
    const bounds = [...at, ...until];
    const pieces = bounds.slice(1).map((to, index) => source.subarray(bounds[index], to));
    void streamBytes(response, pieces, end === 'cut' ? 'cut' : 'end');
  });
  edge = await startEdge(inject('worker'), {
    ANTHROPIC_API_KEY: 'test-key',
    ANTHROPIC_BASE_URL: upstream.url,
  });
});

afterAll(async () => {
  await edge.stop();
  await upstream.stop();
});

/** Sends each event once it is asked for: who waits for more than one gets none. */
async function sendAsked(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.socket?.setNoDelay(true);
  for (const event of TEXT_STREAM.split(/(?<=\n\n)/)) {
    response.write(event);
    await new Promise<void>((resolve) => {
      next = resolve;
    });
  }
  response.end();
}

const JSON_TYPE = { 'content-type': 'application/json' };
const body = { model: 'claude-haiku-4-5', max_tokens: 100, messages: [{ role: 'user' as const, content: 'Hi' }] };

/** Runs one task for each number, some at once. */
async function forEach(numbers: readonly number[], task: (one: number) => Promise<void>): Promise<void> {
  const left = numbers.values();
  const worker = async () => {
    for (const one of left) await task(one);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}

const count = (length: number) => Array.from({ length }, (_, index) => index);

/**
 * Chooses where a stream is cut or split: everywhere with `PROPERTY_RUNS=100%`. By day it is one place of a hundred, and
 * each beside an event's end, where a reader changes its mind.
 *
 * @param first the first place: tests that differ in it try others
 */
function placesIn(source: Uint8Array, first: number): number[] {
  const step = Math.ceil(source.length / caseCount(source.length, 0.05));
  const text = new TextDecoder('latin1').decode(source);
  const ends = [0, ...[...text.matchAll(/\n\n/g)].map(({ index }) => index + 2), source.length];
  return count(source.length + 1).filter(
    (place) => place % step === first % step || ends.some((end) => Math.abs(place - end) <= 1),
  );
}

async function post(stream: string): Promise<Response> {
  return await fetch(`${edge.url}/messages`, {
    method: 'POST',
    headers: { ...JSON_TYPE, 'x-stream': stream, 'sluice-stream-cost': 'true' },
    body: JSON.stringify(body),
  });
}

test.each([
  ['text', bytes, 0],
  ['tool', toolBytes, 1],
] as const)(
  'a %s stream that arrives split at any byte is forwarded unchanged, with the same usage',
  async (name, source, first) => {
    edge.log.length = 0;
    const places = placesIn(source, first);
    await forEach(places, async (place) => {
      const response = await post(`${name},end,${place}`);
      const received = Buffer.from(await response.arrayBuffer());
      expect(received.subarray(0, source.length).equals(source), `split at ${place}`).toBe(true);
      expect(received.subarray(source.length).toString()).toMatch(/^: sluice-cost-usd=0\.\d+\n$/);
    });
    await expect.poll(() => edge.log.length).toBe(places.length);
    const told = new Set(edge.log.map(({ tokens, cost_usd }) => JSON.stringify({ tokens, cost_usd })));
    expect([...told]).toHaveLength(1);
    expect(edge.log[0]).toMatchObject({ status: 200, tokens: { input: 25, cache_read: 7, cache_write: 12 } });
  },
);

const options = () => ({ apiKey: 'any', baseURL: edge.url, maxRetries: 0 });
const header = (place: number) => ({ headers: { 'x-stream': `text,cut,${place}` } });
const sdks = [
  {
    version: '1.x',
    first: 2,
    error: AnthropicCurrent.APIError,
    stream: (place: number) =>
      new AnthropicCurrent(options()).messages.create({ ...body, stream: true }, header(place)),
  },
  {
    version: '0.x',
    first: 3,
    error: AnthropicOld.APIError,
    stream: (place: number) => new AnthropicOld(options()).messages.create({ ...body, stream: true }, header(place)),
  },
];

test.each(sdks)('the official SDK $version raises a typed error wherever a stream is cut', async (sdk) => {
  const whole = TEXT_STREAM.lastIndexOf('}') + 1;
  const wholeBytes = new TextEncoder().encode(TEXT_STREAM.slice(0, whole)).length;
  await forEach(placesIn(bytes, sdk.first), async (place) => {
    let thrown: unknown;
    let last: string | undefined;
    try {
      const stream = await sdk.stream(place);
      for await (const event of stream) last = event.type;
    } catch (error) {
      thrown = error;
    }
    if (place < wholeBytes) {
      expect(thrown, `cut at ${place}`).toBeInstanceOf(sdk.error);
    } else {
      // Nothing but the empty line of the last event is missing: it is completed, and the answer is whole.
      expect(thrown, `cut at ${place}`).toBeUndefined();
      expect(last).toBe('message_stop');
    }
  });
});

const CUTS = caseCount(300, 0.4);

test('the edge reports a cut even if its runtime freezes now and then', async () => {
  const ids = new Set<string | null>();
  let isOver = false;
  const freezing = (async () => {
    for (let round = 0; !isOver; round += 1) {
      await edge.freeze(35 + (round % 5) * 5);
      // It must come to run at different points of its work.
      await new Promise((resolve) => setTimeout(resolve, round % 7));
    }
  })();
  try {
    await forEach(count(CUTS), async (index) => {
      const place = 200 + index;
      const response = await post(`text,cut,${place}`);
      ids.add(response.headers.get('sluice-request-id'));
      expect(await response.text(), `cut at ${place}`).toContain('event: error');
    });
  } finally {
    isOver = true;
    await freezing;
  }
  const lines = () => edge.log.filter(({ request_id }) => ids.has(String(request_id)));
  await expect.poll(() => lines().length).toBe(CUTS);
  // None of these callers has left, and none is taken for one who has.
  expect([...new Set(lines().map(({ error_type }) => error_type))]).toEqual(['upstream_cut']);
});

test.each(['', 'a-turn'])('forwards each event before the upstream sends the next: %s', async (conversation) => {
  const named = conversation === '' ? {} : { 'sluice-conversation': conversation };
  const headers = { ...JSON_TYPE, 'x-stream': 'text,asked', ...named };
  const asked = fetch(`${edge.url}/messages`, { method: 'POST', headers, body: JSON.stringify(body) });
  const events = TEXT_STREAM.match(/^event: /gm)?.length ?? 0;
  let received = '';
  for await (const piece of (await asked).body ?? []) {
    received += Buffer.from(piece).toString();
    if (/\n\n$/.test(received)) next();
  }
  expect(received.match(/^event: (?!ping)/gm)).toHaveLength(events - 1);
});

/** What the text deltas say that have come whole. */
function saidIn(stream: string): string {
  const events = stream.split('\n\n').slice(0, -1);
  const data = events.map((event) => /^data: (.*)$/m.exec(event)?.[1] ?? '{}');
  return data.map((json) => (JSON.parse(json) as { delta?: { text?: string } }).delta?.text ?? '').join('');
}

test('a turn keeps the text that arrived before its stream was cut, at any byte', async () => {
  const step = Math.ceil(bytes.length / caseCount(bytes.length / 5, 0.4));
  await forEach(count(Math.ceil(bytes.length / step)), async (index) => {
    const place = index * step;
    const pieces = [place / 3, (2 * place) / 3, place].map(Math.floor);
    const id = `cut-${place}`;
    const headers = { ...JSON_TYPE, 'x-stream': `text,cut,${pieces.join()}`, 'sluice-conversation': id };
    const answer = await fetch(`${edge.url}/messages`, { method: 'POST', headers, body: JSON.stringify(body) });
    const shown = await answer.text();
    const said = saidIn(new TextDecoder().decode(bytes.subarray(0, place)));
    expect(saidIn(shown), `cut at ${place}`).toBe(said);
    const messages = await fetch(`${edge.url}/conversations/${id}/messages`);
    if (said === '') return;
    type Row = { role: string; content: { text: string }[] };
    const { data } = (await messages.json()) as { data: Row[] };
    const kept = data.find(({ role }) => role === 'assistant')?.content.map(({ text }) => text);
    expect(kept?.join(''), `cut at ${place}`).toBe(said);
  });
});
