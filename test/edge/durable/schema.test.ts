import { runInDurableObject } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { createTables, createTablesOnWrite, readMeta } from '#edge/durable/schema.ts';
import { Tables } from '#edge/durable/tables.ts';
import { stubOf } from '#test/support/conversations.ts';

const TABLE = 'create table things (id text primary key) strict, without rowid';

/** Does something in the storage of an object that has nothing yet. */
const inNew = async (id: string, does: (storage: DurableObjectStorage) => void) =>
  await runInDurableObject(stubOf(id), (_, { storage }) => does(storage));

test('the first write makes the tables, and no question before does', async () => {
  await inNew('written', (storage) => {
    const tables = new Tables(storage, createTablesOnWrite(storage, TABLE));
    expect(tables.read('select id from things')).toEqual([]);
    expect(tables.write("update things set id = 'b'")).toBe(0);
    expect(tables.areMissing).toBe(true);
    expect(readMeta(storage.sql)).toBeUndefined();
    tables.insert('things', { id: 'a' });
    tables.setMeta('key', 'value');
    expect(tables.read('select id from things')).toEqual([{ id: 'a' }]);
    expect(readMeta(storage.sql)).toEqual(new Map([['key', 'value']]));
    // The next life of the object has them.
    expect(createTablesOnWrite(storage, TABLE)).toBeUndefined();
  });
});

test('an object has all of its tables, or none', async () => {
  await inNew('failing', (storage) => {
    expect(() => createTables(storage, `${TABLE}; create table wrong`)).toThrow();
    expect(readMeta(storage.sql)).toBeUndefined();
    createTables(storage, TABLE);
    expect(readMeta(storage.sql)).toEqual(new Map());
  });
});

test('makes the tables with the next write after making them has failed, with all that belongs to them', async () => {
  await inNew('once', (storage) => {
    let failures = 1;
    const make = () => {
      createTables(storage, TABLE);
      tables.setMeta('first', '1');
      if (failures-- > 0) throw new Error('the write failed');
    };
    const tables: Tables = new Tables(storage, make);
    expect(() => tables.insert('things', { id: 'a' })).toThrow('failed');
    expect(readMeta(storage.sql)).toBeUndefined();
    expect(tables.read('select id from things')).toEqual([]);
    tables.insert('things', { id: 'a' });
    expect(tables.read('select id from things')).toEqual([{ id: 'a' }]);
    expect(tables.meta('first')).toBe('1');
  });
});
