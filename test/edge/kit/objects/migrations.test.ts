import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { COURSE_COLUMNS } from '../../../../src/edge/claude/pricing/usage-sums.ts';
import { type Migration, migrate } from '../../../../src/edge/kit/objects/migrations.ts';
import { LEDGER_MIGRATIONS } from '../../../../src/edge/money/ledger/tables.ts';
import { POOL_MIGRATIONS } from '../../../../src/edge/rooms/pools/tables.ts';
import { EVENT_MIGRATIONS } from '../../../../src/edge/rooms/webhooks/inbox/event-store.ts';
import { CONVERSATION_MIGRATIONS } from '../../../../src/edge/talk/storage/tables.ts';
import { rowsOf, simulate, stubOf } from '../../../support/conversations.ts';
import { say } from '../../../support/turns.ts';

const ALL: readonly (readonly Migration[])[] = [
  LEDGER_MIGRATIONS,
  CONVERSATION_MIGRATIONS,
  EVENT_MIGRATIONS,
  POOL_MIGRATIONS,
];

/** @returns a schema with a made-up step more: a column in its first table, and a table. */
function withNextStep(migrations: readonly Migration[]): Migration[] {
  const [, table] = /create table (\w+) \(/.exec(migrations[0]?.sql ?? '') ?? [];
  const sql = `alter table ${table} add column later text default 'x';
    create table later (id text primary key) strict, without rowid;`;
  return [...migrations, { version: migrations.length + 1, sql }];
}

test.each(ALL.map((migrations) => [migrations]))(
  'a schema with one more step brings what is stored to what a new object has, and the version before leaves that',
  async (migrations) => {
    await runInDurableObject(stubOf('empty'), async (_, { storage }) => {
      const next = withNextStep(migrations);
      await storage.deleteAll();
      migrate(storage, next);
      const atOnce = schemaIn(storage.sql);
      await storage.deleteAll();
      migrate(storage, migrations);
      expect(schemaIn(storage.sql)).not.toEqual(atOnce);
      migrate(storage, next);
      expect(schemaIn(storage.sql)).toEqual(atOnce);
      migrate(storage, migrations);
      expect(schemaIn(storage.sql)).toEqual(atOnce);
    });
  },
);

test('a conversation that was stored before a step has it when it wakes, and goes on', async () => {
  simulate();
  await say({ model: 'claude-opus-5-5', max_tokens: 50, messages: [{ role: 'user', content: 'A' }] });
  await abortAllDurableObjects();
  const later = { version: 1_000, sql: "alter table turns add column later text default 'x'" };
  (CONVERSATION_MIGRATIONS as Migration[]).push(later);
  try {
    await say({ messages: [{ role: 'user', content: 'B' }] });
    expect(await rowsOf()).toHaveLength(4);
    await runInDurableObject(stubOf(), (_, { storage }) => {
      expect(storage.sql.exec("select count(*) as turns from turns where later = 'x'").one()).toEqual({ turns: 2 });
      expect(storage.sql.exec("select value from meta where key = 'schema_version'").one()).toEqual({ value: '1000' });
    });
  } finally {
    (CONVERSATION_MIGRATIONS as Migration[]).pop();
  }
});

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

test.each([
  ['ledger', LEDGER_MIGRATIONS, 1],
  ['used', POOL_MIGRATIONS, 0],
] as const)(
  'what a release before stored gets the columns that new objects are born with: %s',
  async (table, steps, before) => {
    await runInDurableObject(stubOf('older'), async (_, { storage }) => {
      const columnsOf = (of: string) =>
        [...storage.sql.exec<{ name: string }>('select * from pragma_table_xinfo(?)', of)].map(
          ({ name, ...column }) => [name, { ...column, cid: 0 }],
        );
      const tables = [...(steps[0]?.sql ?? '').matchAll(/create table (\w+)/g)].map(([, name = '']) => name);
      await storage.deleteAll();
      migrate(storage, steps);
      const born = tables.map((name) => Object.fromEntries(columnsOf(name)));
      await storage.deleteAll();
      const older = steps.slice(0, before + 1).map((step) => ({ ...step, sql: withoutCourse(step.sql) }));
      migrate(storage, older);
      expect(columnsOf(table).map(([name]) => name)).not.toContain('failed');
      migrate(storage, steps);
      expect(tables.map((name) => Object.fromEntries(columnsOf(name)))).toEqual(born);
    });
  },
);

/** @returns the statements of a step without how requests went, as releases before had them */
function withoutCourse(sql: string): string {
  const names = [...COURSE_COLUMNS, 'first_event_ms', 'after_first_ms'].join('|');
  return sql.replace(
    new RegExp(`,\\s*(${names}) integer( as \\(.*?\\) virtual| not null default 0)?(?=[,\\n])`, 'g'),
    '',
  );
}

test('versions of a schema follow one another', () => {
  for (const migrations of ALL) {
    expect(migrations.map(({ version }) => version)).toEqual(migrations.map((_, index) => index + 1));
  }
});

test('a schema only adds to the one before, so that the release before can still work on it', () => {
  for (const migrations of ALL.map(withNextStep)) {
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
