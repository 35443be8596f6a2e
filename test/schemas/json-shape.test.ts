import fc from 'fast-check';
import { expect, test } from 'vitest';
import { checkShape } from '../../src/schemas/json-shape.ts';

const encode = (text: string) => new TextEncoder().encode(text);
/** So long that it is looked at. */
const PADDING = `"${' '.repeat(300_000)}"`;

test('whatever a body of ordinary size says, it passes', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(() => checkShape(encode(`[${PADDING},${JSON.stringify(value)}]`))).not.toThrow();
    }),
  );
});

test('brackets, commas and quotes within strings are no values', () => {
  const inside = JSON.stringify('[{,"\\'.repeat(800_000));
  expect(() => checkShape(encode(`[${inside}]`))).not.toThrow();
});

test.each([
  ['lists', '[],'],
  ['objects', '{},'],
  ['numbers', '1,'],
  ['messages', '{"role":"user","content":7},'],
])('millions of %s are too many', (_, one) => {
  const text = `[${one.repeat(1_600_000)}0]`;
  expect(() => checkShape(encode(text))).toThrow('has more than 1500000 values');
});

test('what the API itself takes at the most passes', () => {
  const message = '{"role":"user","content":"Hi"}';
  expect(() => checkShape(encode(`{"messages":[${Array(100_000).fill(message).join(',')}]}`))).not.toThrow();
});
