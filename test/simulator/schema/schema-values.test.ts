import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonObject } from '#api-rules/json.ts';
import { computeDigest, createRandom } from '#simulator/random/digest.ts';
import { createSchemaValue } from '#simulator/schema/schema-values.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';
import { faultsOf } from '../json-schema.ts';

function make(schema: object, text = 'Book a flight to Lisbon for 2 people', descriptions = ''): unknown {
  return createSchemaValue(schema as JsonObject, { text, descriptions, random: createRandom(computeDigest('test')) });
}

const name = fc.constantFrom('city', 'user_id', 'email', 'notes', 'startDate', 'amount', 'constructor', 'tags', 'a b');
const label = fc.constantFrom('flight', 'hotel', 'other', 'billing_issue', 'people');
const small = fc.integer({ min: 0, max: 6 });

/** Schemas that can be satisfied, of every keyword that the simulator promises to heed. */
const { schema: schemas } = fc.letrec<{ schema: object; leaf: object }>((tie) => ({
  leaf: fc.oneof(
    fc.constant({ type: 'boolean' }),
    fc.constant({ type: 'null' }),
    fc.constant({}),
    fc.constant({ type: ['string', 'null'] }),
    fc.record({
      enum: fc.uniqueArray(fc.oneof(label, fc.integer(), fc.constant(null)), { minLength: 1, maxLength: 4 }),
    }),
    fc.record({ const: fc.oneof(label, fc.boolean(), fc.constant(null), fc.constant({ a: [1] })) }),
    fc.tuple(small, small).map(([a, b]) => ({ type: 'string', minLength: a, maxLength: a + b })),
    fc.constantFrom('date', 'date-time', 'time', 'email', 'uri', 'uuid').map((format) => ({ type: 'string', format })),
    fc
      .tuple(fc.integer({ min: -1000, max: 1000 }), fc.integer({ min: 1, max: 100 }))
      .map(([a, b]) => ({ type: 'integer', minimum: a, maximum: a + b })),
    fc
      .tuple(fc.integer({ min: -50, max: 50 }), fc.integer({ min: 2, max: 9 }))
      .map(([a, b]) => ({ type: 'integer', exclusiveMinimum: a, exclusiveMaximum: a + b })),
    fc.double({ min: -1e6, max: 1e6, noNaN: true }).map((a) => ({ type: 'number', exclusiveMinimum: a })),
    fc.double({ min: -1e6, max: 1e6, noNaN: true }).map((a) => ({ type: 'number', maximum: a })),
    fc
      .tuple(fc.integer({ min: -500, max: 500 }), fc.constantFrom(0.1, 0.25, 1, 5, 7))
      .map(([a, step]) => ({ type: 'number', minimum: a, multipleOf: step })),
  ),
  schema: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc
      .tuple(
        fc.uniqueArray(fc.tuple(name, tie('schema')), { selector: ([key]) => key, maxLength: 4 }),
        fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
        fc.boolean(),
      )
      .map(([entries, flags, isOpen]) => ({
        type: 'object',
        properties: Object.fromEntries(entries),
        required: entries.filter((_, index) => flags[index]).map(([key]) => key),
        additionalProperties: isOpen,
      })),
    fc
      .tuple(tie('schema'), small, small)
      .map(([items, a, b]) => ({ type: 'array', items, minItems: a, maxItems: a + b })),
    fc
      .tuple(
        fc.constantFrom(
          { type: 'string' },
          { type: 'integer', minimum: 3 },
          { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] },
        ),
        small,
      )
      .map(([items, a]) => ({ type: 'array', items, minItems: a, uniqueItems: true })),
    fc
      .tuple(tie('schema'), tie('schema'))
      .map((prefixItems) => ({ type: 'array', prefixItems, items: false, minItems: 2 })),
    fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
    fc.tuple(fc.uniqueArray(label, { minLength: 1, maxLength: 3 }), tie('schema')).map(([kinds, value]) => ({
      oneOf: kinds.map((kind) => ({
        type: 'object',
        properties: { kind: { const: kind }, value },
        required: ['kind', 'value'],
      })),
    })),
    tie('schema').map((value) => ({
      allOf: [
        { type: 'object', properties: { first: value }, required: ['first'] },
        { type: 'object', properties: { second: { type: 'string' } }, required: ['second'] },
      ],
    })),
  ),
}));

describe('a value for a schema', () => {
  // Apart from the others: the validator of these tests does not know such a property.
  test('has __proto__ as its own property if the schema requires it', () => {
    const schema = JSON.parse('{"properties":{"__proto__":{"const":1}},"required":["__proto__"]}') as object;
    expect(JSON.stringify(make(schema))).toBe('{"__proto__":1}');
  });

  test('satisfies any generated schema', () => {
    tryCases(caseCount(1500), schemas, fc.oneof(fc.string(), fc.lorem()), (schema, text) => {
      const value = JSON.parse(JSON.stringify(make(schema, text)));
      expect(faultsOf(value, schema)).toEqual([]);
    });
  });

  test('satisfies references, also recursive ones, and is finite', () => {
    const tree = {
      $defs: {
        node: {
          type: 'object',
          properties: {
            name: { type: 'string' },
            children: { type: 'array', items: { $ref: '#/$defs/node' } },
            next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] },
          },
          required: ['name', 'children', 'next'],
        },
      },
      $ref: '#/$defs/node',
    };
    expect(faultsOf(make(tree), tree)).toEqual([]);
    const pointed = {
      definitions: { 'a/b': { enum: ['x'] } },
      type: 'object',
      properties: { v: { $ref: '#/definitions/a~1b' } },
      required: ['v'],
    };
    expect(make(pointed)).toEqual({ v: 'x' });
  });

  test('satisfies exactly one branch of oneOf, and no schema in not', () => {
    const schema = {
      type: 'object',
      properties: {
        v: { type: 'object', oneOf: [{ required: ['a'] }, { required: ['a', 'b'] }] },
        w: { enum: ['a', 'b'], not: { const: 'a' } },
      },
      required: ['v', 'w'],
    };
    expect(faultsOf(make(schema), schema)).toEqual([]);
  });

  test.each<[string, object]>([
    ['refers to itself and nothing else', { $ref: '#' }],
    [
      'requires itself for ever',
      { type: 'object', properties: { a: { $ref: '#' }, b: { $ref: '#' } }, required: ['a', 'b'] },
    ],
    ['contradicts itself', { type: 'integer', minimum: 5, maximum: 1, enum: [] }],
    [
      'asks for more than there is room for',
      { type: 'array', minItems: 1e9, items: { type: 'string', minLength: 1e9 } },
    ],
    [
      'nests alternatives',
      { anyOf: Array(20).fill({ anyOf: Array(20).fill({ anyOf: Array(20).fill({ type: 'string' }) }) }) },
    ],
    ['is none', { type: 7, properties: [], required: {}, enum: 'x', items: 4, anyOf: {}, $ref: 5, pattern: '[' }],
  ])('is JSON of less than 20 MB for a schema that %s', (_, schema) => {
    expect(JSON.stringify(make(schema)).length).toBeLessThan(20_000_000);
  });

  test('is generated without an error for any JSON as a schema', () => {
    tryCases(
      100,
      fc.object({
        key: fc.constantFrom(
          'type',
          'items',
          'enum',
          'anyOf',
          'allOf',
          '$ref',
          'required',
          'properties',
          'minimum',
          'pattern',
          'not',
          'const',
        ),
      }),
      (schema) => {
        expect(() => JSON.stringify(make(JSON.parse(JSON.stringify(schema))))).not.toThrow();
      },
    );
  });

  test('uses words of the prompt that fit the property names', () => {
    const properties = Object.fromEntries(
      ['city', 'query', 'email', 'url', 'path', 'count', 'date'].map((key) => [
        key,
        { type: key === 'count' ? 'integer' : 'string' },
      ]),
    );
    const text =
      'What about Lisbon on 2026-12-24 for 7 people? See src/edge/app.ts at https://x.test/a or ask bo@x.test';
    expect(make({ type: 'object', properties, required: Object.keys(properties) }, text)).toEqual({
      city: 'Lisbon',
      query: text,
      email: 'bo@x.test',
      url: 'https://x.test/a',
      path: 'src/edge/app.ts',
      count: 7,
      date: '2026-12-24',
    });
  });
});
