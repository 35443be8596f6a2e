import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, expect, test } from 'vitest';
import { LEDGER_MIGRATIONS } from '../../src/accounts/ledger/tables.ts';
import type { Bindings } from '../../src/durable/bindings.ts';
import { accountStub } from '../../src/durable/stubs.ts';
import { ACCOUNT_V1 } from '../fixtures/account-v1.ts';
import { resetAll } from '../support/reset.ts';
import { worstCaseWith } from './admission-requests.ts';

const bindings = env as unknown as Bindings;
const stub = () => accountStub(bindings, {}, 'alice');

afterEach(resetAll);

test('a database of the first schema opens: its limits, ledger, holds and tokens go on', async () => {
  await runInDurableObject(stub(), async (_, { storage }) => {
    await storage.deleteAll();
    for (const statement of ACCOUNT_V1) storage.sql.exec(statement);
  });
  await abortAllDurableObjects();
  const { data } = await stub().requests({});
  const [running, settled] = data;
  expect(settled).toMatchObject({ status: 'complete', model: 'claude-haiku-5-5', usage: { output_tokens: 34 } });
  expect(running).toMatchObject({ status: 'held', cost_usd: 0 });
  expect(running?.hold_usd).toBeGreaterThan(0);
  expect(await stub().standing({})).toMatchObject({ own_limits: { requests_per_minute: 60, usd_per_month: 2 } });
  const tokens = await stub().tokens({ limit: 20 });
  expect(tokens.data.map(({ label, revoked_at }) => [label, revoked_at !== null])).toEqual([
    ['lost', true],
    ['laptop', false],
  ]);
  // What came with later schemas is there, and empty.
  expect(await stub().conversations({ limit: 20 })).toMatchObject({ data: [], has_more: false });
  expect(await stub().storedNames('prefix', { limit: 20 })).toEqual([]);
  // What ran under the old version ends under the new one, once.
  const ending = {
    requestId: running?.request_id ?? '',
    status: 'complete',
    cost: 5_000,
    tokens: { input: 9, output: 9 },
  };
  await stub().settle(ending as Parameters<ReturnType<typeof stub>['settle']>[0]);
  expect((await stub().requests({})).data[0]).toMatchObject({ status: 'complete', cost_usd: 0.000005 });
  const ask = {
    requestId: 'req_of_today',
    route: 'messages',
    model: 'claude-haiku-5-5',
    bound: worstCaseWith(),
    defaults: {},
  };
  expect(await stub().admit(ask)).toMatchObject({ outcome: 'admitted' });
  await runInDurableObject(stub(), (_, { storage }) => {
    const version = storage.sql.exec("select value from meta where key = 'schema_version'").one();
    expect(version).toEqual({ value: String(LEDGER_MIGRATIONS.at(-1)?.version) });
  });
});
