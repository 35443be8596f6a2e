import { beforeEach, describe, expect, test } from 'vitest';
import { createSimulatorUpstream } from '#edge/claude/simulator-upstream.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { bindings, installSimulator } from '#test/support/conversations.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createBody, runTurn } from '#test/support/turns.ts';

const MODEL = 'claude-opus-5-5';
let app: TestApp;
let accounts = 0;
let account = '';
beforeEach(() => {
  const { fetch } = createSimulatorUpstream(installSimulator());
  app = createTestApp(({ url, method, headers, body }) => fetch(url.href, { method, headers, body }), DEPLOYED_VARS);
  account = `spender-${++accounts}`;
});

const object = () => getAccountStub(bindings, {}, account);
const limit = async (limits: Limits) => await object().setLimits(limits);

interface Heard {
  status: number;
  used: number | undefined;
  fits: boolean | undefined;
  headers: Headers;
}

/** Asks, and reads what is said of the budget: in headers, or behind a stream. */
async function ask(path: string, more: object = {}, token?: string): Promise<Heard> {
  const body = { model: MODEL, max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }], ...more };
  const headers = { ...bearerHeader(token ?? (await createToken(account))), 'sluice-stream-cost': 'true' };
  const response = await app.post(path, body, headers);
  const text = await response.text();
  await app.waitUntilSettled();
  const said = (name: string) => response.headers.get(name) ?? new RegExp(`^: ${name}=(.*)$`, 'm').exec(text)?.[1];
  const [used, fits] = [said('sluice-budget-used'), said('sluice-budget-fits')];
  const { status } = response;
  return {
    status,
    used: used === undefined ? used : Number(used),
    fits: fits && fits === 'true',
    headers: response.headers,
  } as Heard;
}

/** The share as the ledger has it, rounded down. */
const share = (settled: number, of: number) => Math.floor(Math.round(settled * 1e9) / Math.round(of * 1e5)) / 10_000;

describe.each([
  ['a whole answer', '/v1/messages', {}],
  ['a stream', '/messages', {}],
  ['a whole answer of a conversation', '/v1/messages', { conversation: 'c1' }],
  ['a stream of a conversation', '/messages', { conversation: 'c1' }],
])('%s', (_, path, more) => {
  test('reports the used share of the budget, and whether another request fits', async () => {
    await limit({ usd_per_day: 0.02, usd_per_month: 1 });
    let before: Heard | undefined;
    for (let asked = 0; asked < 99; asked += 1) {
      const heard = await ask(path, more);
      const { day } = await object().getQuotaReport();
      expect(heard.used).toBe(share(day.settled_usd, 0.02));
      if (heard.status === 429) {
        expect(heard.fits).toBeUndefined();
        break;
      }
      expect(before?.fits).not.toBe(false);
      before = heard;
    }
    expect(before).toMatchObject({ status: 200, fits: false });
  });

  test('reports no budget without a limit in USD', async () => {
    for (const limits of [{}, { requests_per_minute: 60, models: [MODEL] }]) {
      await limit(limits);
      expect(await ask(path, more)).toMatchObject({ status: 200, used: undefined, fits: undefined });
    }
  });
});

test('reports the largest used share among credit and a token’s own limit', async () => {
  await limit({ usd_total: 0 });
  const credit = { expiresAt: null, note: undefined, key: undefined };
  await object().giveCredit({ ...credit, id: 'credit_1', usd: 0.05 });
  const heard = await ask('/v1/messages');
  const { total } = await object().getQuotaReport();
  expect(heard).toMatchObject({ used: share(total.settled_usd, 0.05), fits: true });
  await object().giveCredit({ ...credit, id: 'credit_2', usd: 0.05 });
  const limits = { usd_total: 0.02 };
  const minted = await app.post(
    '/tokens',
    { account, scopes: ['messages'], limits },
    bearerHeader(await createToken('root', ['admin'])),
  );
  const { token } = (await minted.json()) as { token: string };
  const by = await ask('/v1/messages', {}, token);
  const all = (await object().getQuotaReport()).total.settled_usd;
  expect(by.used).toBe(share(all - total.settled_usd, 0.02));
  expect(by.used).toBeGreaterThan(share(all, 0.1));
});

test('counts the holds of other requests as unavailable, but not as used', async () => {
  await limit({ usd_per_day: 0.0201, on_shortfall: 'refuse' });
  const free = await ask('/v1/messages');
  expect(free.fits).toBe(true);
  const held = { route: 'messages', model: MODEL, maximumCost: await boundOf(0.0145) };
  await object().admitJson(JSON.stringify({ requestId: 'req_held', ...held }));
  const beside = await ask('/v1/messages');
  const { day } = await object().getQuotaReport();
  expect([beside.status, beside.fits, beside.used]).toEqual([200, false, share(day.settled_usd, 0.0201)]);
});

async function boundOf(usd: number) {
  const all = { inputTokens: 1, inputCost: Math.round(usd * 1e9), outputTokens: 0, outputPrice: 0, leastOutput: 0 };
  return { ...all, bounded: true, countable: false, isPriced: true, models: [[MODEL]] };
}

test('reports the budget of a run after all its steps', async () => {
  account = 'alice';
  await limit({ usd_per_day: 0.02 });
  answerByScript((_, number) => (number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.')));
  answerTools(() => new Response('sun'));
  const { text } = await runTurn(createBody('How is the weather?', { tools: [weatherTool()] }));
  const { day } = await object().getQuotaReport();
  expect(text).toContain(
    `: sluice-budget-used=${share(day.settled_usd, 0.02)}\n: sluice-budget-fits=true\n: sluice-cost`,
  );
});
