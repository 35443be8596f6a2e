import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineReader } from '../../src/sse/lines.ts';

const decoder = new TextDecoder('latin1');

/** Every line and the rest, each byte one character. */
function read(pieces: readonly Uint8Array[]): { lines: string[]; rest: string } {
  const lines: string[] = [];
  const reader = new LineReader((bytes, start, end) => lines.push(decoder.decode(bytes.subarray(start, end))));
  for (const piece of pieces) reader.push(piece);
  return { lines, rest: decoder.decode(reader.rest) };
}

/** Bytes in which line ends are frequent, and every other byte may stand. */
const bytes = fc
  .array(fc.oneof(fc.constantFrom(10, 13, 13, 10, 0, 32), fc.integer({ min: 0, max: 255 })), { maxLength: 60 })
  .map((list) => Uint8Array.from(list));

const places = fc.array(fc.nat(60), { maxLength: 12 });

function split(whole: Uint8Array, at: readonly number[]): Uint8Array[] {
  const bounds = [0, ...at.map((place) => Math.min(place, whole.length)).sort((a, b) => a - b), whole.length];
  return bounds.slice(1).map((end, index) => whole.slice(bounds[index], end));
}

test('lines end at LF or CRLF and are the same however the bytes are split, empty pieces included', () => {
  fc.assert(
    fc.property(bytes, places, (whole, at) => {
      const parts = decoder.decode(whole).split('\n');
      const rest = parts.pop() ?? '';
      const lines = parts.map((line) => line.replace(/\r$/, ''));
      expect(read(split(whole, at))).toEqual({ lines, rest });
    }),
    { numRuns: 3_000 },
  );
});

test('a piece that its owner reuses after the call does not change what is kept of it', () => {
  const buffer = new Uint8Array(4);
  const lines: string[] = [];
  const reader = new LineReader((at, start, end) => lines.push(decoder.decode(at.subarray(start, end))));
  for (const text of ['data', ': ab', 'cd\nx']) {
    buffer.set(new TextEncoder().encode(text));
    reader.push(buffer);
  }
  expect(lines).toEqual(['data: abcd']);
  expect(decoder.decode(reader.rest)).toBe('x');
});

test('a line of 14 MB in small pieces takes linear time', () => {
  const piece = new Uint8Array(100).fill(97);
  const timeFor = (length: number) => {
    let longest = 0;
    const reader = new LineReader((_, start, end) => {
      longest = Math.max(longest, end - start);
    });
    const started = performance.now();
    for (let at = 0; at < length; at += piece.length) reader.push(piece);
    reader.push(Uint8Array.of(13, 10));
    expect(longest).toBe(length);
    return performance.now() - started;
  };
  timeFor(1_400_000);
  // Quadratic, the ten times longer line would take a hundred times as long: 1 TB to copy.
  expect(timeFor(14_000_000)).toBeLessThan(3_000);
});
