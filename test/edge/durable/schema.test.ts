import { runInDurableObject } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { createDeferredTableCreator, createTables, readMetaTable } from '#edge/durable/schema.ts';
import { SqlTables } from '#edge/durable/tables.ts';
import { stubOf } from '#test/support/conversations.ts';

const TABLE = 'create table things (id text primary key) strict, without rowid';

/** Does something in the storage of an object that has nothing yet. */
const inNew = async (id: string, does: (storage: DurableObjectStorage) => void) =>
  await runInDurableObject(stubOf(id), (_, { storage }) => does(storage));

test('the first inserted row creates the tables, and reads and updates before it do not', async () => {
  await inNew('written', (storage) => {
    const tables = new SqlTables(storage, createDeferredTableCreator(storage, TABLE));
    expect(tables.readAllRows('select id from things')).toEqual([]);
    expect(tables.runWriteStatement("update things set id = 'b'")).toBe(0);
    expect(tables.areTablesMissing).toBe(true);
    expect(readMetaTable(storage.sql)).toBeUndefined();
    tables.insertRow('things', { id: 'a' });
    tables.writeMetaValue('key', 'value');
    expect(tables.readAllRows('select id from things')).toEqual([{ id: 'a' }]);
    expect(readMetaTable(storage.sql)).toEqual(new Map([['key', 'value']]));
    // The next life of the object has them.
    expect(createDeferredTableCreator(storage, TABLE)).toBeUndefined();
  });
});

test('an object has either all of its tables or none', async () => {
  await inNew('failing', (storage) => {
    expect(() => createTables(storage, `${TABLE}; create table wrong`)).toThrow();
    expect(readMetaTable(storage.sql)).toBeUndefined();
    createTables(storage, TABLE);
    expect(readMetaTable(storage.sql)).toEqual(new Map());
  });
});

test('the next write creates the tables and their first values after their creation has failed', async () => {
  await inNew('once', (storage) => {
    let failures = 1;
    const make = () => {
      createTables(storage, TABLE);
      tables.writeMetaValue('first', '1');
      if (failures-- > 0) throw new Error('the write failed');
    };
    const tables: SqlTables = new SqlTables(storage, make);
    expect(() => tables.insertRow('things', { id: 'a' })).toThrow('failed');
    expect(readMetaTable(storage.sql)).toBeUndefined();
    expect(tables.readAllRows('select id from things')).toEqual([]);
    tables.insertRow('things', { id: 'a' });
    expect(tables.readAllRows('select id from things')).toEqual([{ id: 'a' }]);
    expect(tables.readMetaValue('first')).toBe('1');
  });
});
