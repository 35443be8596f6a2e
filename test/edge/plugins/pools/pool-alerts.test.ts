import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { verifyStandard } from '#edge/kit/delivery/standard-webhooks.ts';
import type { AlertBody } from '#edge/money/alerts/alerts-answers.schema.ts';
import type { LeaseRequest } from '#edge/plugins/pools/contracts/pool.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import { createTestApp } from '#test/support/app.ts';
import { eventually } from '#test/support/eventually.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookWorks, getInbox, WEBHOOK_SECRET } from '#test/support/webhooks.ts';
import { told } from './lease-calls.ts';

const ALERT_URL = 'https://ops.example.com/alerts';
const pools = env as unknown as { POOL: DurableObjectNamespace<Pool> };
const pool = (name = 'group:red') => pools.POOL.get(pools.POOL.idFromName(name));
const usd = (nanodollars: number) => nanodollars / 1e9;
const listed = async () => (await getInbox('alert').listAlerts({ limit: 100 })).data;

const tell = async (call: LeaseRequest, name?: string) => await pool(name).leaseJson(JSON.stringify(call));

describe('an alert for a spent share of a pool’s limit', () => {
  test('is delivered once, signed, under one id, for the settled amounts of all accounts', async () => {
    const posted: { id: string | null; body: AlertBody }[] = [];
    const deliveryFetch = async (_: string, init: RequestInit) => {
      const headers = new Headers(init.headers);
      const bytes = new TextEncoder().encode(String(init.body));
      const now = Number(headers.get('webhook-timestamp')) * 1_000;
      expect(await verifyStandard.verify({ headers, bytes, now }, [WEBHOOK_SECRET])).toBe('valid');
      posted.push({ id: headers.get('webhook-id'), body: JSON.parse(String(init.body)) as AlertBody });
      return new Response(null, { status: 204 });
    };
    const works = createWebhookWorks({ deliveryFetch }, { ALERT_URL });
    const app = createTestApp(() => Response.json({}), { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{}' });
    const admin = { 'content-type': 'application/json', ...bearerHeader(await createToken('root', ['admin'])) };
    const body = JSON.stringify({ usd_per_day: usd(10_000), alerts: [0.5, 0.8, 1] });
    const put = await app.fetch('/groups/red/limits', { method: 'PUT', headers: admin, body });
    expect(await put.json()).toMatchObject({ limits: { alerts: [0.5, 0.8, 1] } });
    await tell(told('alice', 1, 4_000, Date.now()));
    expect(await listed()).toEqual([]);
    await tell(told('bob', 1, 4_500, Date.now()));
    await eventually(async () => expect(await listed()).toHaveLength(2));
    await eventually(() => expect(works.queue.ids.length).toBe(2));
    await works.consume();
    const node = { type: 'group', id: 'red' };
    expect(posted.map(({ body: { threshold } }) => threshold).sort()).toEqual([0.5, 0.8]);
    for (const { id, body: alert } of posted) {
      expect(alert).toMatchObject({ kind: 'threshold', node, limit: 'usd_per_day', settled_usd: usd(8_500) });
      expect(id).toBe(alert.event_id);
    }
    const { data } = (await (await app.fetch('/alerts', { headers: admin })).json()) as { data: unknown[] };
    expect(data).toMatchObject([
      { node, state: 'delivered' },
      { node, state: 'delivered' },
    ]);
  });

  test('is raised once for each node, window and share, despite repeated or late calls and crashes', async () => {
    createWebhookWorks();
    const step = fc.record({
      account: fc.constantFrom('alice', 'bob'),
      more: fc.integer({ min: 0, max: 4_000 }),
      again: fc.integer({ min: 0, max: 2 }),
      late: fc.boolean(),
      dies: fc.boolean(),
    });
    await tryAsyncCases(
      15,
      fc.array(step, { maxLength: 8 }),
      fc.uniqueArray(fc.constantFrom(0.1, 0.5, 0.8, 1), { maxLength: 3 }),
      async (steps, alerts) => {
        await resetAll();
        const limits = { usd_per_day: usd(10_000), usd_per_week: usd(20_000), alerts };
        for (const name of ['group:red', 'deployment']) await pool(name).setLimits(limits);
        const at = Date.now();
        const sums = { alice: 0, bob: 0 };
        const calls: LeaseRequest[] = [];
        for (const { account, more, again, late, dies } of steps) {
          sums[account] += more;
          calls.push(told(account, calls.length + 1, sums[account], at));
          const [newest, first] = [calls.at(-1), calls[0]];
          for (const name of ['group:red', 'deployment']) {
            for (let times = 0; newest && times <= again; times += 1) await tell(newest, name);
            if (late && first) await tell(first, name);
          }
          if (dies) await abortAllDurableObjects();
        }
        for (const name of ['group:red', 'deployment']) await runDurableObjectAlarm(pool(name));
        const spent = sums.alice + sums.bob;
        const expected = ['group red', 'deployment deployment'].flatMap((node) =>
          [['usd_per_day', 10_000] as const, ['usd_per_week', 20_000] as const].flatMap(([limit, most]) =>
            // The last percent of a shared budget counts as spent.
            alerts.filter((share) => spent >= Math.min(share, 0.99) * most).map((share) => `${node} ${limit} ${share}`),
          ),
        );
        await eventually(async () => {
          const all = await listed();
          const names = all.map(({ node, limit, threshold }) => `${node.type} ${node.id} ${limit} ${threshold}`);
          expect(names.sort()).toEqual(expected.sort());
          expect(new Set(all.map(({ event_id }) => event_id)).size).toBe(all.length);
        });
      },
    );
  });

  test('is raised for the whole limit once too little is left for any request, and says what happens then', async () => {
    createWebhookWorks();
    await pool('deployment').setLimits({ usd_per_day: usd(10_000), alerts: [0.5, 1] });
    await tell(told('alice', 1, 9_800, Date.now()), 'deployment');
    await eventually(async () => expect(await listed()).toMatchObject([{ threshold: 0.5 }]));
    await tell(told('alice', 2, 9_900, Date.now()), 'deployment');
    await eventually(async () => expect(await listed()).toHaveLength(2));
    const whole = (await listed()).find(({ threshold }) => threshold === 1);
    expect(whole?.todo).toMatch(
      /^Requests of all accounts are rejected until \S+T00:00:00\.000Z\. .*PATCH \/pools\/deployment\/limits/,
    );
  });

  test('is raised by the alarm within a minute if the inbox is unreachable and the pool dies', async () => {
    createWebhookWorks();
    await pool().setLimits({ usd_per_month: usd(10_000), alerts: [1] });
    await runInDurableObject(pool(), (object) => {
      const inside = object as unknown as { env: Record<string, unknown> };
      const gone = { idFromName: () => ({}), get: () => ({ acceptAlert: () => Promise.reject(new Error('gone')) }) };
      inside.env = { ...inside.env, INBOX: gone };
    });
    await tell(told('alice', 1, 10_000, Date.now()));
    const due = await runInDurableObject(pool(), (_, { storage }) => storage.getAlarm());
    expect(due).toBeLessThanOrEqual(Date.now() + 60_000);
    expect(await listed()).toEqual([]);
    await abortAllDurableObjects();
    await runDurableObjectAlarm(pool());
    await eventually(async () => expect(await listed()).toMatchObject([{ node: { id: 'red' }, threshold: 1 }]));
  });

  test('is raised when a limit is lowered below the spent amount', async () => {
    createWebhookWorks();
    await tell(told('alice', 1, 10_000, Date.now()));
    await pool().setLimits({ usd_per_week: usd(11_000), alerts: [0.9] });
    await eventually(async () => expect(await listed()).toMatchObject([{ limit: 'usd_per_week', threshold: 0.9 }]));
  });
});
