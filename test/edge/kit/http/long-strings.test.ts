// In workerd: what turns bytes into text there is the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { runAtOnce } from '#edge/kit/async/run-in-steps.ts';
import type { JsonBody } from '#edge/kit/http/body/json-body.ts';
import { joinPieces, replacePlaceholdersByPieces } from '#edge/kit/http/body-pieces.ts';
import { LongStringBody } from '#edge/kit/http/long-body.ts';
import { getBodySize, parseJsonInSteps, parseLongJsonInSteps, replaceBodyText } from '#edge/kit/http/read-json.ts';
import { tryCases } from '#test/support/property-cases.ts';

const parseJson = (bytes: Uint8Array) => runAtOnce(parseJsonInSteps(bytes));
const parseLong = (bytes: Uint8Array) => runAtOnce(parseLongJsonInSteps(bytes));
const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
/** So long that its strings stay in its bytes, and more than once as long as what is judged at a time. */
const FILLER = 'The gate keeper wrote it down. '.repeat(20_000);

/** A body with its long strings put back. */
function whole(body: JsonBody): unknown {
  const { sources } = body as LongStringBody;
  return JSON.parse(decode(joinPieces(replacePlaceholdersByPieces(JSON.stringify(body.json), sources))));
}

const character = fc.oneof(
  fc.constantFrom('"', '\\', '\\\\', '\n', '\u0000', '🌊', 'é', '€', '\ud800', 'u', '\\u12', '~', '~string:0:1~'),
  fc.string({ unit: 'binary', maxLength: 3 }),
);
const longText = fc.tuple(fc.array(character, { maxLength: 60 }), fc.nat(70_000)).map(([some, length]) => {
  const unit = some.join('') || 'x';
  return unit.repeat(Math.ceil(length / unit.length));
});

test('parses a long body like any other, and reproduces its exact text', () => {
  tryCases(60, fc.array(longText, { maxLength: 4 }), fc.jsonValue(), (texts, value) => {
    const text = JSON.stringify({ filler: FILLER, texts, value, last: 1 });
    const body = parseLong(encode(text));
    expect(body).toBeInstanceOf(LongStringBody);
    expect(decode(joinPieces(replacePlaceholdersByPieces(body.text, (body as LongStringBody).sources)))).toBe(text);
    expect(whole(body)).toEqual(JSON.parse(text));
    expect(body.text.length).toBeLessThan(text.length / 2);
    expect(getBodySize(body)).toBe(encode(text).length);
  });
});

test('keeps the strings of a short body in its text', () => {
  const body = parseLong(encode(JSON.stringify({ a: 'x'.repeat(100_000) })));
  expect(body.text.length).toBeGreaterThan(100_000);
});

test.each([
  ['a control character', [0x61, 0x0a, 0x61]],
  ['an escape that JSON does not have', [...encode('\\x61')]],
  ['half an escape', [...encode('\\u12g4')]],
  ['what is no UTF-8', [0xff, 0xfe]],
  ['half a character', [0xf0, 0x9f]],
])('rejects %s in a long string, at any position', (_, fault) => {
  for (const before of [0, 1_000, 65_530, 65_533, 65_535, 65_536, 131_070]) {
    const bytes = joinPieces([encode(`{"a":"${'x'.repeat(before)}`), Uint8Array.from(fault), encode(`${FILLER}"}`)]);
    expect(() => parseLong(bytes)).toThrow('not valid JSON');
    expect(() => parseJson(bytes)).toThrow('not valid JSON');
  }
});

test.each([
  ['a string that does not end', `{"a":"${FILLER}`],
  ['something behind its end', `{"a":"${FILLER}"}x`],
  ['a member without a value', `{"a":"${FILLER}","b"}`],
  ['a list', `["${FILLER}"]`],
])('rejects a long body with %s', (_, text) => {
  expect(() => parseLong(encode(text))).toThrow(/not valid JSON|must be a JSON object/);
});

test('treats a caller’s string that looks like a placeholder as plain text', () => {
  const text = JSON.stringify({
    filler: FILLER,
    forged: '~string:0000000000000000:0~',
    part: '~part:0000000000000000:0~',
  });
  const body = parseLong(encode(text)) as LongStringBody;
  expect(decode(joinPieces(replacePlaceholdersByPieces(body.text, body.sources)))).toBe(text);
  expect(body.getStringByteLength('~string:0000000000000000:0~')).toBe(27);
});

test('getStringByteLength returns the length of a long and of a short string', () => {
  const { json, lengthOf } = (() => {
    const body = parseLong(encode(JSON.stringify({ filler: FILLER, short: 'abc' }))) as LongStringBody;
    return { json: body.json, lengthOf: body.getStringByteLength.bind(body) };
  })();
  expect(lengthOf(String(json.filler))).toBe(FILLER.length);
  expect(lengthOf(String(json.short))).toBe(3);
});

test('sends a changed long body as a new stream for each attempt', async () => {
  const huge = JSON.stringify({ a: FILLER.repeat(5), b: '🌊' });
  const body = parseLong(encode(huge)) as LongStringBody;
  expect(body.createSendableBody(body.text)).toBe(body.bytes);
  const changed = replaceBodyText(body, body.text.replace('"b"', '"c"'), body.json) as LongStringBody;
  const up = changed.createSendableBody(changed.text);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    const made = typeof up === 'function' ? up() : up;
    expect(made).toBeInstanceOf(ReadableStream);
    expect(await new Response(made).text()).toBe(huge.replace('"b"', '"c"'));
  }
  expect(getBodySize(changed)).toBe(encode(huge).length);
});
