import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StreamPieceReader } from '#edge/kit/http/body/piece-reader.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';

const MEGABYTE = 1024 * 1024;

/** A stream of JavaScript's, of bytes or of chunks, that brings chunks as soon as they are asked for. */
function streamOf(chunks: readonly Uint8Array[], type?: 'bytes', end?: Error): ReadableStream<Uint8Array> {
  let at = 0;
  const source = {
    pull(controller: ReadableByteStreamController | ReadableStreamDefaultController<Uint8Array>) {
      const chunk = chunks[at];
      at += 1;
      if (chunk) return controller.enqueue(chunk.slice());
      if (end) return controller.error(end);
      controller.close();
      if ('byobRequest' in controller) controller.byobRequest?.respond(0);
    },
  };
  // The types know no source whose form is only known at run time.
  return new ReadableStream({ ...source, type } as unknown as UnderlyingSource<Uint8Array>);
}

async function readAll(reader: StreamPieceReader): Promise<number[]> {
  const bytes: number[] = [];
  for (let piece = await reader.read(); piece; piece = await reader.read()) bytes.push(...piece);
  return bytes;
}

describe.each([
  ['of bytes', 'bytes'],
  ['of chunks', undefined],
] as const)('a stream %s', (_, type) => {
  test('is read completely and in order, for any chunk sizes', async () => {
    const long = fc.constant(new Uint8Array(100_000).fill(7));
    const chunk = fc.oneof({ weight: 9, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 300 }) }, long);
    await tryAsyncCases(30, fc.array(chunk, { maxLength: 20 }), async (chunks) => {
      expect(await readAll(new StreamPieceReader(streamOf(chunks, type)))).toEqual(chunks.flatMap((one) => [...one]));
    });
  });

  test('lets other work run while it is read, if it is long', async () => {
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 0);
    const chunks = Array.from({ length: 64 }, () => new Uint8Array(MEGABYTE / 16));
    const reader = new StreamPieceReader(streamOf(chunks, type));
    let bytes = 0;
    for (let piece = await reader.read(); piece; piece = await reader.read()) bytes += piece.length;
    clearInterval(timer);
    expect(bytes).toBe(4 * MEGABYTE);
    // Otherwise none: the stream never keeps anybody waiting.
    expect(turns).toBeGreaterThan(5);
  });

  test('lets other work run while it is read, if it has many short chunks', async () => {
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 0);
    const chunks = Array.from({ length: 2_000 }, () => new Uint8Array(1));
    expect(await readAll(new StreamPieceReader(streamOf(chunks, type), { isLive: true }))).toHaveLength(chunks.length);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(50);
  });

  test('rejects the read when it fails, after the earlier chunks if it is read live', async () => {
    const cut = () => streamOf([new Uint8Array([1, 2])], type, new Error('cut'));
    const reader = new StreamPieceReader(cut(), { isLive: true });
    expect(await reader.read()).toEqual(new Uint8Array([1, 2]));
    await expect(reader.read()).rejects.toThrow('cut');
    await expect(readAll(new StreamPieceReader(cut()))).rejects.toThrow('cut');
  });
});

test('a stream that is cancelled during a read ends that read and all later ones', async () => {
  const reader = new StreamPieceReader(new ReadableStream({ type: 'bytes', pull: () => new Promise(() => {}) }));
  const read = reader.read();
  await reader.cancel();
  expect(await read).toBeUndefined();
  expect(await reader.read()).toBeUndefined();
});
