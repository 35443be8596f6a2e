import fc from 'fast-check';
import { expect, test } from 'vitest';
import { runAtOnce } from '#edge/kit/async/run-in-steps.ts';
import { measureJsonShape } from '#edge/kit/http/body-shape.ts';
import { tryCases } from '#test/support/property-cases.ts';

const encode = (text: string) => new TextEncoder().encode(text);
const shapeOf = (bytes: Uint8Array) => runAtOnce(measureJsonShape(bytes));
test('accepts any JSON of ordinary size', () => {
  tryCases(100, fc.jsonValue(), (value) => {
    expect(() => shapeOf(encode(`[${JSON.stringify(value)}]`))).not.toThrow();
  });
});

test('does not count brackets, commas and quotes within strings', () => {
  const inside = JSON.stringify('[{,"\\'.repeat(800_000));
  expect(() => shapeOf(encode(`[${inside}]`))).not.toThrow();
});

test.each([
  ['lists', '[],'],
  ['objects', '{},'],
  ['numbers', '1,'],
  ['messages', '{"role":"user","content":7},'],
])('rejects millions of %s', (_, one) => {
  const text = `[${one.repeat(1_600_000)}0]`;
  expect(() => shapeOf(encode(text))).toThrow('has more than 750000 values');
});

test('accepts the API’s maximum of 100,000 messages', () => {
  const message = '{"role":"user","content":"Hi"}';
  expect(() => shapeOf(encode(`{"messages":[${Array(100_000).fill(message).join(',')}]}`))).not.toThrow();
});

/** So many different keys, in objects of `width` each. */
const keyed = (keys: number, width: number) => {
  const objects = Array.from({ length: keys / width }, (_, nth) =>
    Object.fromEntries(Array.from({ length: width }, (_, at) => [`key ${nth * width + at}`, 1])),
  );
  return encode(JSON.stringify(objects));
};

test.each([1, 2, 100, 30_000])('rejects more than 20,000 different keys, in objects of %i keys', (width) => {
  expect(() => shapeOf(keyed(30_000, width))).toThrow('has more than 20000 different keys');
  if (width < 10_000) expect(() => shapeOf(keyed(10_000, width))).not.toThrow();
});

test('rejects the same keys in too many different orders', () => {
  const names = Array.from({ length: 40 }, (_, at) => `k${at}`);
  const orders = Array.from({ length: 1_000 }, (_, nth) => names.toSorted((a, b) => hash(a, nth) - hash(b, nth)));
  const text = JSON.stringify(orders.map((order) => Object.fromEntries(order.map((name) => [name, 1]))));
  expect(() => shapeOf(encode(text))).toThrow('orders of keys');
});
/** Another order of the names for each number. */
const hash = (name: string, nth: number) => Math.sin(Number(name.slice(1)) * 12.9898 + nth * 78.233) % 0.01;

test('counts the keys of all objects', () => {
  tryCases(100, fc.jsonValue(), (value) => {
    let keys = 0;
    JSON.stringify(value, (_, one: unknown) => {
      if (typeof one === 'object' && one !== null && !Array.isArray(one)) keys += Object.keys(one).length;
      return one;
    });
    expect(shapeOf(encode(JSON.stringify([value]))).keys).toBe(keys);
  });
});

test('rejects nesting deeper than 500 levels', () => {
  const nested = (depth: number) => encode(`${'['.repeat(depth)}"[[["${']'.repeat(depth)}`);
  expect(() => shapeOf(nested(500))).not.toThrow();
  expect(() => shapeOf(nested(501))).toThrow('nests deeper than 500 levels');
  expect(() => shapeOf(encode(`[${'[[]],'.repeat(1_000)}0]`))).not.toThrow();
});

test('finds the strings of at least 512 bytes, and only those', () => {
  const long = 'x\\"'.repeat(300);
  const text = `{"${long}":["${long}","short",{"a":"${'y'.repeat(511)}","b":"${'y'.repeat(512)}"}]}`;
  const { strings, values } = shapeOf(encode(text));
  const found = Array.from({ length: strings.length / 2 }, (_, at) => text.slice(strings[at * 2], strings[at * 2 + 1]));
  expect(found).toEqual([long, long, 'y'.repeat(512)]);
  expect(values).toBe(7);
});
