import { abortAllDurableObjects } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { admitInside, settleInside, worstCaseWith } from './admission-requests.ts';
import { runInAccount } from './run-in-account.ts';

const bindings = env as unknown as { ACCOUNT: DurableObjectNamespace<Account> };
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
// The alarm's time is real: a clock that is ahead of it keeps it from coming by itself.
const NOON = Math.floor(Date.now() / DAY + 100) * DAY + DAY / 2;
const LIMITS = { usd_per_hour: 1, usd_per_day: 1, requests_per_minute: 2 };

let now = NOON;
let ids = 0;
const inAccount = <T>(run: (account: Account) => T) =>
  runInAccount(getAccountStub(bindings, {}, 'alice'), { now: () => now, retentionDays: 30 }, run);

/** Sends a request that costs so much. @returns whether it was admitted */
async function spend(usd: number): Promise<boolean> {
  ids += 1;
  const requestId = `req_${String(ids).padStart(12, '0')}`;
  const ask = {
    requestId,
    route: 'messages',
    model: 'claude-opus-5-5',
    maximumCost: worstCaseWith(),
    defaults: LIMITS,
  };
  return await inAccount((account) => {
    if (admitInside(account, ask).outcome !== 'admitted') return false;
    settleInside(account, { requestId, status: 'complete', cost: usd * 1e9, tokens: { input: 1, output: 1 } });
    return true;
  });
}

const readDay = async () => (await inAccount((account) => account.getQuotaReport(LIMITS))).day;

test.each([
  ['in memory', async () => {}],
  ['after a restart', abortAllDurableObjects],
] as const)(
  'a clock that was a day ahead: the right windows decide again, with the later spending as debt, %s',
  async (_, restart) => {
    disableAutomaticAlarms();
    now = NOON;
    expect(await spend(0.5)).toBe(true);
    now = NOON + DAY;
    expect(await spend(0.9)).toBe(true);
    expect((await readDay()).settled_usd).toBe(0.9);
    now = NOON + 2 * MINUTE;
    await restart();
    expect(await readDay()).toMatchObject({ settled_usd: 1.4, resets_at: new Date(NOON + DAY / 2).toISOString() });
    expect(await spend(0.1)).toBe(false);
    // The requests that the later clock has taken out of the bucket do not fill it for a day.
    now = NOON + DAY / 2;
    await restart();
    expect(await readDay()).toMatchObject({ settled_usd: 0.9 });
    expect(await spend(0.01)).toBe(true);
  },
);

test('a clock that is corrected by seconds does not begin an earlier window', async () => {
  disableAutomaticAlarms();
  now = NOON + DAY / 2;
  expect(await spend(0.5)).toBe(true);
  now -= 5_000;
  expect(await readDay()).toMatchObject({ settled_usd: 0.5, resets_at: new Date(NOON + 1.5 * DAY).toISOString() });
});

test('a clock that was a day late does not forget what was spent before', async () => {
  disableAutomaticAlarms();
  now = NOON;
  expect(await spend(0.6)).toBe(true);
  now = NOON - DAY;
  await readDay();
  now = NOON + MINUTE;
  expect((await readDay()).settled_usd).toBe(0.6);
});
