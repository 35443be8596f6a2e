import { expect, test } from 'vitest';
import { LEDGER_MIGRATIONS } from '../../src/objects/ledger.ts';
import type { Migration } from '../../src/objects/migrations.ts';
import { CONVERSATION_MIGRATIONS } from '../../src/objects/transcript.ts';

const ALL: readonly (readonly Migration[])[] = [LEDGER_MIGRATIONS, CONVERSATION_MIGRATIONS];

test('versions of a schema follow one another', () => {
  for (const migrations of ALL) {
    expect(migrations.map(({ version }) => version)).toEqual(migrations.map((_, index) => index + 1));
  }
});

test('a later schema only adds to an earlier one, so that the version before can still work on it', () => {
  for (const { version, sql } of ALL.flat()) {
    expect(sql, `version ${version}`).not.toMatch(/\b(drop|rename)\b/i);
    // A column that the version before does not write must do without it.
    for (const [added] of sql.matchAll(/\badd\b[^;]*\bnot null\b[^;]*/gi)) expect(added).toMatch(/\bdefault\b/i);
  }
});
