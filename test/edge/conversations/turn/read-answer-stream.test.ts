import { expect, test } from 'vitest';
import { TEE_PIECE_BYTES, takePooledBuffer } from '#edge/claude/relay/tee-reader.ts';
import { readFirstMeaningfulEvent } from '#edge/conversations/turn/read-answer-stream.ts';
import { TurnAborter } from '#edge/conversations/turn/turn-abort.ts';
import type { TurnTimer } from '#edge/conversations/turn/turn-timer.ts';
import { decoder, encoder } from '#edge/kit/http/bytes.ts';

const timer = { restartTimeLimit: () => {} } as TurnTimer;

function streamOf(pieces: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  const left = [...pieces];
  return new ReadableStream({
    type: 'bytes',
    pull: (controller) => {
      const piece = left.shift();
      if (piece) controller.enqueue(piece.slice());
      else controller.close();
    },
  });
}

async function readFirst(pieces: readonly string[], opening?: string) {
  const read = await readFirstMeaningfulEvent(streamOf(pieces.map((piece) => encoder.encode(piece))), {
    opening: opening === undefined ? undefined : encoder.encode(opening),
    timer,
    abort: new TurnAborter(),
  });
  return { first: read.first, text: read.opening && decoder.decode(read.opening), opening: read.opening };
}

const PING = 'event: ping\ndata: {"type":"ping"}\n\n';
const DELTA = 'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n';
const createStart = (id: string) => `event: message_start\ndata: {"type":"message_start","id":"${id}"}\n\n`;

test('finds the first event that is not a ping, and returns all bytes that it has read', async () => {
  const { first, text } = await readFirst([PING, createStart('a') + DELTA, DELTA], PING);
  expect(first).toMatchObject({ event: 'message_start', data: '{"type":"message_start","id":"a"}' });
  expect(text).toBe(PING + PING + createStart('a') + DELTA);
});

test('reads a first event that is much longer than usual, with characters of several bytes', async () => {
  const long = createStart('é€😀'.repeat(1_000));
  const { first, text } = await readFirst([`${PING}${long}${DELTA.repeat(100)}`]);
  expect(first?.event).toBe('message_start');
  expect(JSON.parse(first?.data ?? '')).toMatchObject({ id: 'é€😀'.repeat(1_000) });
  expect(text).toBe(`${PING}${long}${DELTA.repeat(100)}`);
});

test('does not copy a long piece, and does not reuse its buffer', async () => {
  const { text, opening } = await readFirst([createStart('a') + DELTA.repeat(200)]);
  expect(text).toBe(createStart('a') + DELTA.repeat(200));
  expect(opening?.buffer.byteLength).toBe(TEE_PIECE_BYTES);
  expect(takePooledBuffer()).not.toBe(opening?.buffer);
});
