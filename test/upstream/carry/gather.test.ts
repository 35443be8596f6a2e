// In workerd: the streams are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { joinedPieces } from '../../../src/http/body-pieces.ts';
import { gather, type PieceSink, probeDensity } from '../../../src/upstream/carry/gather.ts';
import { runs, tryAsyncCases } from '../../support/runs.ts';

const HELD_MS = 8;

/** A piece of a stream, and the milliseconds before it. */
interface TimedPiece {
  bytes: Uint8Array;
  afterMs: number;
}

const timed: fc.Arbitrary<TimedPiece> = fc.record({
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 300 }),
    fc.integer({ min: 1_000, max: 90_000 }).map((size) => Uint8Array.from({ length: size }, (_, at) => at % 251)),
  ),
  afterMs: fc.constantFrom(0, 0, 0, 0, 1, 3, 9, 12),
});

/** How long a break waits behind the last bytes: a stream made by JavaScript that errors drops what nobody has read. */
const BREAK_MS = 60;

/** Pulls each piece from a generator when it is wanted. */
function streamOf(coming: AsyncGenerator<Uint8Array>, onCancel = () => {}): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      type: 'bytes',
      async pull(controller) {
        try {
          const { value, done } = await coming.next();
          if (value) controller.enqueue(value);
          if (!done) return;
          controller.close();
          controller.byobRequest?.respond(0);
        } catch (thrown) {
          await scheduler.wait(BREAK_MS);
          controller.error(thrown);
        }
      },
      cancel: onCancel,
    },
    { highWaterMark: 0 },
  );
}

function sent(pieces: readonly TimedPiece[], breaks = false): ReadableStream<Uint8Array> {
  async function* coming(): AsyncGenerator<Uint8Array> {
    for (const { bytes, afterMs } of pieces) {
      if (afterMs > 0) await scheduler.wait(afterMs);
      yield bytes.slice();
    }
    if (breaks) throw new Error('broken');
  }
  return streamOf(coming());
}

/** A sink that keeps all that comes. */
function keeping(takesMs = 0) {
  const kept: Uint8Array[] = [];
  const waits: boolean[] = [];
  const sink: PieceSink = {
    async take(piece) {
      const bytes = piece.slice();
      kept.push(bytes);
      if (takesMs > 0) await scheduler.wait(takesMs);
      // The buffer is this one's until now.
      expect(isSame(piece, bytes)).toBe(true);
    },
    onWait: (waiting) => waits.push(waiting),
  };
  return { sink, kept, waits, all: () => joinedPieces(kept) };
}

/** Gathers a stream, and reads what it leaves to the native pipe. */
async function carried(stream: ReadableStream<Uint8Array>, sink: PieceSink): Promise<'ended' | 'left' | 'sparse'> {
  const gathered = await gather(stream, sink);
  if (typeof gathered === 'string') return gathered;
  for await (const piece of gathered.sparse) await sink.take(piece);
  return 'sparse';
}

const bytesOf = (pieces: readonly TimedPiece[]) => joinedPieces(pieces.map(({ bytes }) => bytes));

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

test('however a stream comes, its very bytes go down in their order, and none but they', async () => {
  await tryAsyncCases(
    runs(100),
    fc.array(timed, { maxLength: 30 }),
    fc.constantFrom(0, 0, 4, 20),
    async (pieces, takesMs) => {
      const { sink, all, waits } = keeping(takesMs);
      expect(await carried(sent(pieces), sink)).not.toBe('left');
      expect(isSame(all(), bytesOf(pieces))).toBe(true);
      // Each wait for the sink has come to its end.
      expect(waits).toEqual(waits.map((_, at) => at % 2 === 0));
      expect(waits.length % 2).toBe(0);
    },
  );
});

test('what a stream broke with comes behind every byte before it, those that were held too', async () => {
  await tryAsyncCases(runs(60), fc.array(timed, { maxLength: 20 }), async (pieces) => {
    const { sink, all } = keeping();
    await expect(carried(sent(pieces, true), sink)).rejects.toThrow('broken');
    expect(isSame(all(), bytesOf(pieces))).toBe(true);
  });
});

const MOST_TRIES = 40;

/** @returns the least of several tries: a busy machine delays most of them, a reader that holds too long all. */
async function least(enough: number, measure: () => Promise<number>): Promise<number> {
  let measured = Number.POSITIVE_INFINITY;
  for (let at = 0; at < MOST_TRIES && measured > enough; at += 1) measured = Math.min(measured, await measure());
  return measured;
}

/** Sends pieces at certain times, each saying when it was sent. @returns how long each was on its way, in milliseconds */
async function delays(afterMs: readonly number[]): Promise<number[]> {
  const sentAt: number[] = [];
  const arrivedAt: number[] = [];
  async function* coming(): AsyncGenerator<Uint8Array> {
    for (const ms of afterMs) {
      if (ms > 0) await scheduler.wait(ms);
      sentAt.push(Date.now());
      yield new Uint8Array(1);
    }
  }
  await carried(streamOf(coming()), {
    async take(piece) {
      for (const _ of piece) arrivedAt.push(Date.now());
    },
    onWait() {},
  });
  expect(arrivedAt).toHaveLength(afterMs.length);
  return arrivedAt.map((at, index) => at - (sentAt[index] ?? 0));
}

test('the first piece goes down at once, and so does each that comes after a pause', async () => {
  const pauses = [20, 25, 30, 25, 40, 25, 30];
  expect(await least(4, async () => Math.max(...(await delays(pauses))))).toBeLessThanOrEqual(4);
});

test('no piece is held longer than it may be', async () => {
  const dense = Array.from({ length: 40 }, (_, at) => (at % 3 === 0 ? 1 : 0));
  const most = HELD_MS + 6;
  expect(await least(most, async () => Math.max(...(await delays(dense))))).toBeLessThanOrEqual(most);
});

test('what comes densely goes down in few pieces', async () => {
  const { sink, kept } = keeping();
  const pieces = Array.from({ length: 400 }, (_, at) => ({
    bytes: new Uint8Array(130).fill(at % 256),
    afterMs: at % 20 === 0 ? 1 : 0,
  }));
  expect(await carried(sent(pieces), sink)).toBe('ended');
  expect(kept.length).toBeLessThan(100);
});

test('what comes slowly is left to the native pipe', async () => {
  const { sink, all } = keeping();
  const pieces = Array.from({ length: 8 }, () => ({ bytes: new Uint8Array(130), afterMs: 12 }));
  expect(await carried(sent(pieces), sink)).toBe('sparse');
  expect(all()).toHaveLength(8 * 130);
});

test('where nobody takes what comes, the upstream is not read on, until somebody does', async () => {
  const PIECES = 100;
  let wanted = 0;
  async function* coming(): AsyncGenerator<Uint8Array> {
    for (; wanted < PIECES; wanted += 1) yield new Uint8Array(10_000);
  }
  let taken = 0;
  const waits: boolean[] = [];
  let takeOn: () => void = () => {};
  const stopped = new Promise<void>((resolve) => {
    takeOn = resolve;
  });
  const carrying = carried(streamOf(coming()), {
    take: async (piece) => {
      await stopped;
      taken += piece.length;
    },
    onWait: (waiting) => waits.push(waiting),
  });
  await scheduler.wait(100);
  const before = wanted;
  expect(before).toBeLessThan(30);
  expect(waits).toEqual([true]);
  await scheduler.wait(100);
  expect(wanted).toBe(before);
  takeOn();
  expect(await carrying).toBe('ended');
  expect(taken).toBe(PIECES * 10_000);
});

test('when nobody takes it any more, the stream is cancelled', async () => {
  async function* coming(): AsyncGenerator<Uint8Array> {
    for (;;) {
      await scheduler.wait(1);
      yield new Uint8Array(2_000);
    }
  }
  let isCancelled = false;
  let taken = 0;
  const stream = streamOf(coming(), () => {
    isCancelled = true;
  });
  const sink: PieceSink = {
    take: async () => {
      taken += 1;
      if (taken > 2) throw new Error('gone');
    },
    onWait() {},
  };
  expect(await carried(stream, sink)).toBe('left');
  await expect.poll(() => isCancelled).toBe(true);
});

const repeated = (afterMs: number) => Array.from({ length: 10 }, () => afterMs);

test('the first pieces say how densely a stream comes, and each of them goes down at once', async () => {
  for (const [pauses, density] of [
    [repeated(0), 'dense'],
    [repeated(15), 'sparse'],
    // The machine did something else for a moment.
    [[0, 15, 0, 0, 20, ...repeated(0)], 'dense'],
    // Two or three come together, as at the beginning of most answers.
    [[0, 0, 0, 15, 15, 0, 15, 15, ...repeated(15)], 'sparse'],
    [[0, 0], 'ended'],
  ] as const) {
    const pieces = pauses.map((afterMs, at) => ({ bytes: Uint8Array.of(at, at), afterMs }));
    const reader = sent(pieces).getReader({ mode: 'byob' });
    const taken: number[] = [];
    const told = await probeDensity(reader, (piece) => taken.push(...piece));
    expect(told).toBe(density);
    expect(taken).toEqual([...bytesOf(pieces).slice(0, taken.length)]);
    const rest: number[] = [];
    for (;;) {
      const { value, done } = await reader.read(new Uint8Array(100));
      if (value) rest.push(...value);
      if (done) break;
    }
    expect([...taken, ...rest]).toEqual([...bytesOf(pieces)]);
  }
});
