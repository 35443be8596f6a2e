import Ajv from 'ajv';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toApiInputSchema } from '#edge/plugins/runs/mcp/input-schema.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const page = {
  type: 'object',
  properties: { page: { type: 'string' }, title: { type: 'string' } },
  required: ['page', 'title'],
};
const database = {
  type: 'object',
  properties: { database: { type: 'string' }, title: { type: 'number' } },
  required: ['database', 'title'],
};

describe('the schema of a tool’s input', () => {
  test.each<[string, object, unknown]>([
    ['stays as it is where it is an object', page, page],
    ['is one of an object where it says nothing', {}, { type: 'object' }],
    ['is one of an object where it has no type', { properties: { a: {} } }, { type: 'object', properties: { a: {} } }],
    [
      'has what all branches need where one of them is enough',
      { type: 'object', anyOf: [page, database] },
      {
        type: 'object',
        properties: {
          page: { type: 'string' },
          title: { anyOf: [{ type: 'string' }, { type: 'number' }] },
          database: { type: 'string' },
        },
        required: ['title'],
      },
    ],
    [
      'has what each branch needs where all hold',
      { properties: { id: { type: 'string' } }, required: ['id'], allOf: [page, { properties: { size: {} } }] },
      {
        type: 'object',
        properties: { id: { type: 'string' }, page: { type: 'string' }, title: { type: 'string' }, size: {} },
        required: ['id', 'page', 'title'],
      },
    ],
    [
      'is merged in a branch, too',
      { oneOf: [{ anyOf: [page, page] }, page] },
      { type: 'object', properties: page.properties, required: page.required },
    ],
  ])('%s', (_, schema, merged) => {
    expect(toApiInputSchema(schema)).toEqual(merged);
  });

  test.each<[string, unknown]>([
    ['none', undefined],
    ['one of a list', { type: 'array' }],
    ['one of a branch that has no properties', { anyOf: [page, { required: ['page'] }] }],
    ['one of a branch that is no object', { anyOf: [page, { type: 'string' }] }],
    ['one of a branch that is elsewhere', { oneOf: [{ $ref: '#/$defs/page' }], $defs: { page } }],
    ['one of no branch', { anyOf: [] }],
    ['one that refers to a branch', { anyOf: [page], properties: { same: { $ref: '#/anyOf/0/properties/page' } } }],
  ])('cannot be sent to the API if it is %s', (_, schema) => {
    expect(toApiInputSchema(schema)).toBeUndefined();
  });

  test('accepts each input that the server’s schema accepts and whose properties that schema names', () => {
    const form = fc.constantFrom({ type: 'string' }, { type: 'number' }, {});
    const names = ['a', 'b', 'c'];
    const one = fc.record({
      properties: fc.dictionary(fc.constantFrom(...names), form),
      required: fc.subarray(names),
    });
    const union = fc.constantFrom('anyOf' as const, 'oneOf' as const, 'allOf' as const);
    const input = fc.dictionary(fc.constantFrom(...names), fc.oneof(fc.string(), fc.integer()));
    const ajv = new Ajv({ strict: false });
    tryCases(
      caseCount(1_000),
      one,
      union,
      fc.array(one, { minLength: 1, maxLength: 3 }),
      input,
      (own, name, all, value) => {
        const isNamedBy = (branch: typeof own) =>
          Object.keys(value).every((key) => key in own.properties || key in branch.properties);
        const isMeant = (branch: typeof own) => ajv.validate({ allOf: [own, branch] }, value) && isNamedBy(branch);
        const isTaken = name === 'allOf' ? ajv.validate({ allOf: [own, ...all] }, value) : all.some(isMeant);
        if (isTaken) expect(ajv.validate(toApiInputSchema({ ...own, [name]: all }) ?? false, value)).toBe(true);
      },
    );
  });
});
