import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findFeaturesOfJoinedMessages } from '#edge/claude/pricing/joined-messages.ts';
import { findFeaturesOfMessages, NO_FEATURES } from '#edge/claude/pricing/prompt-features.ts';
import { tryCases } from '#test/support/property-cases.ts';

const text = fc.string({ unit: 'grapheme' });
const role = fc.constantFrom('user', 'assistant');
const plain = fc
  .record({
    role,
    content: fc.oneof(
      text,
      text.map((one) => [{ type: 'text', text: one }]),
    ),
  })
  .map((one) => JSON.stringify(one));
const image = '{"type":"image","source":{"type":"url","url":"u"}}';
/** Each of these costs more than its text, and could be taken for a text alone. */
const odd = fc.constantFrom(
  `{"role":"user","content":[{"type":"text","text":"x"},${image}]}`,
  `{"role":"user","content":[{"type":"text","text":"x"}, ${image}]}`,
  '{"role":"user","content":[{"type":"text","text":"x"},{"ty\\u0070e":"image","source":{}}]}',
  `{"role":"user","content":"x","content":[${image}]}`,
  '{"role":"user","content":"x","content":["x",{}]}',
  '{"role":"user","content":"x","\\u0063ontent":[{}]}',
  '{"role":"user","content":[{"type":"text","text":"x","cache_control":{"ttl":"1h"}}]}',
  '{"role":"user","content":[{"type":"text","text":"x","cache_\\u0063ontrol":{"ttl":"1h"}}]}',
  '{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]}',
  `{ "role": "user", "content": [${image}] }`,
  `{"content":[${image}],"role":"user"}`,
  `{"role":"user","content":[${image}]}`,
);

test('findFeaturesOfJoinedMessages finds the same features as one message at a time', () => {
  tryCases(2_000, fc.array(plain, { maxLength: 6 }), fc.option(odd), fc.nat(6), (texts, other, at) => {
    const all = other === null ? texts : texts.toSpliced(at, 0, other);
    const before = { ...NO_FEATURES, extra: 7 };
    const each = findFeaturesOfMessages(
      all.map((one) => JSON.parse(one) as unknown),
      before,
    );
    expect(findFeaturesOfJoinedMessages(all.join(','), all.length, before)).toEqual(each);
  });
});

test('does not parse messages that contain only text', () => {
  tryCases(
    100,
    fc.array(fc.tuple(role, fc.constantFrom('a', 'say "type" and {"content":[]}')), { minLength: 1 }),
    (said) => {
      const texts = said.flatMap(([role, text]) => [
        JSON.stringify({ role, content: text }),
        JSON.stringify({ role, content: [{ type: 'text', text }] }),
      ]);
      // It would throw if it were.
      const cut = texts.join(',').slice(0, -1);
      expect(findFeaturesOfJoinedMessages(cut, texts.length, NO_FEATURES)).toEqual({
        ...NO_FEATURES,
        extra: texts.length * 16,
      });
    },
  );
});
