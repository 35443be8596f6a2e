import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ApiError } from '#edge/kit/http/errors.ts';
import { BatchBodyParser } from '#edge/plugins/batches/batch-body.ts';
import { tryCases } from '#test/support/property-cases.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const MOST = 1_000_000;

/** Reads a body that comes in these pieces. */
function read(pieces: readonly Uint8Array[], most = MOST) {
  const body = new BatchBodyParser(most);
  const items: string[] = [];
  for (const piece of pieces) for (const item of body.splitPieceIntoItems(piece)) items.push(decoder.decode(item));
  return { items, others: body.finishParsing() };
}

const json = (body: unknown, indent: number) => encoder.encode(JSON.stringify(body, undefined, indent));
/** Texts with what a reader could take for the end of an item. */
const text = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom('}', ']},{"', '\\"', '"requests":[', '🙂\\u007d'),
);
const item = fc.record({ custom_id: text, params: fc.dictionary(text, fc.oneof(text, fc.jsonValue())) });
const sent = fc.record({ requests: fc.array(item, { minLength: 1, maxLength: 5 }), deliver_url: text });

describe('the body of a batch', () => {
  test('has the same items for pieces of any size', () => {
    tryCases(100, sent, fc.nat({ max: 2 }), fc.integer({ min: 1, max: 40 }), (body, indent, size) => {
      const bytes = json(body, indent);
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
      const { items, others } = read(pieces);
      expect(items.map((one) => JSON.parse(one))).toEqual(JSON.parse(JSON.stringify(body.requests)));
      expect([...others].map(([key, text]) => [key, JSON.parse(text)])).toEqual([['deliver_url', body.deliver_url]]);
    });
  });

  test('has the same items at whichever byte it is cut in two', () => {
    const bytes = json(
      { a: [1, { b: '}' }], requests: [{ custom_id: 'é🙂"}', params: { x: '\\' } }, {}], n: 12.5, t: true },
      1,
    );
    const whole = read([bytes]);
    for (let at = 1; at < bytes.length; at += 1) {
      expect(read([bytes.slice(0, at), bytes.slice(at)])).toEqual(whole);
    }
    expect(whole.items.map((one) => JSON.parse(one))).toEqual([{ custom_id: 'é🙂"}', params: { x: '\\' } }, {}]);
    expect([...whole.others.keys()]).toEqual(['a', 'n', 't']);
  });

  test('that ends early at any byte, or continues after its end, is rejected', () => {
    const bytes = json({ requests: [{ custom_id: 'a', params: {} }] }, 0);
    for (let at = 0; at < bytes.length; at += 1) expect(() => read([bytes.slice(0, at)])).toThrow(ApiError);
    expect(() => read([bytes, encoder.encode('{}')])).toThrow(ApiError);
  });

  test.each([
    ['[]', /must be one JSON object/],
    ['{}', /requests: Field required/],
    ['{"requests":[]}', /at least 1 item/],
    ['{"requests":{}}', /valid list/],
    ['{"requests":[{},5]}', /^requests\.1: /],
    ['{"requests":[{} {}]}', /^requests\.1: /],
    ['{"requests":[{}],"requests":[{}]}', /the list `requests`/],
  ])('%s is rejected with a message that names the problem', (given, words) => {
    expect(() => read([encoder.encode(given)])).toThrow(words);
  });

  test('is rejected when an item is too long, for pieces of any size', () => {
    const bytes = json({ requests: [{}, { custom_id: 'a'.repeat(200) }] }, 0);
    for (const size of [1, 7, 1_000]) {
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
      expect(() => read(pieces, 100)).toThrow(/^requests\.1: an item can have at most 100 bytes/);
    }
  });
});
