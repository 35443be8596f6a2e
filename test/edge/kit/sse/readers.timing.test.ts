import { expect, test } from 'vitest';
import { SseEventReader } from '#edge/kit/sse/frames.ts';
import { StreamLineReader } from '#edge/kit/sse/lines.ts';
import { measureLeastCpu } from '#test/support/measure-least-cpu.ts';

/** What is shorter is too near to what a process does besides, such as to compile this. Quadratic, the long ones take seconds. */
const LEAST_MS = 0.1;
const encoder = new TextEncoder();

test('reading many lines in one piece does not take quadratic time, for each line ending', () => {
  const timeFor = (end: string, count: number) => {
    const piece = encoder.encode(`data: x${end}`.repeat(count));
    return measureLeastCpu(() => {
      let lines = 0;
      const reader = new StreamLineReader(() => {
        lines += 1;
      });
      reader.pushPiece(piece);
      expect(lines).toBeGreaterThanOrEqual(count - 1);
    });
  };
  // A hundred times as much: with a search to the end of the piece for each line, ten thousand times as long.
  for (const end of ['\n', '\r\n', '\r']) {
    expect(timeFor(end, 300_000)).toBeLessThan(3_000 * Math.max(LEAST_MS, timeFor(end, 3_000)));
  }
});

test('reading a line in small pieces does not take quadratic time, below and above 1 MB', () => {
  const piece = new Uint8Array(100).fill(97);
  const timeFor = (length: number) =>
    measureLeastCpu(() => {
      let longest = 0;
      const reader = new StreamLineReader((_, start, end) => {
        longest = Math.max(longest, end - start);
      });
      for (let at = 0; at < length; at += piece.length) reader.pushPiece(piece);
      reader.pushPiece(Uint8Array.of(13, 10));
      expect(longest).toBe(length > 1_048_576 ? 1_024 : length);
    });
  // A hundred times as much: quadratic, it would take ten thousand times as long.
  for (const length of [1_000_000, 14_000_000])
    expect(timeFor(length)).toBeLessThan(1_500 * Math.max(LEAST_MS, timeFor(length / 100)));
});

test.each([
  ['one line', 'x'.repeat(65_536)],
  ['many lines', `data: ${'x'.repeat(65_529)}\n`],
])('reading a long event of %s in many pieces does not take quadratic time', (_, text) => {
  const piece = encoder.encode(text);
  const timeFor = (count: number) =>
    measureLeastCpu(() => {
      const reader = new SseEventReader();
      reader.readCompletedEvents(encoder.encode('event: a\ndata: '));
      for (let i = 0; i < count; i += 1) reader.readCompletedEvents(piece);
      expect(reader.readCompletedEvents(encoder.encode('\n\n'))[0]?.data.length).toBeGreaterThan(count * 65_000);
    });
  // Ten times as much: quadratic, it would take a hundred times as long, more than half a second. The garbage of 20 MB can cost
  // some ten milliseconds by itself, and none is collected of 2 MB.
  expect(timeFor(300)).toBeLessThan(40 * Math.max(2, timeFor(30)));
});
