import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CheckBudget, createValueChecker, findJsonSchemaFault } from '#edge/kit/json/json-schema.ts';
import { tryCases } from '#test/support/property-cases.ts';

const scalar = fc.oneof(
  fc.record({ type: fc.constant('string'), minLength: fc.nat(3), maxLength: fc.integer({ min: 3, max: 6 }) }),
  fc.record({ type: fc.constant('integer'), minimum: fc.integer({ min: -3, max: 0 }), maximum: fc.nat(3) }),
  fc.record({
    type: fc.constant('number'),
    exclusiveMinimum: fc.constant(0),
    exclusiveMaximum: fc.nat(9).map((n) => n + 1),
  }),
  fc.record({ minimum: fc.nat(5) }),
  fc.record({ type: fc.constant('number'), multipleOf: fc.constantFrom(0.5, 2) }),
  fc.constant({ type: 'boolean' }),
  fc.constant({ type: 'null' }),
  fc.constant({ type: ['string', 'null'] }),
  fc.constant({ enum: ['a', 'b', 1, { a: 1 }] }),
  fc.constant({ const: 'a' }),
  fc.constant({}),
);
const { schema } = fc.letrec<{ schema: Record<string, unknown> }>((tie) => ({
  schema: fc.oneof(
    { depthSize: 'small' },
    scalar,
    fc.record({
      type: fc.constant('array'),
      items: tie('schema'),
      minItems: fc.nat(1),
      maxItems: fc.integer({ min: 1, max: 3 }),
    }),
    fc.record({ prefixItems: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }) }),
    fc.record({ type: fc.constant('array'), contains: tie('schema') }),
    fc.record(
      {
        type: fc.constant('object'),
        properties: fc.record({ a: tie('schema'), b: tie('schema') }),
        required: fc.constantFrom(['a'], ['b'], []),
        additionalProperties: fc.oneof(fc.boolean(), tie('schema')),
        minProperties: fc.nat(1),
        dependentRequired: fc.constant({ a: ['b'] }),
        propertyNames: fc.constant({ maxLength: 1 }),
      },
      { requiredKeys: ['properties'] },
    ),
    ...(['anyOf', 'oneOf', 'allOf'] as const).map((name) =>
      fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((list) => ({ [name]: list })),
    ),
    fc.record({ not: tie('schema') }),
    fc
      .tuple(...(['if', 'then', 'else'] as const).map((name) => tie('schema').map((inner) => [name, inner] as const)))
      .map(Object.fromEntries),
  ) as fc.Arbitrary<Record<string, unknown>>,
}));
const value = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom<unknown>('a', 'b', 'cde', '', 0, 1, -2, 0.5, true, null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.record({ a: tie('value'), b: tie('value') }, { requiredKeys: [] }),
    fc.record({ constructor: tie('value'), long: tie('value') }, { requiredKeys: [] }),
  ),
})).value;

test('createValueChecker agrees with ajv on any schema without patterns', () => {
  let right = 0;
  tryCases(500, schema, value, (given, tried) => {
    const isRight = createValueChecker(given, { root: 'it' })(tried) === undefined;
    if (isRight) right += 1;
    expect(isRight).toBe(new Ajv2020({ strict: false }).compile(given)(tried));
  });
  expect(right).toBeGreaterThan(50);
});

test('createValueChecker reports the path and the problem of a fault', () => {
  const given = {
    type: 'object',
    properties: { tags: { type: 'array', items: { enum: ['a', 'b'] } }, 'a/b~ c': { type: 'string' } },
    required: ['tags'],
  };
  const check = createValueChecker(given, { root: 'fields', closed: true });
  expect(check(undefined)).toEqual({ path: 'fields', problem: 'The value is missing.' });
  expect(check({})).toMatchObject({ path: 'fields', problem: expect.stringContaining('"tags"') as string });
  expect(check({ tags: ['a', 'x'] })).toMatchObject({ path: 'fields.tags.1' });
  expect(check({ tags: [], more: 1 })).toEqual({
    path: 'fields.more',
    problem: 'The schema does not allow this value.',
  });
  expect(check({ tags: [], 'a/b~ c': 1 })).toMatchObject({ path: 'fields.a/b~ c' });
  expect(check({ tags: ['a'] })).toBeUndefined();
  expect(createValueChecker(given, { root: 'it' })({ tags: [], more: 1 })).toBeUndefined();
});

test('createValueChecker does not check patterns and formats, and ignores malformed keywords', () => {
  const check = (given: Record<string, unknown>) => createValueChecker(given, { root: 'it' });
  expect(check({ type: 'string', pattern: '(', format: 'date' })('x')).toBeUndefined();
  expect(
    check({ patternProperties: { '(': { type: 'null' } }, additionalProperties: false })({ a: 1 }),
  ).toBeUndefined();
  expect(check({ $id: 'http://[', not: null, if: 5, properties: 7, required: 'a', enum: 'a' })({})).toBeUndefined();
  expect(check({ type: 'object' })({ '\ud800': { a: 1 } })).toBeUndefined();
  const nested = { type: 'object', properties: {}, additionalProperties: { type: 'string' } };
  expect(check(nested)({ '\ud800': 1 })).toMatchObject({ path: 'it' });
});

test('createValueChecker does not check a value that has too many parts for its schema', () => {
  const names = Array.from({ length: 20_000 }, (_, at) => `name ${at}`);
  const schema = { type: 'object', properties: { names: { type: 'array', items: { enum: names } } } };
  const check = createValueChecker(schema, { root: 'it' });
  expect(check({ names: names.slice(-20) })).toBeUndefined();
  expect(check({ names: ['other'] })).toMatchObject({ path: 'it.names.0' });
  const unchecked = { path: 'it', problem: expect.stringContaining('too large'), isUnchecked: true };
  expect(check({ names: Array.from({ length: 20_000 }, () => 'other') })).toEqual(unchecked);
  expect(check({ names: ['other'.repeat(100_000)] })).toEqual(unchecked);
});

test('createValueChecker checks values until their common budget is spent', () => {
  const names = Array.from({ length: 1_000 }, (_, at) => `name ${at}`);
  const list = { type: 'array', items: { enum: names } };
  const budget = new CheckBudget();
  const results = Array.from({ length: 20 }, () =>
    createValueChecker(list, { root: 'it', budget })(names.slice(0, 90)),
  );
  const [first, last] = [results.findIndex((fault) => fault), results.findLastIndex((fault) => !fault)];
  expect(first).toBe(last + 1);
  expect(first).toBeGreaterThan(5);
});

test.each([
  [{}, 'should have a type'],
  [{ type: 'text' }, 'type should be one of'],
  [{ type: [] }, 'type should be one of'],
  [{ enum: [] }, 'enum should be a list'],
  [{ enum: [{}] }, 'enum should be a list'],
  [{ type: 'array' }, 'items should be the schema'],
  [{ type: 'object', properties: [] }, 'properties should be an object'],
  [{ type: 'object', properties: { a: 7 } }, 'properties.a should be an object'],
  [{ type: 'object', properties: {}, required: ['a'] }, 'required names a'],
  [{ type: 'object', required: 'a' }, 'required should be a list'],
  [{ type: 'string', minLength: 'x' }, 'minLength should be a number'],
  [{ type: 'number', multipleOf: 0 }, 'multipleOf should be above 0'],
  [{ type: 'object', properties: {}, anyOf: [{ type: 'object' }] }, 'anyOf is not supported together with properties'],
  [{ anyOf: [] }, 'anyOf should be a list'],
  [{ type: 'string', description: 7 }, 'description should be a string'],
  [null, 'should be an object'],
])('findJsonSchemaFault rejects %j', (given, words) => {
  expect(findJsonSchemaFault(given)).toContain(words);
});

test('findJsonSchemaFault rejects a schema nested 50,000 levels deep without a stack overflow', () => {
  let deep: unknown = { type: 'string' };
  for (let depth = 0; depth < 50_000; depth += 1) deep = { type: 'array', items: deep };
  expect(findJsonSchemaFault(deep)).toContain('nested more than');
});

test('findJsonSchemaFault accepts unknown keywords', () => {
  expect(findJsonSchemaFault({ type: 'string', 'x-order': 1, nullable: true, deprecated: false })).toBeUndefined();
});

test('findJsonSchemaFault and createValueChecker never throw for any JSON', () => {
  tryCases(300, fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), (given, tried) => {
    findJsonSchemaFault(given);
    createValueChecker(given, { root: 'it' })(tried);
  });
});
