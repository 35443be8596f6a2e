import { runInDurableObject } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { LEDGER_MIGRATIONS } from '../../src/accounts/ledger/tables.ts';
import { CONVERSATION_MIGRATIONS } from '../../src/conversations/storage/tables.ts';
import { type Migration, migrate } from '../../src/durable/migrations.ts';
import { POOL_MIGRATIONS } from '../../src/pools/tables.ts';
import { EVENT_MIGRATIONS } from '../../src/webhooks/inbox/event-store.ts';
import { stubOf } from '../support/conversations.ts';

const ALL: readonly (readonly Migration[])[] = [
  LEDGER_MIGRATIONS,
  CONVERSATION_MIGRATIONS,
  EVENT_MIGRATIONS,
  POOL_MIGRATIONS,
];

test.each(ALL.map((migrations) => [migrations]))(
  'tables that are made at once are those of all steps',
  async (migrations) => {
    await runInDurableObject(stubOf('empty'), async (_, { storage }) => {
      await storage.deleteAll();
      migrate(storage, migrations);
      const atOnce = schemaIn(storage.sql);
      await storage.deleteAll();
      migrate(storage, migrations, new Map([['schema_version', '0']]));
      expect(atOnce).toEqual(schemaIn(storage.sql));
      expect(atOnce.map(({ name }) => name)).toContain('meta');
    });
  },
);

/** @returns the tables and indexes with their columns, and the version that is stored */
function schemaIn(sql: SqlStorage) {
  const query = "select name, type, tbl_name from sqlite_master where name not like '\\_cf%' escape '\\' order by name";
  return [...sql.exec<{ name: string; type: string; tbl_name: string }>(query)].map(({ name, type, tbl_name }) => ({
    name,
    type,
    columns: [...sql.exec(`select * from ${type === 'table' ? 'pragma_table_info' : 'pragma_index_info'}(?)`, name)],
    indexes: [...sql.exec('select name, "unique", partial from pragma_index_list(?)', tbl_name)],
    strict: [...sql.exec('select wr, strict from pragma_table_list(?)', tbl_name)],
    version: name === 'meta' ? [...sql.exec('select * from meta')] : undefined,
  }));
}

test('versions of a schema follow one another', () => {
  for (const migrations of ALL) {
    expect(migrations.map(({ version }) => version)).toEqual(migrations.map((_, index) => index + 1));
  }
});

test('a schema only adds to the one before, so that the release before can still work on it', () => {
  for (const migrations of ALL) {
    const tables = new Set<string>();
    for (const { version, sql } of migrations) {
      const added = new Set<string>();
      /** Columns that this version adds to tables that were there before. */
      const columns = new Set<string>();
      for (const statement of sql.split(';').map((part) => part.replace(/\s+/g, ' ').trim())) {
        if (statement === '') continue;
        const said = `version ${version}: ${statement}`;
        const [, made] = /^create table (\w+) \(/i.exec(statement) ?? [];
        const [, of, name, column] = /^alter table (\w+) add column (\w+) (.*)$/i.exec(statement) ?? [];
        if (column !== undefined) columns.add(`${of}.${name}`);
        // A column that the release before does not write must do without it.
        if (column !== undefined)
          expect(/\bnot null\b/i.test(column) ? /\bdefault\b/i : /./, said).toSatisfy(is(column));
        const [, unique, on = '', rest = ''] = /^create (unique )?index \w+ on (\w+) \((.*)$/i.exec(statement) ?? [];
        // Rows of the release before know nothing of a new rule about them, but for one about a column that they lack.
        const [, filled] = /^(\w+)\) where \1 is not null$/i.exec(rest) ?? [];
        if (unique !== undefined && !columns.has(`${on}.${filled}`)) expect(tables, said).not.toContain(on);
        if (made !== undefined) added.add(made);
        // What a new table begins with.
        const [, into] = /^insert into (\w+) \(/i.exec(statement) ?? [];
        if (into !== undefined) expect(added, said).toContain(into);
        expect(made ?? column ?? into ?? on, `it adds nothing, but does something else: ${said}`).not.toBe('');
      }
      for (const name of added) tables.add(name);
    }
  }
});

const is = (text: string) => (pattern: RegExp) => pattern.test(text);
