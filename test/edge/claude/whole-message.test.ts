import fc from 'fast-check';
import { expect, test } from 'vitest';
import { StreamedMessageJson } from '#edge/claude/whole-message.ts';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { encodeUtf8 } from '#edge/kit/http/bytes.ts';
import { parseMemberTexts, splitArrayItems } from '#edge/kit/json/edit.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { arbitraryMessageEvents, readFinalMessage } from '#test/support/arbitrary-messages.ts';
import { caseCount, tryAsyncCases, tryCases } from '#test/support/property-cases.ts';
import { sseEvents as sseOf } from '#test/support/wire.ts';

/** @returns the message of a stream that comes in pieces of these lengths, over and over */
function wholeOf(stream: string | Uint8Array, lengths: readonly number[] = [Number.MAX_SAFE_INTEGER]): string {
  const bytes = typeof stream === 'string' ? encodeUtf8(stream) : stream;
  const message = new StreamedMessageJson();
  // One buffer for all pieces, as the reader has it.
  const buffer = new Uint8Array(bytes.length);
  for (let at = 0, nth = 0; at < bytes.length; nth += 1) {
    const piece = bytes.subarray(at, at + (lengths[nth % lengths.length] ?? 1));
    buffer.set(piece);
    message.addPiece(buffer.subarray(0, piece.length));
    buffer.fill(0);
    at += piece.length;
  }
  message.endStream();
  return [...message.writeJsonParts()].join('');
}

/** Numbers that a parser would change, and strings whose escapes it would resolve. */
const number = fc.constantFrom('1.0', '-0', '1e400', '0.10', '12345678901234567890', '5E-7', '0', '42');
const string = fc.constantFrom(
  '""',
  '"a"',
  '"\\u0041\\/"',
  '"\\ud83d\\ude00"',
  '"😀 \\"x\\\\"',
  '"}}\\n\\n"',
  '"event: ping"',
);
const value: fc.Arbitrary<string> = fc.letrec<{ value: string; list: string; object: string }>((tie) => ({
  value: fc.oneof({ maxDepth: 2 }, number, string, fc.constantFrom('true', 'null'), tie('list'), tie('object')),
  list: fc.array(tie('value'), { maxLength: 3 }).map((items) => `[ ${items.join(' ,')}]`),
  object: fc
    .array(tie('value'), { maxLength: 3 })
    .map((items) => `{${items.map((one, at) => `"k${at}": ${one}`).join(',')} }`),
})).value;
const inside = string.map((text) => text.slice(1, -1));

interface Exotic {
  before: string;
  usage: [string, string];
  texts: string[];
  input: string;
  cuts: number[];
  citations: string[];
  other: string;
  odd: string;
}
const exotic: fc.Arbitrary<Exotic> = fc.record({
  before: value,
  usage: fc.tuple(number, number),
  texts: fc.array(inside, { maxLength: 5 }),
  input: fc.array(value, { maxLength: 4 }).map((items) => `{${items.map((one, at) => `"i${at}" :${one}`).join(', ')}}`),
  cuts: fc.array(fc.nat(60), { maxLength: 4 }),
  citations: fc.array(value, { maxLength: 3 }),
  other: value,
  odd: value,
});

const event = (name: string, data: string) =>
  `event: ${name}\ndata: {"type":"${name}"${data === '' ? '' : `,${data}`}}\n\n`;
const delta = (index: number, type: string, members: string, pad = '') =>
  event('content_block_delta', `"index":${index},"delta":{"type":"${type}",${members}}${pad}`);

/** The same message as a stream, and whole. */
function bothForms({ before, usage, texts, input, cuts, citations, other, odd }: Exotic): {
  stream: string;
  whole: string;
} {
  const places = [0, ...cuts.map((cut) => cut % (input.length + 1)), input.length].toSorted((a, b) => a - b);
  const inputs = places.slice(1).map((place, at) => input.slice(places[at], place));
  const stream = [
    event(
      'message_start',
      `"message":{"id":"m","type":"message","model":"x","content":[],"before":${before},"stop_reason":null,"usage":{"input_tokens":${usage[0]},"output_tokens":null,"speed":"fast"}}`,
    ),
    event('ping', ''),
    event('content_block_start', '"index":0,"content_block":{"type":"text","text":""}'),
    ...texts.map((text, at) => delta(0, 'text_delta', `"text":"${text}"`, at % 2 === 1 ? '    ' : '')),
    ...citations.map((one) => delta(0, 'citations_delta', `"citation":${one}`)),
    event('content_block_stop', '"index":0'),
    event('content_block_start', '"index":1,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}'),
    ...inputs.map((part) => delta(1, 'input_json_delta', `"partial_json":${JSON.stringify(part)}`)),
    event('content_block_stop', '"index":1'),
    event('content_block_start', `"index":2,"content_block":{"type":"of_the_future","said":"a","kept":${other}}`),
    ...texts.map((text) => delta(2, 'future_delta', `"said":"${text}","changed":${odd}`)),
    event('content_block_stop', '"index":2'),
    event(
      'message_delta',
      `"delta":{"stop_reason":"end_turn","container":null},"usage":{"output_tokens":${usage[1]},"speed":null},"more":${odd}`,
    ),
    event('message_stop', ''),
  ].join('');
  // The first sets it. What is a string then grows.
  const grown = odd.startsWith('"') ? `"${odd.slice(1, -1).repeat(texts.length)}"` : odd;
  const changed = texts.length > 0 ? `,"changed":${grown}` : '';
  const cited = citations.length > 0 ? `,"citations":[${citations.join(',')}]` : '';
  const blocks = [
    `{"type":"text","text":"${texts.join('')}"${cited}}`,
    `{"type":"tool_use","id":"t","name":"n","input":${input}}`,
    `{"type":"of_the_future","said":"a${texts.join('')}","kept":${other}${changed}}`,
  ];
  const more = odd === 'null' ? '' : `,"more":${odd}`;
  const whole = `{"id":"m","type":"message","model":"x","content":[${blocks.join(',')}],"before":${before},"stop_reason":"end_turn","usage":{"input_tokens":${usage[0]},"output_tokens":${usage[1]},"speed":"fast"}${more}}`;
  return { stream, whole };
}

test('assembles the same message as the official client, however the stream is split', async () => {
  await tryAsyncCases(
    caseCount(200),
    arbitraryMessageEvents,
    fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
    async (events, lengths) => {
      expect(JSON.parse(wholeOf(sseOf(events), lengths) ?? '')).toEqual(await readFinalMessage(events));
    },
  );
});

test('keeps every number, escape and tool input as written', () => {
  tryCases(caseCount(500), exotic, fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }), (parts, lengths) => {
    const { stream, whole } = bothForms(parts);
    expect(wholeOf(stream, lengths)).toBe(whole);
    expect(() => JSON.parse(whole) as unknown).not.toThrow();
  });
});

test('assembles the same message for a split at any byte and for other line endings', () => {
  const [parts] = fc.sample(exotic, { numRuns: 1, seed: 7 });
  for (const stream of [TEXT_STREAM, TOOL_STREAM, bothForms(parts as Exotic).stream]) {
    const bytes = encodeUtf8(stream);
    const whole = wholeOf(bytes);
    for (let at = 1; at < bytes.length; at += 1) {
      if (wholeOf(bytes, [at, bytes.length]) !== whole) expect.unreachable(`split at ${at}`);
    }
    expect(wholeOf(bytes, [1])).toBe(whole);
    expect(wholeOf(stream.replaceAll('\n', '\r\n'), [3])).toBe(whole);
    expect(wholeOf(stream.slice(0, -1))).toBe(whole);
  }
});

test('assembles the message that a conversation stores, with unknown blocks and deltas', () => {
  const part = fc.record({ type: fc.constantFrom('x_delta', 'text_delta'), said: fc.oneof(fc.string(), fc.nat()) });
  tryCases(100, fc.array(fc.array(part, { maxLength: 4 }), { maxLength: 3 }), (blocks) => {
    const events: JsonObject[] = [
      { type: 'message_start', message: { type: 'message', content: [], usage: {} } },
      ...blocks.flatMap((deltas, index) => [
        { type: 'content_block_start', index, content_block: { type: 'x', said: index === 1 ? 'a' : 1 } },
        ...deltas.map((one) => ({ type: 'content_block_delta', index, delta: one })),
        { type: 'content_block_stop', index },
      ]),
      { type: 'message_stop' },
    ];
    const builder = new MessageBuilder();
    for (const one of events) builder.addEventData(one);
    const built = { ...builder.message, content: builder.blocks.map((block) => block.value) };
    expect(JSON.parse(wholeOf(sseOf(events)) ?? '')).toEqual(built);
  });
});

test('makes a truncated tool input empty, as in a non-streaming response', () => {
  const stream = [
    event('message_start', '"message":{"type":"message","content":[]}'),
    event('content_block_start', '"index":0,"content_block":{"type":"tool_use","input":{}}'),
    delta(0, 'input_json_delta', '"partial_json":""'),
    delta(0, 'input_json_delta', String.raw`"partial_json":"{\"city\": \"Par"`),
    event('message_stop', ''),
  ].join('');
  const [block = ''] = splitArrayItems(parseMemberTexts(wholeOf(stream) ?? '').get('content') ?? '');
  expect(block).toBe('{"type":"tool_use","input":{}}');
});

test('parses a delta separately if it only resembles the previous one', () => {
  const stream = [
    event('message_start', '"message":{"type":"message","content":[]}'),
    event('content_block_start', '"index":0,"content_block":{"type":"text","text":""}'),
    delta(0, 'text_delta', '"text":"a"'),
    delta(0, 'text_delta', '"text":"b","more":"c"'),
    delta(0, 'text_delta', String.raw`"text":"d\"}}"`),
    event('message_stop', ''),
  ].join('');
  expect(JSON.parse(wholeOf(stream) ?? '')).toMatchObject({ content: [{ text: 'abd"}}', more: 'c' }] });
});
