import { runInDurableObject } from 'cloudflare:test';
import { expect, test } from 'vitest';
import * as z from 'zod/mini';
import { MODELS } from '../../../../src/edge/claude/pricing/models.ts';
import { accountStub } from '../../../../src/edge/kit/objects/stubs.ts';
import type { Account } from '../../../../src/edge/money/account/account.ts';
import type { LedgerRow } from '../../../../src/edge/money/account/usage-answers.schema.ts';
import { type PrefixStats, prefixStats } from '../../../../src/edge/named/prefixes/prefixes-answers.schema.ts';
import type { TestApp } from '../../../support/app.ts';
import { alarmsByHand } from '../../../support/in-flight.ts';
import { as, bindings, prose, put, simulatedEdge, usageOf } from '../../../support/prefixes.ts';

const SUPPORT = { system: prose(600), model: 'claude-opus-5-5' };
const nano = (usd: number) => Math.round(usd * 1e9);

async function stats(app: TestApp, name: string, headers: Record<string, string>, query = ''): Promise<PrefixStats> {
  const response = await app.fetch(`/prefixes/${name}/stats${query}`, { headers });
  expect(response.status).toBe(200);
  return z.strictObject(prefixStats.shape).parse(await response.json());
}

async function ledgerOf(app: TestApp, headers: Record<string, string>): Promise<LedgerRow[]> {
  const response = await app.fetch('/usage/requests?limit=1000', { headers });
  return ((await response.json()) as { data: LedgerRow[] }).data;
}

/** What the rows of a ledger say that caching has saved, by the price table. */
function savedBy(rows: readonly LedgerRow[]): number {
  return rows.reduce((sum, { answered_by, model, usage }) => {
    const row = MODELS.find(({ id }) => id === (answered_by ?? model));
    if (!row) throw new Error(`no ${model}`);
    const { input_tokens, cache_read_input_tokens, cache_write_5m_input_tokens, cache_write_1h_input_tokens } = usage;
    const prompt = input_tokens + cache_read_input_tokens + cache_write_5m_input_tokens + cache_write_1h_input_tokens;
    const long = row.prices.long_prompt;
    const price = long && prompt > long.above_tokens ? long : row.prices;
    const cached =
      cache_read_input_tokens * price.cache_read +
      cache_write_5m_input_tokens * price.cache_write_5m +
      cache_write_1h_input_tokens * price.cache_write_1h;
    return sum + Math.round(((prompt - input_tokens) * price.input - cached) * 1_000);
  }, 0);
}

test('agree with the ledgers to the token, for everybody who has used the prefix', async () => {
  const app = simulatedEdge();
  const [root, alice, bob, carol] = [await as('root', 'admin'), await as('alice'), await as('bob'), await as('carol')];
  await put(app, 'support', { ...SUPPORT, cache_ttl: '1h' }, root);
  for (const headers of [alice, bob, alice, root]) await usageOf(app, { prefix: 'support' }, headers);
  await put(app, 'support', { ...SUPPORT, system: prose(900) }, root);
  for (const headers of [alice, bob]) {
    await usageOf(app, { prefix: 'support', messages: [{ role: 'user', content: prose(50) }] }, headers);
  }
  // Not of this prefix: another one, none, and one of the same name that is the account's own.
  await put(app, 'other', { ...SUPPORT, system: prose(700) }, root);
  await usageOf(app, { prefix: 'other' }, alice);
  await usageOf(app, {}, alice);
  await put(app, 'support', { ...SUPPORT, system: 'Mine.' }, carol);
  await usageOf(app, { prefix: 'support' }, carol);

  const ledgers = await Promise.all([alice, bob, root].map((headers) => ledgerOf(app, headers)));
  const { version } = (await (await app.fetch('/prefixes/support', { headers: root })).json()) as { version: string };
  const rows = ledgers.flat().filter(({ prefix }) => prefix?.startsWith('support@'));
  const all = await stats(app, 'support', root);
  const sum = (kind: keyof LedgerRow['usage']) => rows.reduce((total, { usage }) => total + usage[kind], 0);
  expect(all.total).toMatchObject({
    requests: 6,
    answered: 6,
    cache_writes: rows.filter(({ usage }) => usage.cache_write_5m_input_tokens + usage.cache_write_1h_input_tokens > 0)
      .length,
    cache_reads: rows.filter(({ usage }) => usage.cache_read_input_tokens > 0).length,
    input_tokens: sum('input_tokens'),
    cache_read_input_tokens: sum('cache_read_input_tokens'),
    cache_write_5m_input_tokens: sum('cache_write_5m_input_tokens'),
    cache_write_1h_input_tokens: sum('cache_write_1h_input_tokens'),
    tokens_saved: sum('cache_read_input_tokens'),
  });
  expect(all.total.hit_rate).toBeCloseTo(all.total.cache_reads / 6);
  expect(nano(all.total.saved_usd)).toBe(savedBy(rows));
  expect(all.owner).toBe('deployment');
  expect(all.data.map((row) => row.requests).sort()).toEqual([2, 4]);
  expect(all.data.find((row) => row.version === version)?.requests).toBe(2);

  // Everybody else sees what they have used themselves.
  const own = await stats(app, 'support', bob);
  const bobs = (ledgers[1] ?? []).filter(({ prefix }) => prefix?.startsWith('support@'));
  expect({ requests: own.total.requests, saved: nano(own.total.saved_usd) }).toEqual({
    requests: 2,
    saved: savedBy(bobs),
  });
  expect(await stats(app, 'support', carol)).toMatchObject({ owner: 'account', total: { requests: 1 } });
});

test('say when a prefix has lost money, by day, and by the tier of long prompts', async () => {
  alarmsByHand();
  const app = simulatedEdge();
  const alice = await as('alice');
  const { version } = await put(app, 'rare', { ...SUPPORT, cache_ttl: '1h' }, alice);
  await runInDurableObject(accountStub(bindings, {}, 'alice'), (account: Account) => {
    const day = Date.parse('2026-11-20T12:00:00Z');
    Object.assign(account, { now: () => day + 5 * 86_400_000 });
    const settled = (id: string, at: number, model: string, tokens: object) =>
      account.settle({
        requestId: id,
        status: 'complete',
        cost: 1,
        startedAt: at,
        answeredBy: model,
        tokens,
        opening: { route: 'messages', model, about: { prefix: version } },
      });
    settled('req_1', day, 'claude-opus-5-5', { input: 5, cacheWrite1h: 1_000 });
    settled('req_2', day + 86_400_000, 'claude-haiku-5-5', { input: 5, cacheRead: 90_000 });
    settled('req_3', day + 86_400_000, 'claude-haiku-5-5', { input: 20_000, cacheRead: 90_000 });
    settled('req_4', day + 86_400_000, 'odd "name"', { input: 1 });
    settled('req_5', day + 86_400_000, 'claude-opus-5-5', {});
  });
  const { data } = await stats(app, 'rare', alice);
  expect(data).toMatchObject([
    { day: '2026-11-20', version, requests: 1, hit_rate: 0, saved_usd: -0.004 },
    { day: '2026-11-21', requests: 4, answered: 3, tokens_saved: 180_000, saved_usd: 0.0486 },
  ]);
  const one = await stats(app, 'rare', alice, '?from=2026-11-20&to=2026-11-21');
  expect(one).toMatchObject({ from: '2026-11-20', to: '2026-11-21', total: { requests: 1, saved_usd: -0.004 } });
  expect((await app.fetch('/prefixes/rare/stats?from=x', { headers: alice })).status).toBe(400);
  expect((await app.fetch('/prefixes/none/stats', { headers: alice })).status).toBe(404);
});

test('the figures of a prefix that nobody has used are empty', async () => {
  const app = simulatedEdge();
  const alice = await as('alice');
  await put(app, 'unused', SUPPORT, alice);
  expect(await stats(app, 'unused', alice)).toMatchObject({
    data: [],
    total: { requests: 0, hit_rate: null, saved_usd: 0 },
  });
});
