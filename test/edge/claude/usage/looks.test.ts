import fc from 'fast-check';
import { expect, test } from 'vitest';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import type { ObservedPart } from '#edge/claude/usage/usage-report.ts';
import { encodeUtf8 } from '#edge/kit/http/bytes.ts';
import { tryCases } from '#test/support/property-cases.ts';
import { blockEnd, blockDelta as deltaOf, sseEvent as eventOf } from '#test/support/wire.ts';

const LOOK_MS = 200;
/** A silence within a text counts, as a whole, if it is longer than this. */
const USUAL_PAUSE_MS = 500;

interface TimedEvent {
  at: number;
  text: string;
}

const block = fc
  .constantFrom(
    { content_block: { type: 'text', text: '' }, delta: { type: 'text_delta', text: 'said' } },
    { content_block: { type: 'thinking', thinking: '' }, delta: { type: 'thinking_delta', thinking: 'thought' } },
    {
      content_block: { type: 'tool_use', name: 'a', input: {} },
      delta: { type: 'input_json_delta', partial_json: '{' },
    },
    {
      content_block: { type: 'server_tool_use', name: 'advisor', input: {} },
      delta: { type: 'input_json_delta', partial_json: '{' },
    },
  )
  .chain(({ content_block, delta }) =>
    fc
      .array(fc.constant(deltaOf(delta)), { maxLength: 3 })
      .map((deltas) => [eventOf('content_block_start', { index: 0, content_block }), ...deltas, blockEnd()]),
  );

/** Blocks, each of whose events comes some milliseconds behind the one before. */
const answers = fc.array(block, { minLength: 1, maxLength: 6 }).chain((blocks) => {
  const texts = [eventOf('message_start', { message: { usage: { input_tokens: 1 } } }), ...blocks.flat()];
  const pause = fc.oneof(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 1_500 }));
  return fc.array(pause, { minLength: texts.length, maxLength: texts.length }).map((pauses) => {
    let at = 0;
    return texts.map((text, index): TimedEvent => {
      at += pauses[index] ?? 0;
      return { at, text };
    });
  });
});

/** @returns what was seen of an answer that was broken off then. */
function seenOf(pieces: readonly (TimedEvent & { since: number })[], leftAt: number): ObservedPart {
  const reader = new UsageReader({ sentAt: 0 });
  for (const { text, at, since } of pieces) reader.addPiece(encodeUtf8(text), false, at, since);
  const { seen } = reader.createReportAsOf(leftAt);
  if (!seen) throw new Error('nothing was seen');
  return seen;
}

/** @returns the pieces that looks at the copy of a stream bring, the last of them when the caller leaves. */
function byLooks(events: readonly TimedEvent[], phase: number, leftAt: number): (TimedEvent & { since: number })[] {
  const pieces: (TimedEvent & { since: number })[] = [];
  let read = 0;
  let since = 0;
  for (let look = phase; read < events.length; look += LOOK_MS) {
    const at = Math.min(look, leftAt);
    const later = events.findIndex((event) => event.at > at);
    const until = later < 0 ? events.length : later;
    const text = events.slice(read, until).map((event) => event.text);
    if (text.length > 0) pieces.push({ text: text.join(''), at, since });
    read = until;
    since = at;
  }
  return pieces;
}

test('periodic reads of a stream’s copy hide no time in which output may have been written', () => {
  const timings = fc.record({ part: fc.double({ min: 0, max: 1.2, noNaN: true }), phase: fc.nat(LOOK_MS) });
  tryCases(1_000, answers, timings, (events, { part, phase }) => {
    const leftAt = Math.round((events.at(-1)?.at ?? 0) * part) + 1;
    const came = events.filter(({ at }) => at <= leftAt);
    const exact = seenOf(
      came.map((event) => ({ ...event, since: event.at })),
      leftAt,
    );
    const pieces = byLooks(came, phase, leftAt);
    const seen = seenOf(pieces, leftAt);
    expect(seen.unseen_ms).toBeGreaterThanOrEqual(exact.unseen_ms);
    expect(seen.silent_ms).toBeGreaterThanOrEqual(exact.silent_ms);
    // Nor does it make much more of it: each look leaves open what came before it for one pause.
    expect(seen.unseen_ms).toBeLessThanOrEqual(Math.min(leftAt, exact.unseen_ms + 2 * LOOK_MS * pieces.length));
    // A silence just below the usual pause is nothing, and all of it once a look has made it longer.
    expect(seen.silent_ms).toBeLessThanOrEqual(Math.max(exact.silent_ms, USUAL_PAUSE_MS) + LOOK_MS);
  });
});
