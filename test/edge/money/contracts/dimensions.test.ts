import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  createDimensionGrouping,
  type Dimension,
  type DimensionValues,
  OF_TAGS,
  parseDimensionsColumn,
  serializeDimensions,
} from '#edge/money/contracts/dimensions.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const value = fc.oneof(
  fc.string({ minLength: 1 }),
  fc.nat(9),
  fc.record({ label: fc.string() }),
  fc.array(fc.string()),
);
const NAMES = ['prefix', 'agent', 'user', 'chosen_by', 'colour'];
const values: fc.Arbitrary<DimensionValues> = fc.dictionary(fc.constantFrom(...NAMES), value);

test('stores and parses the dimensions of a request, including unknown names', () => {
  tryCases(caseCount(300), values, (said) => {
    const shown = parseDimensionsColumn(serializeDimensions(said));
    const nothing = { prefix: null, agent: null, user: null, batch: null, outcomes: null, tags: {} };
    expect(shown).toEqual({ ...nothing, ...said });
  });
  expect(parseDimensionsColumn(serializeDimensions({ tags: 'a=1,b=2' })).tags).toEqual({ a: '1', b: '2' });
});

test('stores null for a request without dimensions', () => {
  expect([{}, { tags: undefined }, { agent: null }, { user: '' }].map(serializeDimensions)).toEqual([
    null,
    null,
    null,
    null,
  ]);
});

test('groups a dimension by its values in the row’s JSON', () => {
  const tables = new DatabaseSync(':memory:');
  tables.exec('create table ledger (dimensions text)');
  const valuesOf = (dimension: Dimension, said: DimensionValues) => {
    tables.prepare('delete from ledger').run();
    tables.prepare('insert into ledger values (?)').run(serializeDimensions(said));
    const { sql, parseGroupValues: valuesIn } = createDimensionGrouping(dimension, 'x');
    const [row] = tables.prepare(`select ${sql} as cell from ledger`).all();
    return typeof row?.cell === 'string' ? valuesIn(row.cell) : [];
  };
  const colour: Dimension<string> = { name: 'colour', group: 'colour' };
  const sizes: Dimension<{ of: string[] }> = { name: 'sizes', group: 'size', values: ({ of }) => of };
  const said = { colour: 'it’s "red"', sizes: { of: ['s', 'l'] }, tags: 'a=1,b=2' };
  expect(valuesOf(colour, said)).toEqual(['it’s "red"']);
  expect(valuesOf(sizes, said)).toEqual(['', 's', 'l']);
  expect(valuesOf(OF_TAGS, said)).toEqual(['', 'a=1', 'b=2']);
  expect(valuesOf(colour, { sizes: said.sizes })).toEqual([]);
  expect(valuesOf(colour, {})).toEqual([]);
  tables.close();
});
