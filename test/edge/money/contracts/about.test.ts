import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type About,
  aboutIn,
  columnFor,
  columnsAbout,
  crossing,
  type Dimension,
  OF_TAGS,
  shownAbout,
} from '../../../../src/edge/money/contracts/about.ts';
import { runs, tryCases } from '../../../support/runs.ts';

const value = fc.oneof(
  fc.string({ minLength: 1 }),
  fc.nat(9),
  fc.record({ label: fc.string() }),
  fc.array(fc.string()),
);
const RELEASED = ['prefix', 'agent', 'chosenBy', 'tags', 'user'];
const about: fc.Arbitrary<About> = fc.dictionary(fc.constantFrom(...RELEASED, 'colour', 'of a newer Worker'), value);

test('what a request is about comes to its row, also by a name that nobody here knows', () => {
  tryCases(runs(300), about, (said) => {
    const crossed = JSON.parse(JSON.stringify(crossing(said)));
    // The release before reads the members, and a later one may write all of it in one.
    for (const name of RELEASED) expect(crossed[name]).toEqual(said[name]);
    expect(aboutIn(crossed)).toEqual(said);
    expect(aboutIn({ about: said })).toEqual(said);
    const { chosen_by = null, about: others = null, ...columns } = columnsAbout(said);
    const { prefix, agent, tags, user, chosenBy, ...unknown } = said;
    expect(shownAbout({ chosen_by: null, about: others })).toEqual(unknown);
    expect(chosen_by).toBe(
      chosenBy === undefined ? null : typeof chosenBy === 'string' ? chosenBy : JSON.stringify(chosenBy),
    );
    expect(Object.keys(columns).sort()).toEqual(['agent', 'prefix', 'tags', 'user'].filter((name) => name in said));
  });
});

test('a dimension without a column of its own is summed by what its row has in JSON', () => {
  const tables = new DatabaseSync(':memory:');
  tables.exec('create table ledger (tags text, about text)');
  const valuesOf = (dimension: Dimension, said: About) => {
    const { about = null, tags = null } = columnsAbout(said);
    tables.prepare('delete from ledger').run();
    tables.prepare('insert into ledger values (?, ?)').run(tags, about);
    const { sql, valuesIn } = columnFor(dimension, 'x');
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
