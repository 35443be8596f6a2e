import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createValueChecker } from '#edge/kit/json/json-schema.ts';
import { resolveSchemaReferences } from '#edge/kit/json/schema-references.ts';
import { tryCases } from '#test/support/property-cases.ts';

const text = { type: 'string' };

describe('resolveSchemaReferences', () => {
  test('replaces references by their targets, and removes the definitions', () => {
    const given = {
      $defs: { Priority: { type: 'string', enum: ['low', 'high'] }, 'a/b': { $ref: '#/$defs/Priority' } },
      definitions: { Old: text },
      type: 'object',
      properties: {
        first: { $ref: '#/$defs/Priority' },
        list: { type: 'array', items: { $ref: '#/$defs/a~1b' } },
        either: { anyOf: [{ $ref: '#/definitions/Old' }, { type: 'null' }] },
        $ref: text,
        like: { $ref: '#/properties/either' },
        default: { type: 'string', default: { $ref: 'kept' } },
      },
    };
    const priority = { type: 'string', enum: ['low', 'high'] };
    const either = { anyOf: [text, { type: 'null' }] };
    expect(resolveSchemaReferences(given).schema).toEqual({
      type: 'object',
      properties: {
        first: priority,
        list: { type: 'array', items: priority },
        either,
        $ref: text,
        like: either,
        default: { type: 'string', default: { $ref: 'kept' } },
      },
    });
  });

  test('keeps the keywords beside a reference', () => {
    const $defs = { Name: { type: 'string', description: 'A name.' } };
    const of = (schema: object) => resolveSchemaReferences({ $defs, properties: { a: schema } }).schema?.properties;
    expect(of({ $ref: '#/$defs/Name', description: 'Whose.' })).toEqual({
      a: { type: 'string', description: 'Whose.' },
    });
    expect(of({ $ref: '#/$defs/Name', maxLength: 3 })).toMatchObject({ a: { type: 'string', maxLength: 3 } });
    expect(of({ $ref: '#/$defs/Name', type: 'integer' })).toEqual({ a: { allOf: [$defs.Name, { type: 'integer' }] } });
  });

  test.each([
    [{ $ref: '#' }, '$ref is recursive'],
    [
      { $defs: { A: { properties: { a: { $ref: '#/$defs/A' } } } }, $ref: '#/$defs/A' },
      'properties.a.$ref is recursive',
    ],
    [{ $ref: '#/$defs/None' }, '"#/$defs/None" does not'],
    [{ $ref: 'https://example.com/a.json' }, 'refer to a part of this schema'],
    [{ $ref: 7 }, '7 does not'],
    [{ $ref: '#/%E0%A4%A' }, 'does not'],
    [{ properties: { '\ud800': {} } }, 'a lone surrogate'],
  ])('reports the fault in %j', (given, words) => {
    expect(resolveSchemaReferences(given).fault).toContain(words);
  });

  test('rejects a schema whose references multiply and a schema that nests too deeply', () => {
    const $defs: Record<string, object> = { n0: text };
    for (let n = 1; n < 14; n += 1) {
      $defs[`n${n}`] = { properties: { a: { $ref: `#/$defs/n${n - 1}` }, b: { $ref: `#/$defs/n${n - 1}` } } };
    }
    expect(resolveSchemaReferences({ $defs, $ref: '#/$defs/n6' }).fault).toBeUndefined();
    expect(resolveSchemaReferences({ $defs, $ref: '#/$defs/n13' }).fault).toMatch(/nested more than|more than 2000/);
    let deep: Record<string, unknown> = text;
    for (let depth = 0; depth < 50_000; depth += 1) deep = { type: 'array', items: deep };
    expect(resolveSchemaReferences(deep).fault).toContain('nested more than');
  });

  test('returns a schema that accepts and rejects the same values', () => {
    const names = ['A', 'B', 'C'] as const;
    const leaf = fc.constantFrom({ type: 'string' }, { type: 'integer', minimum: 1 }, { enum: ['a', 1, null] });
    const part = (later: readonly string[]) =>
      fc.oneof(leaf, ...later.map((name) => fc.constant({ $ref: `#/$defs/${name}` })));
    const definition = (later: readonly string[]) =>
      fc.oneof(
        part(later),
        fc.record({ type: fc.constant('array'), items: part(later) }),
        fc.record({ type: fc.constant('object'), properties: fc.record({ a: part(later) }) }),
        fc.array(part(later), { minLength: 1, maxLength: 2 }).map((anyOf) => ({ anyOf })),
      );
    const schema = fc.record({
      $ref: fc.constantFrom(...names.map((name) => `#/$defs/${name}`)),
      $defs: fc.record({ A: definition(['B', 'C']), B: definition(['C']), C: definition([]) }),
    });
    const value = fc.oneof(
      fc.constantFrom<unknown>('a', 'b', 0, 1, null),
      fc.array(fc.constantFrom('a', 0, 1), { maxLength: 2 }),
      fc.record({ a: fc.constantFrom<unknown>('a', 0, [1]) }),
    );
    tryCases(200, schema, value, (given, tried) => {
      const { schema: resolved } = resolveSchemaReferences(given);
      const isRight = resolved && createValueChecker(resolved, { root: 'it' })(tried) === undefined;
      expect(isRight).toBe(new Ajv2020({ strict: false }).compile(given)(tried));
    });
  });
});

test('rejects a schema whose lists count too much once its references are resolved', () => {
  const choices = Array.from({ length: 1_000 }, (_, at) => `choice ${at}`);
  const repeat = (count: number) => ({
    $defs: { choice: { enum: choices } },
    anyOf: Array.from({ length: count }, () => ({ $ref: '#/$defs/choice' })),
  });
  expect(resolveSchemaReferences(repeat(100)).fault).toBeUndefined();
  expect(resolveSchemaReferences(repeat(1_000)).fault).toContain('more than 200000 values');
});
