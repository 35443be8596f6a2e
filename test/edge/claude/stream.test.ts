// In workerd: the pipe is the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { SMALL_PIECE_BYTES, TEE_PIECE_BYTES } from '#edge/claude/relay/tee-reader.ts';
import { readFirstBytes, relayStream, type StreamEnding } from '#edge/claude/stream.ts';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { MINUTE_MS } from '#edge/kit/async/durations.ts';
import { IdleTimeout } from '#edge/kit/async/idle-timeout.ts';
import { encodeUtf8 } from '#edge/kit/http/bytes.ts';
import { registerSecrets } from '#edge/kit/http/secrets.ts';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { waitForCondition } from '#test/support/eventually.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { PING } from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const KEY = 'sk-ant-nobody-may-see-this-key';
const SERVICES = [
  'https://api.anthropic.com/v1/messages',
  'https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages',
  'https://aiplatform.us.rep.googleapis.com/v1/projects/p/locations/us/publishers/anthropic/models/m:streamRawPredict',
  'https://mine.services.ai.azure.com/anthropic/v1/messages',
];
const GATEWAYS = [
  '',
  'https://gateway.example.com/v1/messages',
  'https://api.anthropic.com.example.com/v1/messages',
  'https://example.com/api.anthropic.com/v1/messages',
  'http://api.anthropic.com/v1/messages',
];

/** Milliseconds between two pieces: too many for a dense stream. */
const SPARSE_MS = 5;

/** Relays a stream from an address. @returns the answer, the work behind it, and how it ended */
async function relayFrom(
  url: string,
  body: ReadableStream<Uint8Array>,
  { controller = new AbortController(), idleMs = 10_000, remark }: Course = {},
) {
  const response = new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  Object.defineProperty(response, 'url', { value: url });
  const watchdog = new IdleTimeout(controller, idleMs, idleMs, () => new Error('silent'));
  const works: Promise<unknown>[] = [];
  const endings: StreamEnding[] = [];
  const down = await relayStream(
    response,
    body,
    {
      exchange: { reportSoFar: undefined, abandon: async () => {}, finished: new Promise<void>(() => {}) },
      signal: new AbortController().signal,
      controller,
      watchdog,
      usageReaderOptions: {},
    },
    { requestId: 'req_1', waitUntil: (work) => works.push(work) },
    (_, ending) => {
      endings.push(ending);
      return remark;
    },
  );
  return { down, works, endings };
}

interface Course {
  controller?: AbortController;
  idleMs?: number;
  remark?: string | undefined;
}

const { addPiece: push } = UsageReader.prototype;

/** @returns how many bytes of the stream have been read for its usage */
function readBytes(): () => number {
  let bytes = 0;
  vi.spyOn(UsageReader.prototype, 'addPiece').mockImplementation(function (this: UsageReader, ...of) {
    bytes += of[0].length;
    return push.apply(this, of);
  });
  return () => bytes;
}

/** Relays a stream that comes slowly from an address. @returns the answer, how it ended, and what has not come yet */
async function relay(url: string, events: readonly string[], end: 'end' | 'cut' = 'end') {
  const coming = [...events];
  const { length } = encodeUtf8(events.join(''));
  const hasRead = readBytes();
  const body: ReadableStream<Uint8Array> = new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        advanceClock(SPARSE_MS);
        await yieldToEventLoop();
        const next = coming.shift();
        if (next !== undefined) return controller.enqueue(encodeUtf8(next));
        // A break comes behind the bytes: a stream made by JavaScript drops what its readers have not taken yet.
        if (end === 'cut') {
          await waitForCondition(() => hasRead() >= length);
          await yieldToEventLoop(20);
          return controller.error(new Error('connection reset'));
        }
        controller.close();
        controller.byobRequest?.respond(0);
      },
    },
    { highWaterMark: 0 },
  );
  return { ...(await relayFrom(url, body)), coming };
}

/** @returns what the caller gets of a stream that came slowly from an address, and how it ended */
async function relayed(...of: Parameters<typeof relay>) {
  const { down, works, endings } = await relay(...of);
  const text = await down.text();
  await Promise.all(works);
  return { text, endings };
}

const events = TEXT_STREAM.split(/(?<=\n\n)/);
const quoting = (key: string) =>
  `event: error\ndata: {"type":"error","error":{"type":"api_error","message":"${key}"}}\n\n`;

test.each([...SERVICES, ...GATEWAYS])('relays a slow stream unchanged from %s', async (url) => {
  const slow = [...Array<string>(8).fill(PING), ...events];
  expect(await relayed(url, slow)).toEqual({ text: slow.join(''), endings: ['complete'] });
});

test('treats a caller that stops reading a gateway’s stream as disconnected, and aborts the upstream request', async () => {
  const hasRead = readBytes();
  const body = new ReadableStream({ type: 'bytes', pull: (controller) => controller.enqueue(encodeUtf8(PING)) });
  const controller = new AbortController();
  const { down, works, endings } = await relayFrom('https://gateway.example.com/', body, { controller, idleMs: 50 });
  await Promise.all(works);
  expect(endings).toEqual(['client_gone']);
  expect(controller.signal.aborted).toBe(true);
  expect(hasRead()).toBeGreaterThan(0);
  await expect(down.text()).rejects.toThrow();
});

test('ends a service’s stream when the upstream ends it, not when a slow caller has read it', async () => {
  const [service = ''] = SERVICES;
  const slow = [...Array<string>(8).fill(PING), ...events];
  const { down, works, endings } = await relay(service, slow);
  await waitForCondition(() => endings.length > 0);
  expect(endings).toEqual(['complete']);
  expect(await down.text()).toBe(slow.join(''));
  await Promise.all(works);
});

test('stops reading from a gateway until the caller reads', async () => {
  const slow = [...Array<string>(120).fill(PING), ...events];
  const { down, works, endings, coming } = await relay('https://gateway.example.com/v1/messages', slow);
  // In fewer rounds it would have been read to its end.
  await yieldToEventLoop(200);
  expect(coming.length).toBeGreaterThan(slow.length - 30);
  expect(await down.text()).toBe(slow.join(''));
  await Promise.all(works);
  expect(endings).toEqual(['complete']);
});

test.each([...SERVICES.slice(0, 1), ...GATEWAYS.slice(0, 1)])(
  'appends an error event to an interrupted stream from %s',
  async (url) => {
    const slow = [...Array<string>(8).fill(PING), ...events.slice(0, 3), 'event: content_block_delta\ndata: {"ty'];
    const { text, endings } = await relayed(url, slow, 'cut');
    expect(endings).toEqual(['cut']);
    expect(text.startsWith(`${slow.join('')}\nevent: ping\n\nevent: error\ndata: {"type":"error"`)).toBe(true);
  },
);

test('masks the key in error events of gateways, but relays streams of known services unchanged', async () => {
  registerSecrets('test', [KEY]);
  const slow = [...Array<string>(8).fill(PING), quoting(KEY)];
  for (const url of GATEWAYS) {
    const { text, endings } = await relayed(url, slow);
    expect({ text, endings }).toEqual({ text: slow.join('').replace(KEY, '[secret]'), endings: ['error'] });
  }
  for (const url of SERVICES) expect((await relayed(url, slow)).text).toBe(slow.join(''));
});

/** @returns a stream with a text of so many bytes, which ends as the API ends it */
function streamOf(bytes: number): string {
  const [start = '', ...rest] = events;
  const comment = ': ';
  const missing = bytes - TEXT_STREAM.length - comment.length - 2;
  return [start, ...(missing < 0 ? [] : [`${comment}${'x'.repeat(missing)}\n\n`]), ...rest].join('');
}

/** Makes a body that has come whole. One that `Response` makes of bytes cannot be piped into a `TransformStream`. */
function bodyOf(text: string): ReadableStream<Uint8Array> {
  return new ReadableStream({
    type: 'bytes',
    start(controller) {
      controller.enqueue(encodeUtf8(text));
      controller.close();
    },
  });
}

test('keeps the bytes and remark of a fully buffered response while others reuse its buffer', async () => {
  const size = fc.oneof(fc.nat(2_000), fc.integer({ min: TEE_PIECE_BYTES - 60, max: TEE_PIECE_BYTES + 20 }));
  const remark = fc.option(fc.stringMatching(/^[ -~]{1,40}$/), { nil: undefined });
  const answer = fc.record({ size, remark, url: fc.constantFrom(...SERVICES.slice(0, 1), ...GATEWAYS.slice(0, 2)) });
  await tryAsyncCases(caseCount(60), fc.array(answer, { minLength: 1, maxLength: 6 }), async (answers) => {
    const relayed = [];
    for (const { size, remark, url } of answers) {
      const text = streamOf(size);
      const body = bodyOf(text);
      relayed.push({ text, remark, ...(await relayFrom(url, body, { remark })) });
    }
    for (const { text, remark, down, works, endings } of relayed.toReversed()) {
      expect(await down.text()).toBe(remark === undefined ? text : `${text}: ${remark}\n`);
      await Promise.all(works);
      expect(endings).toEqual(['complete']);
    }
  });
});

test('frees the large first buffers of streams whose objects died, after about ten minutes', async () => {
  const sizes: number[] = [];
  const reader = (dies: boolean) =>
    ({
      read: (view: Uint8Array) => {
        sizes.push(view.byteLength);
        return dies ? new Promise(() => {}) : Promise.resolve({ value: view, done: false });
      },
    }) as unknown as ReadableStreamBYOBReader;
  for (let died = 0; died < 20; died += 1) void readFirstBytes(reader(true));
  advanceClock(9 * MINUTE_MS);
  await readFirstBytes(reader(false));
  expect(sizes.at(-1)).toBe(SMALL_PIECE_BYTES);
  advanceClock(2 * MINUTE_MS);
  await readFirstBytes(reader(false));
  expect(sizes.at(-1)).toBe(TEE_PIECE_BYTES);
});

test('disconnects from an upstream that stays open and silent after a complete response', async () => {
  const controller = new AbortController();
  const body: ReadableStream<Uint8Array> = new ReadableStream({
    type: 'bytes',
    start(stream) {
      stream.enqueue(encodeUtf8(TEXT_STREAM));
      controller.signal.addEventListener('abort', () => stream.error(controller.signal.reason));
    },
  });
  const { down, works, endings } = await relayFrom('https://gateway.example.com/', body, { controller, idleMs: 20 });
  expect(await down.text()).toBe(TEXT_STREAM);
  await Promise.all(works);
  expect(endings).toEqual(['complete']);
  expect(controller.signal.aborted).toBe(true);
});
