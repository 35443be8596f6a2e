import { expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import type { LedgerRow, UsageReport } from '#edge/money/account/usage-answers.schema.ts';
import type { TestApp } from '#test/support/app.ts';
import {
  authorizationFor,
  createProse,
  createSimulatedEdge,
  requestUsage,
  storePrefix,
} from '#test/support/prefixes.ts';

const SUPPORT = { system: createProse(600), model: 'claude-opus-5-5' };
const nano = (usd: number) => Math.round(usd * 1e9);

async function byPrefix(app: TestApp, headers: Record<string, string>): Promise<UsageReport> {
  const response = await app.fetch('/usage?group_by=prefix', { headers });
  expect(response.status).toBe(200);
  return (await response.json()) as UsageReport;
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

test('the savings reported for each prefix version match the ledger to the nanodollar', async () => {
  const app = createSimulatedEdge();
  const [root, alice] = [await authorizationFor('root', 'admin'), await authorizationFor('alice')];
  await storePrefix(app, 'support', { ...SUPPORT, cache_ttl: '1h' }, root);
  for (const headers of [alice, alice, alice]) await requestUsage(app, { prefix: 'support' }, headers);
  await storePrefix(app, 'support', { ...SUPPORT, system: createProse(900) }, root);
  await requestUsage(app, { prefix: 'support', messages: [{ role: 'user', content: createProse(50) }] }, alice);
  await requestUsage(app, {}, alice);

  const rows = await ledgerOf(app, alice);
  const { data, total } = await byPrefix(app, alice);
  const versions = new Set(rows.map(({ prefix }) => prefix));
  expect(new Set(data.map(({ key }) => key))).toEqual(versions);
  for (const { key, requests, usage, saved_usd } of data) {
    const own = rows.filter(({ prefix }) => prefix === key);
    expect({ requests, read: usage.cache_read_input_tokens, saved: nano(saved_usd) }).toEqual({
      requests: own.length,
      read: own.reduce((sum, row) => sum + row.usage.cache_read_input_tokens, 0),
      saved: savedBy(own),
    });
  }
  expect(nano(total.saved_usd)).toBe(savedBy(rows));
  // One was read three times for a write at twice the price, the other was only written.
  expect(data.map(({ saved_usd }) => Math.sign(saved_usd)).sort()).toEqual([-1, 0, 1]);
});
