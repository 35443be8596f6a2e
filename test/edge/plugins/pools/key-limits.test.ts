import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { beforeEach, expect, test } from 'vitest';
import type { KeyRateLimits } from '#edge/claude/upstreams/rate-limits.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { getPoolStub } from '#edge/plugins/pools/call-pool.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { createTestApp } from '#test/support/app.ts';
import { bindings, countWrittenRows } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createBody } from '#test/support/turns.ts';
import { createWebhookWorks, getInbox } from '#test/support/webhooks.ts';
import { told } from './lease-calls.ts';

const MINUTE = 60_000;
const NOON = Date.UTC(2026, 10, 20, 12);
const pool = () => getPoolStub(bindings, {}, 'deployment');
const alerts = async () => (await getInbox('alert').listAlerts({ limit: 10 })).data;

let seq = 0;

/** Has an account report, at a minute after noon, what was left of a thousand output tokens. */
async function report(minute: number, remaining: number, modelClass = 'opus', upstream = ''): Promise<void> {
  const at = NOON + minute * MINUTE;
  seq += 1;
  const limits = { output_tokens: { limit: 1_000, remaining, resetsAt: at + 1_000 } };
  const keyLimits: KeyRateLimits[] = [{ upstream, modelClass, at, limits }];
  const text = JSON.stringify({ ...told('alice', seq, 0, at), keyLimits });
  await runInDurableObject(pool(), (object: Pool) => {
    (object as unknown as { now: () => number }).now = () => at;
    object.leaseJson(text);
  });
}

beforeEach(() => {
  disableAutomaticAlarms();
  createWebhookWorks();
});

test('a key with less than a tenth of a rate limit raises one alert, even if the limit refills and the pool dies', async () => {
  await report(0, 100);
  for (let minute = 1; minute < 90; minute += 1) {
    await report(minute, minute % 3 === 0 ? 900 : 99);
    if (minute % 10 === 0) await abortAllDurableObjects();
  }
  await runInDurableObject(pool(), (object: Pool) => object.alarm());
  const subject = 'opus: 99 of 1000 output tokens per minute remain';
  const alert = { kind: 'key_nearly_limited', node: { type: 'deployment', id: 'deployment' }, subject };
  await eventually(async () => expect(await alerts()).toMatchObject([alert]));
  await report(121, 99);
  await eventually(async () => expect(await alerts()).toMatchObject([alert, alert]));
});

test('the alert names the upstream and the model class', async () => {
  await report(0, 50, 'haiku', 'east');
  await report(0, 40, 'opus', 'east');
  await report(0, 900, 'opus', 'west');
  await eventually(async () =>
    expect((await alerts()).map(({ subject }) => subject).sort()).toEqual([
      'east: haiku: 50 of 1000 output tokens per minute remain',
      'east: opus: 40 of 1000 output tokens per minute remain',
    ]),
  );
});

test('a second report of rate limits in a minute writes no more rows than a report without them', async () => {
  await report(0, 900);
  await report(1, 900);
  const rows = await countWrittenRows(pool() as never);
  for (let nth = 0; nth < 5; nth += 1) await report(1 + nth / 10, 800 + nth);
  const withLimits = rows();
  for (let nth = 0; nth < 5; nth += 1) {
    seq += 1;
    const text = JSON.stringify(told('alice', seq, 0, NOON + MINUTE));
    await runInDurableObject(pool(), (object: Pool) => void object.leaseJson(text));
  }
  expect(rows() - withLimits).toBe(withLimits);
});

test('a key’s remaining rate limit is read from response headers, and listed in the overview below a tenth', async () => {
  const left = (remaining: number) => ({
    'anthropic-ratelimit-output-tokens-limit': '1000',
    'anthropic-ratelimit-output-tokens-remaining': String(remaining),
    'anthropic-ratelimit-output-tokens-reset': '2126-11-20T12:00:00Z',
  });
  const app = createTestApp(
    ({ url }) => Response.json(SMALL_MESSAGE, { headers: left(url.pathname.endsWith('count_tokens') ? 900 : 42) }),
    DEPLOYED_VARS,
  );
  const admin = bearerHeader(await createToken('root', ['admin', 'messages']));
  const asked = await app.fetch('/v1/messages', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...admin },
    body: JSON.stringify(createBody('Hi.')),
  });
  expect(asked.status).toBe(200);
  await asked.text();
  await app.waitUntilSettled();
  await eventually(async () => {
    await runDurableObjectAlarm(getAccountStub(bindings, {}, 'root'));
    const overview = (await (await app.fetch('/overview', { headers: admin })).json()) as { key_limits: unknown };
    expect(overview.key_limits).toMatchObject([
      { upstream: '', model_class: 'opus', kind: 'output_tokens', limit: 1_000, remaining: 42 },
    ]);
  });
  const metrics = await (await app.fetch('/metrics', { headers: admin })).text();
  const labels = '{upstream="",model_class="opus",kind="output_tokens"}';
  expect(metrics).toContain(`sluice_key_limit_remaining${labels} 42`);
  expect(metrics).toContain(`sluice_key_limit${labels} 1000`);
});
