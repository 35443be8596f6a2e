import fc from 'fast-check';
import { expect, onTestFinished, test, vi } from 'vitest';
import { readBufferedBody, readBufferedResponse } from '#edge/claude/buffered-response.ts';
import { UpstreamExchange } from '#edge/claude/exchange.ts';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';

/** A body that comes in these pieces, as a stream of bytes or as one that JavaScript made of chunks. */
function bodyOf(pieces: Uint8Array[], type: 'bytes' | undefined): ReadableStream<Uint8Array> {
  const start = (controller: ReadableStreamDefaultController<Uint8Array> | ReadableByteStreamController) => {
    // A stream of bytes takes the buffers that it is given.
    for (const piece of pieces) controller.enqueue(piece.slice());
    controller.close();
  };
  return type ? new ReadableStream({ type, start }) : new ReadableStream({ start });
}

const settings = parseSettings({ ANTHROPIC_API_KEY: 'key' });
const exchange = () => new UpstreamExchange({ upstream: getUpstreamBySettings(settings), settings });
const aPiece = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 60_000, max: 140_000 }));

test('reads a buffered response whole in any pieces, and later reads do not change it', async () => {
  await tryAsyncCases(
    60,
    fc.array(aPiece, { maxLength: 5 }),
    fc.constantFrom('bytes', undefined),
    async (lengths, type) => {
      const pieces = lengths.map((length, index) => new Uint8Array(length).fill(index + 1));
      const read = () => readBufferedBody(new Response(bodyOf(pieces, type)), exchange());
      const body = await read();
      // The next one is read into the same buffers.
      await readBufferedBody(new Response('x'.repeat(70_000)), exchange());
      expect(Buffer.compare(body, Buffer.concat(pieces))).toBe(0);
    },
  );
});

test.each([
  ['', 50, 200, true],
  ['', 51, 200, false],
  [' \n', 51, 200, false],
  ['<html>', 51, 200, true],
  ['', 51, 403, true],
])('a message body of %j after %i ms with a %i is free: %s', async (text, ms, status, isFree) => {
  vi.useFakeTimers({ toFake: ['Date'] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const call = exchange();
  Object.assign(call.progress, { sentAt: Date.now(), elapsedMs: ms, isStreamedInternally: true });
  vi.setSystemTime(Date.now() + ms);
  const reading = readBufferedResponse(new Response(text, { status }), call, 'message');
  if (isFree) expect((await reading).kind).toBe(status === 200 ? 'nothing' : 'error');
  else await expect(reading).rejects.toMatchObject({ logged: 'upstream_no_answer', end: 'cut' });
  expect([call.progress.sentAt === undefined, call.progress.isStreamedInternally]).toEqual([
    isFree,
    status !== 200 || !isFree,
  ]);
  call.closeExchange();
});

test('cuts an endless response at 16 MB and aborts its call', async () => {
  const MB = 1_048_576;
  for (const type of ['bytes', undefined] as const) {
    let sent = 0;
    const pull = (controller: ReadableStreamDefaultController<Uint8Array> | ReadableByteStreamController) => {
      sent += 1;
      controller.enqueue(new Uint8Array(MB));
    };
    const body = type ? new ReadableStream({ type, pull }) : new ReadableStream({ pull });
    const call = exchange();
    const read = readBufferedBody(new Response(body), call);
    await expect(read).rejects.toMatchObject({ type: 'api_error', end: 'cut', logged: 'upstream_cut' });
    expect(call.controller.signal.aborted).toBe(true);
    expect(sent).toBeLessThan(20);
    call.closeExchange();
  }
  expect(await readBufferedBody(new Response(new Uint8Array(16 * MB)), exchange())).toHaveLength(16 * MB);
});
