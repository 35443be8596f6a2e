import fc from 'fast-check';
import { expect, test } from 'vitest';
import { StreamLineReader } from '#edge/kit/sse/lines.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const decoder = new TextDecoder('latin1');

/** Every line and the rest, each byte one character. */
function read(pieces: readonly Uint8Array[]): { lines: string[]; rest: string } {
  const lines: string[] = [];
  const reader = new StreamLineReader((bytes, start, end) => lines.push(decoder.decode(bytes.subarray(start, end))));
  for (const piece of pieces) reader.pushPiece(piece);
  return { lines, rest: decoder.decode(reader.unfinishedLineBytes) };
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

test('lines end at LF, CRLF or CR, however the bytes are split into pieces', () => {
  tryCases(caseCount(3_000), bytes, places, (whole, at) => {
    // What follows a carriage return at the end has not come yet: it may be the other half of a line end.
    const lines = decoder.decode(whole).split(/\r\n|\n|\r(?!$)/);
    const rest = lines.pop() ?? '';
    expect(read(split(whole, at))).toEqual({ lines, rest });
  });
});

test('a byte order mark is removed from the first line only', () => {
  const marked = new TextEncoder().encode('\uFEFFevent: a\n\uFEFFevent: b\n');
  for (let at = 0; at <= marked.length; at += 1) {
    expect(read([marked.slice(0, at), marked.slice(at)]).lines).toEqual(['event: a', '\xef\xbb\xbfevent: b']);
  }
});

test('a buffer that its owner reuses after pushPiece does not change the stored bytes', () => {
  const buffer = new Uint8Array(4);
  const lines: string[] = [];
  const reader = new StreamLineReader((at, start, end) => lines.push(decoder.decode(at.subarray(start, end))));
  for (const text of ['data', ': ab', 'cd\nx']) {
    buffer.set(new TextEncoder().encode(text));
    reader.pushPiece(buffer);
  }
  expect(lines).toEqual(['data: abcd']);
  expect(decoder.decode(reader.unfinishedLineBytes)).toBe('x');
});

test('a line above 1 MB is truncated, and the following lines are read', () => {
  const lines: string[] = [];
  const reader = new StreamLineReader((at, start, end) => lines.push(decoder.decode(at.subarray(start, end))));
  const push = (text: string) => reader.pushPiece(new TextEncoder().encode(text));
  for (const end of ['\n', '\r\n', '\r']) {
    push(`event: a${end}data: `);
    let most = 0;
    for (let pieces = 0; pieces < 80; pieces += 1) {
      push('x'.repeat(65_536));
      most = Math.max(most, reader.unfinishedLineBytes.length);
    }
    expect(most).toBeLessThan(1_200_000);
    // Where it is cut here, all see that it has not come to its end.
    expect(reader.unfinishedLineBytes.length).toBeLessThan(2_000);
    expect(decoder.decode(reader.unfinishedLineBytes)).toMatch(/^data: x+$/);
    push(`y${end}event: b${end}`);
    push('data: z\n');
    expect(lines.splice(0)).toEqual(['event: a', expect.stringMatching(/^data: x{900,1100}$/), 'event: b', 'data: z']);
  }
});
