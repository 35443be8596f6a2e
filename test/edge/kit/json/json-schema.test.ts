import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { faultInSchema, faultInValue } from '../../../../src/edge/kit/json/json-schema.ts';
import { tryCases } from '../../../support/runs.ts';

const scalar = fc.oneof(
  fc.record({ type: fc.constant('string'), minLength: fc.nat(3), maxLength: fc.integer({ min: 3, max: 6 }) }),
  fc.record({ type: fc.constant('integer'), minimum: fc.integer({ min: -3, max: 0 }), maximum: fc.nat(3) }),
  fc.record({
    type: fc.constant('number'),
    exclusiveMinimum: fc.constant(0),
    exclusiveMaximum: fc.nat(9).map((n) => n + 1),
  }),
  fc.constant({ type: 'boolean' }),
  fc.constant({ type: 'null' }),
  fc.constant({ type: ['string', 'null'] }),
  fc.constant({ enum: ['a', 'b', 1] }),
  fc.constant({ const: 'a' }),
);
const { schema } = fc.letrec<{ schema: Record<string, unknown>; list: object; object: object; choice: object }>(
  (tie) => ({
    schema: fc.oneof({ depthSize: 'small' }, scalar, tie('list'), tie('object'), tie('choice')) as fc.Arbitrary<
      Record<string, unknown>
    >,
    list: fc.record({
      type: fc.constant('array'),
      items: tie('schema'),
      minItems: fc.nat(1),
      maxItems: fc.integer({ min: 1, max: 3 }),
    }),
    object: fc
      .record({ a: tie('schema'), b: tie('schema') })
      .map((properties) => ({ type: 'object', properties, required: ['a'], additionalProperties: false })),
    choice: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
  }),
);
const value = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom<unknown>('a', 'b', 'cde', '', 0, 1, -2, 0.5, true, null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.record({ a: tie('value'), b: tie('value') }, { requiredKeys: [] }),
  ),
})).value;

test('a value is judged as zod judges it by the same schema', () => {
  let right = 0;
  tryCases(3_000, schema, value, (given, tried) => {
    expect(faultInSchema(given)).toBeUndefined();
    const isRight = faultInValue(tried, given) === undefined;
    if (isRight) right += 1;
    expect(isRight).toBe(z.fromJSONSchema(given as Parameters<typeof z.fromJSONSchema>[0]).safeParse(tried).success);
  });
  expect(right).toBeGreaterThan(100);
});

test('the fault is told by its path', () => {
  const given = {
    type: 'object',
    properties: { tags: { type: 'array', items: { enum: ['a', 'b'] } } },
    required: ['tags'],
  };
  expect(faultInValue({}, given)).toBe('fields.tags');
  expect(faultInValue({ tags: ['a', 'x'] }, given)).toBe('fields.tags.1');
  expect(faultInValue({ tags: [], more: 1 }, given)).toBe('fields.more');
  expect(faultInValue({ tags: ['a'] }, given)).toBeUndefined();
});

test.each([
  [{}, 'should have a type'],
  [{ type: 'text' }, 'type should be one of'],
  [{ type: [] }, 'type should be one of'],
  [{ enum: [] }, 'enum should be a list'],
  [{ enum: [{}] }, 'enum should be a list'],
  [{ type: 'array' }, 'items should say'],
  [{ type: 'object', properties: [] }, 'properties should be an object'],
  [{ type: 'object', properties: { a: 7 } }, 'properties.a should be an object'],
  [{ type: 'object', properties: {}, required: ['a'] }, 'required names a'],
  [{ type: 'object', required: 'a' }, 'required should be a list'],
  [{ type: 'string', minLength: 'x' }, 'minLength should be a number'],
  [{ type: 'number', multipleOf: 0 }, 'multipleOf should be above 0'],
  [{ $ref: '#/$defs/a', $defs: {} }, '$ref is not supported'],
  [{ anyOf: [] }, 'anyOf should be a list'],
  [{ type: 'string', description: 7 }, 'description should be a string'],
  [null, 'should be an object'],
])('%j is no schema', (given, words) => {
  expect(faultInSchema(given)).toContain(words);
});

test('a schema that nests without end is refused, and does not end the stack', () => {
  let deep: unknown = { type: 'string' };
  for (let depth = 0; depth < 50_000; depth += 1) deep = { type: 'array', items: deep };
  expect(faultInSchema(deep)).toContain('nested too deep');
});

test('anything at all is either a schema or none, and judges anything without failing', () => {
  tryCases(100, fc.anything(), fc.jsonValue(), (given, tried) => {
    if (faultInSchema(given) === undefined) faultInValue(tried, given as Record<string, unknown>);
  });
});
