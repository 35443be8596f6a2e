import { expect, inject, test } from 'vitest';
import { measureRows } from '#test/support/growth.ts';
import { resetAll } from '#test/support/reset.ts';

/** Numbers of stored objects of each kind. The first one is larger than a page of any list, and than what is kept as recent. */
const FEW = 250;
const MANY = inject('propertyRuns') < 1 ? 1_000 : 20_000;
/** By how many rows a count may differ: rows that are found in pages, and rows of earlier requests of the same test. */
const TOLERATED_ROWS = 150;

/** Routes that read what is stored as a whole, each with the reason. */
const WHOLE_READS: Readonly<Record<string, string>> = {
  'a turn of long ago': 'turns are looked for from the newest; an index would cost each turn a row',
  'a request by the id of the upstream':
    'is looked for among the newest 20,000; an index would cost each request a row',
  'a turn after a wake':
    'the history is sent as a whole; the credits and the newest 1,024 requests of the account are kept in memory',
  'the alarm: account': 'wakes the pool, which keeps all leases in memory',
  'GET /accounts/:id/export': 'an export',
  'GET /conversations/:id/export': 'an export',
  'GET /accounts/:id/backup': 'a backup',
  'GET /pools/deployment/backup': 'a backup',
  'GET /overview': 'sums over the leases of all accounts',
  'POST /tokens': 'counts the valid tokens; an account keeps at most 10,000',
  'POST /conversations/:id/fork': 'copies the history',
  'POST /conversations/:id/rewind': 'counts the turns that remain',
  'DELETE /conversations/:id': 'deletes the history',
  'PUT /accounts/:id/block': 'looks for the conversations that are to be stopped',
  'DELETE /accounts/:id/tokens/:jti': 'looks for the conversations that are to be stopped',
  'DELETE /accounts/:id/tokens': 'revokes all tokens, and looks for the conversations that are to be stopped',
  'DELETE /accounts/:id': 'an erasure, which works in steps of some thousand rows',
};

test('every route, event and alarm reads and writes a bounded number of rows, whatever is stored', async () => {
  const few = await measureRows(FEW);
  await resetAll();
  const many = await measureRows(MANY);
  const grown = [...many].flatMap(([name, { read, written, statement }]) => {
    const before = few.get(name) ?? { read: 0, written: 0 };
    const isGrown = read - before.read > TOLERATED_ROWS || written - before.written > TOLERATED_ROWS;
    return isGrown
      ? [`${name}: reads ${before.read} → ${read}, writes ${before.written} → ${written}; ${statement}`]
      : [];
  });
  expect(grown.filter((line) => !Object.keys(WHOLE_READS).some((name) => line.startsWith(`${name}: `)))).toEqual([]);
  // A listed route that has become flat is removed from the list. With more objects, some of them are refused.
  if (MANY > 1_000) return;
  for (const name of Object.keys(WHOLE_READS)) expect(grown.join('\n')).toContain(`${name}: `);
});
