import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { TurnRow } from '#edge/conversations/history/storage/rows.ts';
import type { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import { TurnRecorder } from '#edge/conversations/turn/turn-recorder.ts';
import { isObject, type JsonObject } from '#edge/kit/json/object.ts';
import { SseEventReader } from '#edge/kit/sse/frames.ts';
import { tryCases } from '#test/support/property-cases.ts';

const encoder = new TextEncoder();

/** Strings with all that JSON escapes, and the ends of a delta in the middle. */
const said = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('"}}', '\\', '"', '\u0000', '\ud800', '\n', '}', ' ', '"},"x":{"y":"'),
);
const index = fc.constantFrom(0, 1);
const delta: fc.Arbitrary<JsonObject> = fc.oneof(
  { weight: 4, arbitrary: said.map((text) => ({ type: 'text_delta', text })) },
  said.map((thinking) => ({ type: 'thinking_delta', thinking })),
  said.map((signature) => ({ type: 'signature_delta', signature })),
  said.map((partial_json) => ({ type: 'input_json_delta', partial_json })),
  said.map((citation) => ({ type: 'citations_delta', citation })),
  said.map((text) => ({ text, type: 'text_delta' })),
  fc.record({ type: fc.constant('of_the_future'), text: said, more: said }),
  fc.record({ type: fc.constant('of_the_future'), ['__proto__']: said, text: fc.oneof(said, fc.nat()) }),
);
const block = fc.constantFrom<JsonObject>(
  { type: 'text', text: '' },
  { type: 'thinking', thinking: '', signature: '' },
  { type: 'tool_use', id: 't', name: 'n', input: {} },
  { type: 'of_the_future', text: 'a' },
);
const event: fc.Arbitrary<JsonObject> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ type: fc.constant('content_block_delta'), index, delta }) },
  fc.record({ type: fc.constant('content_block_start'), index, content_block: block }),
  fc.record({ type: fc.constant('content_block_stop'), index }),
  fc.constant({ type: 'ping' }),
);
/** A block and what it says, as the API sends them. */
const saying: fc.Arbitrary<JsonObject[]> = fc
  .tuple(
    fc.constantFrom(
      [{ type: 'text', text: '' }, 'text_delta', 'text'] as const,
      [{ type: 'thinking', thinking: '' }, 'thinking_delta', 'thinking'] as const,
      [{ type: 'tool_use', id: 't', name: 'n', input: {} }, 'input_json_delta', 'partial_json'] as const,
    ),
    index,
    fc.array(said, { maxLength: 10 }),
  )
  .map(([[content_block, type, name], at, strings]) => [
    { type: 'content_block_start', index: at, content_block },
    ...strings.map((text) => ({ type: 'content_block_delta', index: at, delta: { type, [name]: text } })),
  ]);
/** How one event is written: as JSON writes it, with the API's padding, with spaces, or with a member repeated. */
const written = (data: JsonObject) => {
  const plain = JSON.stringify(data);
  const others = [plain.replace(/}$/, '   }'), plain.replace(/:/, ' : '), plain.replace(/}}$/, ',"text":"again"}}')];
  return fc.oneof({ weight: 8, arbitrary: fc.constant(plain) }, fc.constantFrom(...others));
};
/** Gives a call an id of its own: one that comes a second time is mended. */
const ofOwnId = (data: JsonObject, n: number): JsonObject => {
  const { content_block: block } = data;
  return isObject(block) && block.type === 'tool_use' ? { ...data, content_block: { ...block, id: `t${n}` } } : data;
};
const parsed = (text: string): JsonObject => {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return {};
  }
};

/** A turn whose log goes into a list. */
function aTurn(): { turn: TurnRecorder; stored: string[] } {
  const stored: string[] = [];
  const writeEvents: Transcript['log']['writeEvents'] = (_, row, __, ___, text) => {
    stored.push(text);
    return { next: row + 1 };
  };
  const row: Pick<TurnRow, 'seq' | 'id'> = { seq: 1, id: 'turn_x' };
  return {
    turn: new TurnRecorder({ log: { writeEvents }, hasRows: () => false } as unknown as Transcript, row as TurnRow, 1, {
      newMessages: 1,
    }),
    stored,
  };
}

test('a response yields the same message and the same logged events wherever its stream is split', () => {
  tryCases(
    500,
    fc
      .array(fc.oneof(saying, fc.array(event, { maxLength: 5 })), { maxLength: 6 })
      .chain((runs) =>
        fc.tuple(...runs.flat().map((data, n) => written(ofOwnId(data, n)).map((text) => ({ data, text })))),
      ),
    fc.array(fc.nat(4_000), { maxLength: 20 }),
    (events, places) => {
      const builder = new MessageBuilder();
      for (const { text } of events) builder.addEventData(parsed(text));
      const frames = events.map(({ data, text }) => `event: ${data.type}\ndata: ${text}\n\n`);
      const bytes = encoder.encode(frames.join(''));
      const cuts = [0, ...places.filter((place) => place < bytes.length).sort((a, b) => a - b), bytes.length];
      const { turn, stored } = aTurn();
      for (const [at, to] of cuts.slice(1).entries()) turn.takePiece(bytes.slice(cuts[at], to), 0);
      expect(turn.builder.blocks).toEqual(builder.blocks);
      expect(turn.builder.openBlockIndices).toEqual(builder.openBlockIndices);
      turn.log.store();
      const told = frames.map(
        (frame, number) => `id: turn_x-${number + 1}\n${new TextDecoder().decode(encoder.encode(frame))}`,
      );
      expect(stored).toEqual(frames.length === 0 ? [] : [told.join('')]);
    },
  );
});

test('a non-streaming message stays the same when it is converted to events', () => {
  const content = fc.array(
    fc.oneof(
      said.map((text) => ({ type: 'text', text })),
      fc.record({ type: fc.constant('text'), text: said, citations: fc.array(fc.record({ cited_text: said })) }),
      fc.record({ type: fc.constant('thinking'), thinking: said, signature: said }),
      said.map((data) => ({ type: 'redacted_thinking', data })),
      fc.dictionary(fc.string(), said).map((input) => ({ type: 'tool_use', id: 't', name: 'n', input })),
    ),
  );
  const message = fc.record({
    id: fc.constant('msg_1'),
    type: fc.constant('message'),
    role: fc.constant('assistant'),
    model: fc.constant('m'),
    content,
    stop_reason: fc.constantFrom('end_turn', 'tool_use'),
    stop_sequence: fc.constant(null),
    usage: fc.record({ input_tokens: fc.nat(1e8), output_tokens: fc.nat(1e8) }),
  });
  tryCases(100, message, (whole) => {
    const builder = new MessageBuilder();
    const frames = new SseEventReader().readCompletedEvents(encoder.encode(createMessageEventStream(whole)));
    for (const { data } of frames) builder.addEventData(JSON.parse(data) as JsonObject);
    expect(builder.hasStopped).toBe(true);
    // What bytes cannot say, the halves of a character, becomes the sign for that.
    const told = { ...builder.message, content: builder.blocks.map(({ value }) => value) };
    expect(told).toEqual(JSON.parse(JSON.stringify(whole)));
  });
});
