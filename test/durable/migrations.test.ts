import { expect, test } from 'vitest';
import { LEDGER_MIGRATIONS } from '../../src/accounts/ledger/tables.ts';
import { CONVERSATION_MIGRATIONS } from '../../src/conversations/storage/tables.ts';
import type { Migration } from '../../src/durable/migrations.ts';
import { EVENT_MIGRATIONS } from '../../src/webhooks/inbox/event-store.ts';

const ALL: readonly (readonly Migration[])[] = [LEDGER_MIGRATIONS, CONVERSATION_MIGRATIONS, EVENT_MIGRATIONS];

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
