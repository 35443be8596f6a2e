import { transformJSONSchema } from '@anthropic-ai/sdk/lib/transform-json-schema';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { countOptionalProperties, findRejectedSchemaParts } from '#edge/claude/request/schema-faults.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

type Schema = Record<string, unknown>;

const asFormat = (schema: Schema) =>
  findRejectedSchemaParts({ output_config: { format: { type: 'json_schema', schema } } });
const asTool = (schema: Schema) =>
  findRejectedSchemaParts({ tools: [{ name: 't', strict: true, input_schema: schema }] });

const name = fc.constantFrom('a', 'b', 'type', 'properties', 'minimum', '$ref');
const literal = fc.oneof(fc.string({ maxLength: 3 }), fc.integer(), fc.boolean(), fc.constant(null));
const annotations = fc.record({ title: fc.string(), description: fc.string(), default: literal }, { requiredKeys: [] });
const some = <T>(keywords: Record<string, fc.Arbitrary<T>>) => fc.record(keywords, { requiredKeys: [] });

/** Schemas as people write them, with all that the API refuses; objects have few members that may be left out. */
const { schema } = fc.letrec<{ schema: Schema; leaf: Schema }>((tie) => ({
  leaf: fc
    .tuple(
      annotations,
      fc.oneof(
        fc.record({ type: fc.constant('string') }),
        some<unknown>({
          type: fc.constant('string'),
          format: fc.constantFrom('date', 'regex', 'phone'),
          minLength: fc.nat(),
          pattern: fc.constant('^a'),
        }).map((one) => ({ ...one, type: 'string' })),
        some<unknown>({ minimum: fc.integer(), multipleOf: fc.constant(2) }).map((one) => ({
          ...one,
          type: 'integer',
        })),
        fc.record({
          type: fc.constantFrom<unknown>('integer', ['string', 'null']),
          enum: fc.array(literal, { minLength: 1 }),
        }),
        fc.record({ type: fc.constant(['object', 'null']), maxProperties: fc.nat() }),
        fc.record({ const: literal }),
        fc.record({ $ref: fc.constantFrom('#/$defs/leaf', '#/nowhere', 'https://a.test/b.json') }),
      ),
    )
    .map(([more, own]) => ({ ...more, ...own })),
  schema: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc
      .tuple(
        fc.dictionary(name, tie('schema'), { maxKeys: 3 }),
        some<unknown>({ minProperties: fc.nat(), not: tie('leaf') }),
      )
      .map(([properties, more]) => ({ ...more, type: 'object', properties, required: Object.keys(properties) })),
    some<unknown>({
      items: tie('schema'),
      minItems: fc.nat(3),
      uniqueItems: fc.boolean(),
      prefixItems: fc.array(tie('leaf')),
    }).map((one) => ({ ...one, type: 'array' })),
    fc
      .tuple(
        fc.constantFrom('anyOf', 'oneOf', 'allOf'),
        fc.array(tie('schema'), { minLength: 1, maxLength: 3 }),
        fc.boolean(),
      )
      .map(([union, branches, isObject]) => ({
        [union]: branches,
        ...(isObject && { type: 'object', properties: { a: { type: 'string' } }, required: ['a'] }),
      })),
  ),
}));

describe('a schema transformed by the SDK', () => {
  test('is accepted whatever the original schema contained', async () => {
    await tryCases(caseCount(1_000), schema, (inner) => {
      const $defs = { leaf: { type: 'string', maxLength: 9 } };
      const root = { type: 'object', properties: { inner }, required: ['inner'], $defs };
      const made = transformJSONSchema(root as never) as Schema;
      expect(asFormat(made)).toEqual([]);
      expect(asTool(made)).toEqual([]);
    });
  });

  test('is rejected if it is circular or has more than 24 optional properties', () => {
    const $defs = { tree: { type: 'object', properties: { next: { $ref: '#/$defs/tree' } }, required: ['next'] } };
    const tree = { type: 'object', properties: { tree: { $ref: '#/$defs/tree' } }, required: ['tree'], $defs };
    expect(asFormat(transformJSONSchema(tree as never) as Schema)).toMatchObject([
      { problem: 'output_config.format.schema: Circular reference detected in schema definitions' },
    ]);
    const open = (count: number) => {
      const properties = Object.fromEntries(Array.from({ length: count }, (_, at) => [`p${at}`, { type: 'string' }]));
      return transformJSONSchema({ type: 'object', properties } as never) as Schema;
    };
    expect([24, 25].map((count) => asTool(open(count)).length)).toEqual([0, 1]);
    expect(countOptionalProperties(open(30))).toBe(30);
  });
});

test('reports every rejected part of a schema with its tool and path', () => {
  const number = { type: 'integer', minimum: 1, maximum: 9 };
  const input_schema = { type: 'object', properties: { list: { type: 'array', items: number } }, required: ['list'] };
  const tools = [
    { type: 'web_search_20250305', name: 'web_search' },
    { name: 'loose', input_schema },
    { name: 'strict', strict: true, input_schema },
    { name: 'union', input_schema: { type: 'object', anyOf: [] } },
  ];
  const format = { type: 'json_schema', schema: { type: 'array', items: {} } };
  const path = 'tools.2.custom.input_schema';
  expect(findRejectedSchemaParts({ tools, output_config: { format } })).toEqual([
    {
      problem: 'tools.3.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level',
      path: '',
      tool: 3,
    },
    {
      problem: `${path}: For 'object' type, 'additionalProperties' must be explicitly set to false`,
      path: '',
      tool: 2,
    },
    {
      problem: `${path}: For 'integer' type, property 'minimum' is not supported`,
      path: 'properties.list.items',
      tool: 2,
    },
    {
      problem: `${path}: For 'integer' type, property 'maximum' is not supported`,
      path: 'properties.list.items',
      tool: 2,
    },
    {
      problem: 'output_config.format.schema: Empty schema ({}) that accepts any JSON value is not supported',
      path: 'items',
    },
  ]);
});

test('ignores invalid values in place of a schema, and checks any schema quickly', async () => {
  await tryCases(caseCount(500), fc.jsonValue(), fc.jsonValue(), (tools, output_config) => {
    expect(Array.isArray(findRejectedSchemaParts({ tools, output_config }))).toBe(true);
  });
  // Each refers twice to the next: a walk along references would take 2^40 steps.
  const twice = (at: number) => ({ anyOf: [{ $ref: `#/$defs/d${at + 1}` }, { $ref: `#/$defs/d${at + 1}` }] });
  const $defs = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`d${at}`, twice(at)]));
  expect(asFormat({ $ref: '#/$defs/d0', $defs: { ...$defs, d40: { type: 'string' } } })).toEqual([]);
  const deep = Array.from({ length: 200 }).reduce<Schema>((items) => ({ type: 'array', items }), { type: 'string' });
  expect(asFormat(deep)[0]?.problem).toBe('output_config.format.schema: Schema is too complex for compilation.');
});
