import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { verifyStandard } from '#edge/kit/delivery/standard-webhooks.ts';
import type { Account } from '#edge/money/account/account.ts';
import { alertRow, alertSchema } from '#edge/money/alerts/alerts-answers.schema.ts';
import { defineWebhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import { admitInside, settleInside, worstCaseWith } from '#test/edge/money/account/admission-requests.ts';
import { createTestApp } from '#test/support/app.ts';
import { bindings } from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import { waitForObject } from '#test/support/pending-work.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookWorks, getInbox, WEBHOOK_SECRET, type WebhookWorks } from '#test/support/webhooks.ts';

const ALERT_URL = 'https://ops.example.com/alerts';
const HOUR = 3_600_000;
const stub = () => getAccountStub(bindings, {}, 'alice');
const usd = (nanodollars: number) => nanodollars / 1e9;

interface Posted {
  url: string;
  id: string | null;
  body: z.output<typeof alertSchema>;
}

/** A receiver that answers these statuses in their order, and then 204. */
function receiver(statuses: number[] = []) {
  const posted: Posted[] = [];
  return {
    posted,
    deliveryFetch: async (url: string, init: RequestInit) => {
      const headers = new Headers(init.headers);
      const bytes = new TextEncoder().encode(String(init.body));
      const now = Number(headers.get('webhook-timestamp')) * 1_000;
      expect(await verifyStandard.verify({ headers, bytes, now }, [WEBHOOK_SECRET])).toBe('valid');
      const body = z.strictObject(alertSchema.shape).parse(JSON.parse(String(init.body)));
      posted.push({ url, id: headers.get('webhook-id'), body });
      return new Response(null, { status: statuses.shift() ?? 204 });
    },
  };
}

async function spend(id: string, cost: number): Promise<void> {
  await runInDurableObject(stub(), (account: Account) => {
    const asking = { requestId: id, route: 'messages', model: 'claude-opus-5-5' };
    admitInside(account, { ...asking, maximumCost: worstCaseWith(), defaults: {} });
    for (let i = 0; i < 3; i += 1) settleInside(account, { requestId: id, status: 'complete', cost });
  });
}

const listed = async () => (await getInbox('alert').listAlerts({ limit: 100 })).data;

/** Waits until the inbox has as many alerts, and lets the queue work. */
async function deliver(works: WebhookWorks, count: number): Promise<void> {
  await eventually(async () => expect(await listed()).toHaveLength(count));
  await eventually(() => expect(works.queue.ids.length).toBeGreaterThan(0));
  await works.consume();
}

describe('an alert for a spent share of a limit', () => {
  test('is sent once per window, signed, under one id, based on settled costs', async () => {
    const { posted, deliveryFetch } = receiver();
    const works = createWebhookWorks({ deliveryFetch }, { ALERT_URL });
    await stub().setLimits({ usd_per_day: usd(60_000), alerts: [0.25, 0.5, 0.7], on_shortfall: 'refuse' });
    await spend('req_1', 9_000);
    expect(await listed()).toEqual([]);
    await spend('req_2', 7_500);
    await deliver(works, 1);
    expect(posted).toMatchObject([
      {
        url: ALERT_URL,
        body: {
          type: 'alert',
          kind: 'threshold',
          node: { type: 'account', id: 'alice' },
          limit: 'usd_per_day',
          threshold: 0.25,
          limit_usd: usd(60_000),
          settled_usd: usd(16_500),
        },
      },
    ]);
    expect(posted[0]?.id).toBe(posted[0]?.body.event_id);
    await spend('req_3', 500);
    expect(await listed()).toHaveLength(1);
    for (let i = 0; i < 3; i += 1) await spend(`req_4_${i}`, 11_000);
    await deliver(works, 3);
    expect(posted.map(({ body }) => body.threshold).sort()).toEqual([0.25, 0.5, 0.7]);
    // The next day is another window.
    works.clock.now += 24 * HOUR;
    for (let i = 0; i < 2; i += 1) await spend(`req_5_${i}`, 8_000);
    await deliver(works, 4);
    expect(new Set(posted.map(({ id }) => id)).size).toBe(4);
  });

  test('is sent under one id to a receiver that fails ten times, and is then listed as delivered', async () => {
    const { posted, deliveryFetch } = receiver(Array.from({ length: 10 }, () => 500));
    const works = createWebhookWorks({ deliveryFetch }, { ALERT_URL });
    await stub().setLimits({ usd_total: usd(20_000), alerts: [0.5] });
    await spend('req_1', 10_000);
    await deliver(works, 1);
    expect(await listed()).toMatchObject([
      { state: 'pending', attempts: 1, next_attempt_at: expect.any(String), error: { status: 500 } },
    ]);
    const overview = async () => {
      const app = createTestApp(() => Response.json({}), {
        ...DEPLOYED_VARS,
        ALERT_URL,
        DELIVERY_SIGNING_SECRET: WEBHOOK_SECRET,
      });
      return await (
        await app.fetch('/overview', { headers: bearerHeader(await createToken('root', ['admin'])) })
      ).json();
    };
    expect(await overview()).toMatchObject({ undelivered_alerts: 1 });
    for (let i = 0; i < 40 && posted.length < 11; i += 1) {
      await works.wakeAt('alert', works.clock.now + HOUR);
      await works.consume();
    }
    expect(posted).toHaveLength(11);
    expect(await overview()).toMatchObject({ undelivered_alerts: 0 });
    expect(new Set(posted.map(({ id }) => id)).size).toBe(1);
    expect(new Set(posted.map(({ body }) => JSON.stringify(body))).size).toBe(1);
    expect(await listed()).toMatchObject([{ state: 'delivered', attempts: 11, limit: 'usd_total', window: 'total' }]);
  });

  test('is sent even if the inbox cannot be reached and the account’s object dies after the settlement', async () => {
    const { posted, deliveryFetch } = receiver();
    const works = createWebhookWorks({ deliveryFetch }, { ALERT_URL });
    await stub().setLimits({ usd_per_month: usd(20_000), alerts: [0.5, 0.5, 1] });
    let tried = 0;
    await runInDurableObject(stub(), (account: Account) => {
      const inside = account as unknown as { env: Record<string, unknown> };
      const unreachable = {
        idFromName: () => ({}),
        get: () => ({
          acceptAlert: () => {
            tried += 1;
            return Promise.reject(new Error('gone'));
          },
        }),
      };
      inside.env = { ...inside.env, INBOX: unreachable };
    });
    await spend('req_1', 10_000);
    await waitForCondition(() => tried > 0);
    await waitForObject(stub());
    expect(await listed()).toEqual([]);
    await abortAllDurableObjects();
    // The alarm is due within a minute.
    const due = await runInDurableObject(stub(), (_, { storage }) => storage.getAlarm());
    expect(due).toBeLessThanOrEqual(works.clock.now + 60_000);
    await runDurableObjectAlarm(stub());
    await deliver(works, 1);
    expect(posted).toHaveLength(1);
    await abortAllDurableObjects();
    await spend('req_2', 1);
    await runDurableObjectAlarm(stub());
    expect(await listed()).toHaveLength(1);
  });

  test('is sent when a limit is lowered below the spent amount', async () => {
    createWebhookWorks({}, {});
    await spend('req_1', 10_000);
    await stub().patchLimits({ usd_per_day: usd(100_000), alerts: [0.9] });
    expect(await listed()).toEqual([]);
    await stub().patchLimits({ usd_per_day: usd(11_000) });
    await eventually(async () => expect(await listed()).toMatchObject([{ threshold: 0.9, state: 'pending' }]));
  });

  test('is sent for each window and share that is reached, in any order of settlements, and for no other', async () => {
    createWebhookWorks({}, {});
    await tryAsyncCases(
      15,
      fc.array(fc.integer({ min: 0, max: 6_000 }), { maxLength: 8 }),
      fc.uniqueArray(fc.constantFrom(0.1, 0.25, 0.5, 1, 2), { maxLength: 3 }),
      fc.boolean(),
      async (costs, alerts, crashes) => {
        await resetAll();
        await stub().setLimits({ usd_per_day: usd(60_000), usd_per_week: usd(120_000), alerts });
        for (const [index, cost] of costs.entries()) {
          await spend(`req_${index}`, cost);
          if (crashes && index === 3) await abortAllDurableObjects();
        }
        await runInDurableObject(stub(), (account: Account) => account.alarm());
        const sum = costs.reduce((before, cost) => before + cost, 0);
        const expected = [
          ...alerts.filter((share) => sum > 0 && sum >= share * 60_000).map((share) => `usd_per_day ${share}`),
          ...alerts.filter((share) => sum > 0 && sum >= share * 120_000).map((share) => `usd_per_week ${share}`),
        ];
        await eventually(async () => {
          const told = (await listed()).map(({ limit, threshold }) => `${limit} ${threshold}`);
          expect(told.sort()).toEqual(expected.sort());
        });
      },
    );
  });
});

describe('an alert for a cost above the hold', () => {
  test('is sent for the first such request of a day', async () => {
    const { posted, deliveryFetch } = receiver();
    const works = createWebhookWorks({ deliveryFetch }, { ALERT_URL });
    await stub().setLimits({ alerts: [] });
    await spend('req_1', 50_000);
    await deliver(works, 1);
    await spend('req_2', 50_000);
    expect(posted).toMatchObject([{ body: { kind: 'over_hold', subject: 'req_1', node: { id: 'alice' } } }]);
    expect(await listed()).toHaveLength(1);
  });

  test('is not stored if alerts are not configured', async () => {
    createWebhookWorks();
    await spend('req_1', 50_000);
    expect(await listed()).toEqual([]);
  });

  test('reserves the source name `alert`, which a webhook cannot have', () => {
    const definition = { source: 'alert', labels: ['a', 'b'], text: () => '' } as unknown;
    expect(() => defineWebhook(definition as Parameters<typeof defineWebhook>[0])).toThrow('No source can be named');
  });
});

test('reports in the list of alerts that they are sent', async () => {
  const delivering = { ALERT_URL, DELIVERY_SIGNING_SECRET: WEBHOOK_SECRET };
  const app = createTestApp(() => Response.json({}), { ...DEPLOYED_VARS, ...delivering });
  const list = await app.fetch('/alerts', { headers: bearerHeader(await createToken('root', ['admin'])) });
  expect(await list.json()).toMatchObject({ data: [], alert_url_set: true });
});

test('lists alerts for admins in pages, and deletes them when their account is erased', async () => {
  const works = createWebhookWorks();
  const app = createTestApp(() => Response.json({}), DEPLOYED_VARS);
  const list = async (query = '', scopes: 'admin' | 'messages' = 'admin') =>
    await app.fetch(`/alerts${query}`, { headers: bearerHeader(await createToken('root', [scopes])) });
  await stub().setLimits({ usd_per_day: usd(20_000), usd_total: usd(40_000), alerts: [0.25, 0.5] });
  await spend('req_1', 10_000);
  await deliver(works, 3);
  const body = (await (await list('?limit=2')).json()) as { data: unknown[]; has_more: boolean; last_id: string };
  for (const row of body.data) z.strictObject(alertRow.shape).parse(row);
  expect(body).toMatchObject({ data: [{ state: 'kept' }, { state: 'kept' }], has_more: true, alert_url_set: false });
  const rest = (await (await list(`?after_id=${body.last_id}`)).json()) as { data: unknown[]; has_more: boolean };
  expect([rest.data.length, rest.has_more]).toEqual([1, false]);
  expect((await list('', 'messages')).status).toBe(403);
  await eventually(async () => {
    const noted = await runInDurableObject(stub(), (_, { storage }) =>
      storage.sql.exec("select value from meta where key = 'inboxes'").toArray(),
    );
    expect(JSON.stringify(noted)).toContain('alert');
  });
  works.clock.now += 1_000;
  await stub().erase();
  works.clock.now += 5_000;
  await runDurableObjectAlarm(stub());
  expect(await listed()).toEqual([]);
});
