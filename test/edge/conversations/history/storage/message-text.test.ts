import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  countBreakpoints,
  removeBreakpointsFromMessage,
  splitTextIntoPieces,
} from '#edge/conversations/history/storage/message-text.ts';
import { findMemberRange, parseMemberTexts, splitArrayItems } from '#edge/kit/json/edit.ts';
import { tryCases } from '#test/support/property-cases.ts';

test('splitTextIntoPieces loses no text and splits no character', () => {
  tryCases(100, fc.string({ unit: 'grapheme', maxLength: 60 }), fc.integer({ min: 2, max: 9 }), (text, most) => {
    const pieces = splitTextIntoPieces(text, most);
    expect(pieces.join('')).toBe(text);
    const decoder = new TextDecoder();
    for (const piece of pieces) {
      expect(piece.length).toBeLessThanOrEqual(most);
      if (text.isWellFormed()) expect(decoder.decode(new TextEncoder().encode(piece))).toBe(piece);
    }
  });
});

test('parseMemberTexts and splitArrayItems return the source text of each field and item', () => {
  tryCases(100, fc.array(fc.jsonValue()), fc.nat(2), (items, indent) => {
    const array = JSON.stringify(items, null, indent);
    expect(splitArrayItems(array).map((text) => JSON.parse(text) as unknown)).toEqual(JSON.parse(array));
    const object = JSON.stringify({ 'a "b': items, messages: items, c: 1 }, null, indent);
    const messages = parseMemberTexts(object).get('messages') ?? '';
    expect(splitArrayItems(messages).map((text) => JSON.parse(text) as unknown)).toEqual(JSON.parse(array));
    expect(parseMemberTexts(object).get('c')).toBe('1');
    const place = findMemberRange(object, 'messages');
    expect(object.slice(place?.start, place?.end)).toBe(messages);
  });
});

test('removeBreakpointsFromMessage removes only cache breakpoints, and keeps every other byte', () => {
  const message = `{ "role":"user", "content":[ {"type":"text","text":"\\u00e9 \\"cache_control\\"", "cache_control" : {"type":"ephemeral"} },
    {"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]},
    {"type":"document","source":{"type":"content","content":[{"cache_control":null,"type":"text","text":"y"}]},"n":1.0}] }`;
  expect(removeBreakpointsFromMessage(message)).toBe(
    `{ "role":"user", "content":[{"type":"text","text":"\\u00e9 \\"cache_control\\"" },{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"x"}]},{"type":"document","source":{"type":"content","content":[{"type":"text","text":"y"}]},"n":1.0}] }`,
  );
  const input = '{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"n","input":{"cache_control":1}}]}';
  expect(removeBreakpointsFromMessage(input)).toBe(input);
});

test('countBreakpoints counts breakpoints, but not texts that contain their name', () => {
  const value = fc.oneof(
    fc.string(),
    fc.constantFrom('cache_control', '"cache_control":', '"cache_control"', '{"cache_control":1}'),
  );
  const block = fc.record({ text: value, isMarked: fc.boolean() });
  tryCases(100, fc.array(block), fc.constantFrom(undefined, 1), (blocks, spaces) => {
    const marked = blocks.map(({ text, isMarked }) => ({
      text,
      ...(isMarked ? { cache_control: { type: 'ephemeral' } } : {}),
    }));
    const own = blocks.filter(({ isMarked }) => isMarked).length;
    expect(countBreakpoints(JSON.stringify(marked, null, spaces), undefined)).toBe(own);
  });
});
