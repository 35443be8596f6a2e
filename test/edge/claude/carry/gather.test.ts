// In workerd: the streams are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { gather, type PieceSink, probeDensity } from '../../../../src/edge/claude/carry/gather.ts';
import { joinedPieces } from '../../../../src/edge/kit/http/body-pieces.ts';
import { passTime, stopClock } from '../../../support/calendar.ts';
import { untilSo } from '../../../support/eventually.ts';
import { rounds } from '../../../support/rounds.ts';
import { runs, tryAsyncCases } from '../../../support/runs.ts';

const HELD_MS = 8;

/** A piece of a stream, and the milliseconds before it, by the clock of the test: all else has as many turns meanwhile. */
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
          controller.error(thrown);
        }
      },
      cancel: onCancel,
    },
    { highWaterMark: 0 },
  );
}

/** @param untilRead breaks it in the end: a stream made by JavaScript that errors drops what nobody has read */
function sent(pieces: readonly TimedPiece[], untilRead?: () => Promise<void>): ReadableStream<Uint8Array> {
  async function* coming(): AsyncGenerator<Uint8Array> {
    for (const { bytes, afterMs } of pieces) {
      passTime(afterMs);
      await rounds(afterMs);
      yield bytes.slice();
    }
    if (!untilRead) return;
    await untilRead();
    throw new Error('broken');
  }
  return streamOf(coming());
}

/** A sink that keeps all that comes. */
function keeping(takesRounds = 0) {
  const kept: Uint8Array[] = [];
  const waits: boolean[] = [];
  const sink: PieceSink = {
    async take(piece) {
      const bytes = piece.slice();
      kept.push(bytes);
      await rounds(takesRounds);
      // The buffer is this one's until now.
      expect(isSame(piece, bytes)).toBe(true);
    },
    onWait: (waiting) => waits.push(waiting),
    onLeft: async () => {},
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
    async (pieces, takesRounds) => {
      const { sink, all, waits } = keeping(takesRounds);
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
    const { length } = bytesOf(pieces);
    const untilRead = () => untilSo(() => all().length >= length);
    await expect(carried(sent(pieces, untilRead), sink)).rejects.toThrow('broken');
    expect(isSame(all(), bytesOf(pieces))).toBe(true);
  });
});

/** Has each pause of a gathering last until the test ends it. */
function pausesByHand() {
  const { setTimeout } = globalThis;
  const asked: number[] = [];
  let end = () => {};
  const byHand = (run: () => void, ms = 0) => {
    // A round of the loop is no pause.
    if (ms === 0) return setTimeout(run, 0);
    asked.push(ms);
    end = run;
    return 0;
  };
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(byHand as never);
  return { asked, end: () => end() };
}

/** A stream whose pieces of a byte each the test sends. */
function byHand() {
  let waiting = 0;
  let isOver = false;
  let wake = () => {};
  async function* coming(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (waiting > 0) {
        waiting -= 1;
        yield new Uint8Array(1);
      } else if (isOver) return;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  }
  const taken: number[] = [];
  const sink: PieceSink = { take: async (piece) => void taken.push(piece.length), onWait() {}, onLeft: async () => {} };
  return {
    taken,
    carrying: carried(streamOf(coming()), sink),
    send: (pieces = 1) => {
      waiting += pieces;
      wake();
    },
    end: () => {
      isOver = true;
      wake();
    },
  };
}

test('the first piece goes down at once, and so does each that comes after a pause', async () => {
  const pauses = pausesByHand();
  const stream = byHand();
  for (let pieces = 1; pieces <= 7; pieces += 1) {
    stream.send();
    // No pause has ended meanwhile.
    await untilSo(() => stream.taken.length === pieces);
    pauses.end();
  }
  stream.end();
  expect(await stream.carrying).toBe('sparse');
});

test('no piece is held longer than it may be, and those that are go down together', async () => {
  const pauses = pausesByHand();
  const stream = byHand();
  stream.send();
  await untilSo(() => stream.taken.length >= 1);
  stream.send(2);
  await rounds(10);
  expect(stream.taken).toEqual([1]);
  pauses.end();
  await untilSo(() => stream.taken.length >= 2);
  expect(stream.taken).toEqual([1, 2]);
  stream.end();
  expect(await stream.carrying).toBe('ended');
  expect(Math.max(...pauses.asked)).toBeLessThanOrEqual(HELD_MS);
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
  const { sink, all, kept } = keeping();
  async function* coming(): AsyncGenerator<Uint8Array> {
    for (let pieces = 0; pieces < 8; pieces += 1) {
      await untilSo(() => kept.length === pieces);
      yield new Uint8Array(130);
    }
  }
  expect(await carried(streamOf(coming()), sink)).toBe('sparse');
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
    onLeft: async () => {},
  });
  await untilSo(() => waits.length > 0);
  // In fewer rounds it would have been read to its end.
  await rounds(50);
  const before = wanted;
  expect(before).toBeLessThan(30);
  expect(waits).toEqual([true]);
  await rounds(100);
  expect(wanted).toBe(before);
  takeOn();
  expect(await carrying).toBe('ended');
  expect(taken).toBe(PIECES * 10_000);
});

test('when nobody takes it any more, the stream is cancelled', async () => {
  async function* coming(): AsyncGenerator<Uint8Array> {
    for (;;) {
      await rounds();
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
    onLeft: async () => {},
  };
  expect(await carried(stream, sink)).toBe('left');
  await expect.poll(() => isCancelled).toBe(true);
});

const repeated = (afterMs: number) => Array.from({ length: 10 }, () => afterMs);

test('the first pieces say how densely a stream comes, and each of them goes down at once', async () => {
  stopClock();
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
