// In workerd: the streams are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, onTestFinished, test, vi } from 'vitest';
import {
  drainReader,
  pipeStreamToLateReader,
  readTeeCopyToEnd,
  TEE_PIECE_BYTES,
} from '#edge/claude/relay/tee-reader.ts';
import { WorkPacer } from '#edge/kit/async/run-in-steps.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 400 }), { maxLength: 8 });

/** Sends each piece in its own time. */
async function* sent(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const [at, part] of parts.entries()) {
    if (at % 2 === 0) await yieldToEventLoop();
    yield part.slice();
  }
}

function streamOf(parts: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  const coming = sent(parts);
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      const { value, done } = await coming.next();
      if (value) controller.enqueue(value);
      if (!done) return;
      controller.close();
      controller.byobRequest?.respond(0);
    },
  });
}

test('a copy that is read late contains all bytes in order', async () => {
  await tryAsyncCases(60, pieces, fc.nat(4), async (parts, pauseMs) => {
    const [stream, copy] = streamOf(parts).tee();
    const { whole } = pipeStreamToLateReader(stream);
    const taken: number[] = [];
    await readTeeCopyToEnd(copy.getReader({ mode: 'byob' }), whole, pauseMs, (piece) => {
      taken.push(...piece);
      return false;
    });
    expect(taken).toEqual(parts.flatMap((part) => [...part]));
    expect(await whole).toBe(true);
  });
});

test('reports when the first byte of each piece may have arrived, without preceding silences', async () => {
  const PAUSE_MS = 30;
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  let source: ReadableByteStreamController | undefined;
  const bytes: UnderlyingByteSource = {
    type: 'bytes',
    start: (controller) => {
      source = controller;
    },
  };
  const stream = new ReadableStream(bytes);
  const taken: { byte: number; since: number; at: number }[] = [];
  let end = () => {};
  const whole = new Promise<boolean>((resolve) => {
    end = () => resolve(true);
  });
  const reading = readTeeCopyToEnd(stream.getReader({ mode: 'byob' }), whole, PAUSE_MS, (piece, _isAll, since) => {
    taken.push({ byte: piece[0] ?? 0, since, at: Date.now() });
    return false;
  });
  const cameAt: number[] = [];
  for (const pause of [0, 5, 5, 70, 5, 600]) {
    await vi.advanceTimersByTimeAsync(pause);
    source?.enqueue(Uint8Array.of(cameAt.length));
    cameAt.push(Date.now());
  }
  await vi.advanceTimersByTimeAsync(PAUSE_MS);
  expect(taken.at(-1)?.byte).toBe(cameAt.length - 1);
  source?.close();
  source?.byobRequest?.respond(0);
  end();
  await reading;
  for (const { byte, since } of taken) expect(since).toBeLessThanOrEqual(cameAt[byte] ?? 0);
  const [before, behind] = taken.slice(-2);
  expect((behind?.since ?? 0) - (before?.at ?? 0)).toBeGreaterThanOrEqual(PAUSE_MS - 1);
});

test('yields to other work after each piece of a long copy', async () => {
  const before = vi.spyOn(WorkPacer.prototype, 'waitForTurn');
  const [stream, copy] = streamOf([new Uint8Array(5 * TEE_PIECE_BYTES)]).tee();
  const { whole } = pipeStreamToLateReader(stream);
  await whole;
  let taken = 0;
  await readTeeCopyToEnd(copy.getReader({ mode: 'byob' }), whole, 0, (piece) => {
    taken += piece.length;
    return false;
  });
  expect(taken).toBe(5 * TEE_PIECE_BYTES);
  expect(before.mock.calls.length).toBeGreaterThanOrEqual(4);
});

test('stops reading when the consumer is done, and the stream still completes', async () => {
  const [stream, copy] = streamOf([new Uint8Array(3), new Uint8Array(200_000)]).tee();
  const { whole } = pipeStreamToLateReader(stream);
  const reader = copy.getReader({ mode: 'byob' });
  let pieces = 0;
  await readTeeCopyToEnd(reader, whole, 0, () => {
    pieces += 1;
    return true;
  });
  expect(pieces).toBe(1);
  await reader.cancel();
  expect(await whole).toBe(true);
});

test('drainReader returns whether the stream ended cleanly', async () => {
  for (const breaks of [false, true]) {
    const { readable, writable } = new IdentityTransformStream();
    const drained = drainReader(readable.getReader({ mode: 'byob' }));
    const writer = writable.getWriter();
    await writer.write(new Uint8Array(100_000));
    await (breaks ? writer.abort(new Error('broken')) : writer.close());
    expect(await drained).toBe(!breaks);
  }
});
