import fc from 'fast-check';
import { expect, test } from 'vitest';
import { utf8 } from '../../src/http/bytes.ts';
import { readFirstEvent } from '../../src/upstream/first-event.ts';
import { bodyOf } from '../support/app.ts';

const ERROR = 'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"nö 🌍"}}\n\n';
const REST = 'event: ping\ndata: {"type":"ping"}\n\n';

/** Line ends as the event format has them, empty lines before the first event, and how long the pieces are. */
const written = fc.record({
  lineEnd: fc.constantFrom('\n', '\r\n'),
  before: fc.constantFrom('', '\n', '\n\n'),
  lengths: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
});

function piecesOf(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += pieces.at(-1)?.length ?? 0) {
    pieces.push(bytes.slice(at, at + (lengths[pieces.length % lengths.length] ?? 1)));
  }
  return pieces;
}

async function readFrom(pieces: readonly Uint8Array[], end: 'end' | 'cut') {
  const reader = bodyOf(pieces, end).getReader({ mode: 'byob' });
  const { value = new Uint8Array(0) } = await reader.read(new Uint8Array(4_096));
  let heard = 0;
  const { bytes, isOpen } = await readFirstEvent(reader, value, () => {
    heard += 1;
  });
  let text = Buffer.from(bytes).toString('latin1');
  const first = text;
  while (isOpen) {
    const { value: more, done } = await reader.read(new Uint8Array(4_096));
    if (done || !more) break;
    text += Buffer.from(more).toString('latin1');
  }
  return { first, text, isOpen, heard };
}

const latin1 = (text: string) => Buffer.from(text).toString('latin1');

test('the first event is read whole however it is split, no byte is lost, and what follows is left in the stream', async () => {
  await fc.assert(
    fc.asyncProperty(written, async ({ lineEnd, before, lengths }) => {
      const event = (before + ERROR).replaceAll('\n', lineEnd);
      const all = event + REST.repeat(50);
      const { first, text, isOpen } = await readFrom(piecesOf(utf8(all), lengths), 'end');
      expect(first.startsWith(latin1(event))).toBe(true);
      expect(first.length).toBeLessThan(latin1(event).length + 40);
      expect(isOpen).toBe(true);
      expect(text).toBe(latin1(all));
    }),
  );
});

test.each(['end', 'cut'] as const)(
  'all that came of an event without its end is kept, where the stream ends: %s',
  async (end) => {
    const pieces = piecesOf(utf8(ERROR.slice(0, -1)), [7]);
    const { first, isOpen, heard } = await readFrom(pieces, end);
    expect({ first, isOpen, heard }).toEqual({
      first: latin1(ERROR.slice(0, -1)),
      isOpen: false,
      heard: pieces.length - 1,
    });
  },
);
