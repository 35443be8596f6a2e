import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import { CONVERSATION_MIGRATIONS } from '../../src/conversations/storage/tables.ts';
import type { Migration } from '../../src/durable/migrations.ts';
import { accountStub } from '../../src/durable/stubs.ts';
import { CONVERSATION_V1 } from '../fixtures/conversation-v1.ts';
import { bindings, readOf, rowsOf, simulate, stubOf } from '../support/conversations.ts';
import { eventually } from '../support/eventually.ts';
import { resetAll } from '../support/reset.ts';
import { say } from '../support/turns.ts';

afterEach(resetAll);

test('a database of the first schema opens, also after a later migration, and its turn is closed', async () => {
  simulate();
  await runInDurableObject(stubOf(), (_, { storage }) => {
    for (const statement of CONVERSATION_V1) storage.sql.exec(statement);
  });
  await abortAllDurableObjects();
  const later: Migration = { version: 1_000, sql: "alter table turns add column later text default 'x'" };
  (CONVERSATION_MIGRATIONS as Migration[]).push(later);
  try {
    expect(await readOf()).toMatchObject({ system: 'Be brief.', model: 'claude-opus-5-5', turns: 4, messages: 8 });
    const rows = await rowsOf();
    expect(rows.map(({ role, status }) => `${role} ${status}`)).toEqual([
      'user complete',
      'assistant complete',
      'user refused',
      'assistant refused',
      'user interrupted',
      'assistant interrupted',
      'user interrupted',
      'assistant interrupted',
    ]);
    expect(rows[1]?.content).toEqual([{ type: 'text', text: 'Good morning' }]);
    await eventually(async () => {
      // The account of this test has never heard of the turn: what it cost is recorded all the same.
      const { data } = await accountStub(bindings, {}, 'alice').requests({});
      expect(data).toMatchObject([{ status: 'interrupted', conversation: 'c1', estimated: true }]);
    });
    await say({ messages: [{ role: 'user', content: 'And now?' }] });
    expect(await rowsOf()).toHaveLength(10);
    await runInDurableObject(stubOf(), (_, { storage }) => {
      expect(storage.sql.exec("select count(*) as turns from turns where later = 'x'").one()).toEqual({ turns: 5 });
      expect(storage.sql.exec("select value from meta where key = 'schema_version'").one()).toEqual({ value: '1000' });
    });
  } finally {
    (CONVERSATION_MIGRATIONS as Migration[]).pop();
  }
});
