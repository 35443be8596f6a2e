import { runDurableObjectAlarm } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import { usdToNanodollars } from '#edge/claude/pricing/cost.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { hmac } from '#edge/kit/delivery/hmac.ts';
import type { EventRetrySchedule } from '#edge/kit/delivery/schedule.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import type { Deliver } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import { defineWebhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import { settleAt } from '#test/edge/money/account/admission-requests.ts';
import { FIRST_SCHEMAS } from '#test/support/first-schemas.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import {
  createEvent,
  createWebhookWorks,
  getInbox,
  getTestAccount,
  WEBHOOK_SECRET,
  type WebhookWorks,
} from '#test/support/webhooks.ts';

const URL = 'https://hooks.example.com/labels';
const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const DELIVERING = createWebhookVars('github', { deliver_url: URL });

interface Posted {
  id: string | null;
  body: { event_id: string; label: string; usage: object; cost_usd: number };
}

/** A receiver that answers these statuses in their order, and then 204. */
function receiver(statuses: number[] = []) {
  const posted: Posted[] = [];
  return {
    posted,
    deliveryFetch: async (_: string, init: RequestInit) => {
      posted.push({
        id: new Headers(init.headers).get('webhook-id'),
        body: JSON.parse(String(init.body)) as Posted['body'],
      });
      return new Response(null, { status: statuses.shift() ?? 204 });
    },
  };
}

const accept = async (works: WebhookWorks, id: string, text?: string | null, account?: string) => {
  await getInbox(id.split('_')[0] ?? '').acceptEvent(createEvent(id, text, account ?? `webhook-${id.split('_')[0]}`));
  works.queue.ids.push(id);
};

/** Lets everything come that is due until then, in steps. */
async function untilDone(works: WebhookWorks, id: string, hours: number): Promise<void> {
  const end = works.clock.now + hours * HOUR;
  while (works.clock.now < end) {
    await works.consume();
    const { next_attempt_at } = await works.report(id);
    if (next_attempt_at === null) return;
    await works.wakeAt('github', Math.max(works.clock.now + SECOND, Date.parse(next_attempt_at)));
  }
}

describe('an event', () => {
  test('is classified for its source’s account, recorded, and kept if there is no delivery URL', async () => {
    const works = createWebhookWorks();
    await accept(works, 'github_1', 'The app crashes with an error: this is a bug');
    expect(await works.consume()).toEqual([]);
    expect(works.upstream.requests).toBe(1);
    const report = await works.report('github_1');
    expect(report).toMatchObject({
      state: 'classified',
      label: 'bug',
      account: 'webhook-github',
      subject: 'https://example.com/1',
      result: { label: 'bug', cached: false, classifier: null },
      attempts: [{ error: null }],
    });
    const ledger = await getTestAccount('webhook-github').listRequests({});
    expect(ledger.data).toMatchObject([{ route: 'webhook', status: 'complete', cost_usd: report.result?.cost_usd }]);
  });

  test.each(Object.entries(FIRST_SCHEMAS))(
    'classified by a schema with %s has the whole object in its record and its delivery',
    async (_, { schema, property }) => {
      const { posted, deliveryFetch } = receiver();
      const tickets = defineWebhook({
        source: 'tickets',
        verify: hmac({ header: 'x' }),
        text: () => undefined,
        schema,
        deliver: URL,
      });
      const works = createWebhookWorks({ webhooks: [tickets], deliveryFetch }, { DELIVER_HOSTS: 'hooks.example.com' });
      await accept(works, 'tickets_1', 'I was charged twice, billing: a high priority, now');
      expect(await works.consume()).toEqual([]);
      const { label, result } = await works.report('tickets_1');
      const output = (result && 'output' in result && result.output) || {};
      expect(label).toBe(output[property] ?? null);
      expect(Object.keys(output)).toEqual(
        expect.arrayContaining(
          (schema.required as string[] | undefined) ?? Object.keys(schema.properties as JsonObject),
        ),
      );
      expect(result).toMatchObject({ label });
      expect(result).not.toHaveProperty('fields');
      expect(posted).toMatchObject([{ body: { ...result, event_id: 'tickets_1' } }]);
    },
  );

  test('waits once its source has spent a dollar that day, until its limit is raised', async () => {
    const works = createWebhookWorks();
    const account = getTestAccount('webhook-github');
    // Tokens that nobody has bounded, at the dearest price: one answer that costs a dollar and more.
    const usage = { input_tokens: 20_000_000, output_tokens: 1 };
    works.upstream.answer = () =>
      Response.json({
        type: 'message',
        model: 'claude-haiku-5-5',
        content: [{ type: 'text', text: '{"label":"bug"}' }],
        stop_reason: 'end_turn',
        usage,
      });
    await accept(works, 'github_1');
    await works.consume();
    works.upstream.answer = undefined;
    await accept(works, 'github_2', 'Another one that crashes: a bug');
    await works.consume();
    expect(works.upstream.requests).toBe(1);
    expect(await works.report('github_2')).toMatchObject({
      state: 'waiting',
      attempts: [{ error: { type: 'billing_error' } }],
    });
    expect((await account.getQuotaReport()).limits).toEqual({ usd_per_day: 1 });
    await account.setLimits({ usd_per_day: 100 });
    const { next_attempt_at } = await works.report('github_2');
    expect(Date.parse(next_attempt_at ?? '')).toBeGreaterThan(works.clock.now);
    await works.wakeAt('github', Date.parse(next_attempt_at ?? ''));
    await works.consume();
    expect(await works.report('github_2')).toMatchObject({ state: 'classified', label: 'bug' });
  });

  test('is delivered under its own id, with its source, subject and result', async () => {
    const { posted, deliveryFetch } = receiver();
    const works = createWebhookWorks({ deliveryFetch }, DELIVERING);
    await accept(works, 'github_1', 'The app crashes with an error: this is a bug');
    await works.consume();
    const { received_at, result } = await works.report('github_1');
    expect(posted).toEqual([
      {
        id: 'github_1',
        body: {
          type: 'webhook_event.classified',
          event_id: 'github_1',
          source: 'github',
          subject: 'https://example.com/1',
          received_at,
          ...result,
        },
      },
    ]);
    expect(await works.report('github_1')).toMatchObject({ state: 'delivered', attempts: [{ error: null }] });
  });

  test('is not classified again if its message is repeated, and is delivered again only after a replay', async () => {
    const { posted, deliveryFetch } = receiver();
    const works = createWebhookWorks({ deliveryFetch }, DELIVERING);
    await accept(works, 'github_1');
    await works.consume(['github_1', 'github_1', 'github_1']);
    await works.consume(['github_1']);
    await getInbox('github').replayEvent('github_1');
    await works.consume(['github_1', 'github_1']);
    expect(works.upstream.requests).toBe(1);
    expect(posted.map(({ id, body }) => [id, body.label])).toEqual([
      ['github_1', 'bug'],
      ['github_1', 'bug'],
    ]);
  });

  test('is delivered at the fourth attempt to a receiver that fails three times, under one id', async () => {
    const { posted, deliveryFetch } = receiver([500, 503, 404]);
    const works = createWebhookWorks({ deliveryFetch }, DELIVERING);
    await accept(works, 'github_1');
    await works.consume();
    expect(await works.report('github_1')).toMatchObject({ state: 'delivering', label: 'bug' });
    // Its row says that it was tried, when it is tried next, and why.
    const [row] = (await getInbox('github').listEvents({})).data;
    expect(row).toMatchObject({ attempts: 1, next_attempt_at: expect.any(String), error: { status: 500 } });
    expect(await getInbox('github').countUndelivered()).toBe(1);
    await untilDone(works, 'github_1', 1);
    expect(await getInbox('github').countUndelivered()).toBe(0);
    const { state, attempts } = await works.report('github_1');
    expect(state).toBe('delivered');
    expect(attempts.map(({ error }) => error?.status ?? null)).toEqual([500, 503, 404, null]);
    expect(new Set(posted.map(({ id, body }) => `${id} ${body.event_id}`))).toEqual(new Set(['github_1 github_1']));
    expect(posted).toHaveLength(4);
    expect(works.upstream.requests).toBe(1);
  });

  test('is dead-lettered after the last attempt, hours later, and can be replayed', async () => {
    const { posted, deliveryFetch } = receiver(Array.from({ length: 10 }, () => 500));
    const works = createWebhookWorks({ deliveryFetch }, DELIVERING);
    await accept(works, 'github_1');
    const began = works.clock.now;
    await untilDone(works, 'github_1', 48);
    expect(works.clock.now - began).toBeGreaterThan(10 * HOUR);
    expect(await works.report('github_1')).toMatchObject({ state: 'parked', label: 'bug', next_attempt_at: null });
    expect((await getInbox('github').listEvents({ state: 'parked' })).data).toMatchObject([
      { event_id: 'github_1', attempts: 10, next_attempt_at: null, error: { status: 500 } },
    ]);
    expect(await getInbox('github').countUndelivered()).toBe(1);
    expect(posted).toHaveLength(10);
    expect(await getInbox('github').replayEvent('github_1')).toMatchObject({ state: 'delivering' });
    await works.consume(['github_1']);
    expect(await works.report('github_1')).toMatchObject({ state: 'delivered' });
    expect(works.upstream.requests).toBe(1);
  });

  test('is dead-lettered at once if the receiver returns 410', async () => {
    const { deliveryFetch } = receiver([410]);
    const works = createWebhookWorks({ deliveryFetch }, DELIVERING);
    await accept(works, 'github_1');
    await works.consume();
    expect(await works.report('github_1')).toMatchObject({ state: 'parked', attempts: [{ error: { status: 410 } }] });
  });

  test('is dead-lettered with a not_found_error if its source no longer exists', async () => {
    const works = createWebhookWorks({ webhooks: [] });
    await accept(works, 'github_1');
    await works.consume();
    const { state, attempts } = await works.report('github_1');
    expect([state, attempts[0]?.error?.type]).toEqual(['parked', 'not_found_error']);
    expect(works.upstream.requests).toBe(0);
  });
});

describe('a failed classification', () => {
  const answering = (works: WebhookWorks, status: number, type: string) => {
    works.upstream.answer = () =>
      Response.json({ type: 'error', error: { type, message: 'As the test wants it.' } }, { status });
  };

  test('is retried with backoff while the upstream is overloaded, and then succeeds', async () => {
    const works = createWebhookWorks();
    answering(works, 529, 'overloaded_error');
    await accept(works, 'github_1');
    await works.consume();
    const { state, attempts, next_attempt_at } = await works.report('github_1');
    expect([state, attempts[0]?.error?.type]).toEqual(['accepted', 'overloaded_error']);
    expect(Date.parse(next_attempt_at ?? '')).toBeGreaterThan(works.clock.now + 3 * SECOND);
    works.upstream.answer = undefined;
    await untilDone(works, 'github_1', 1);
    expect(await works.report('github_1')).toMatchObject({ state: 'classified', label: 'bug' });
  });

  test('is dead-lettered when its attempts are used up, and can be replayed', async () => {
    const works = createWebhookWorks();
    answering(works, 529, 'overloaded_error');
    await accept(works, 'github_1');
    await untilDone(works, 'github_1', 24);
    const { state, attempts } = await works.report('github_1');
    expect([state, attempts.length]).toEqual(['parked', 7]);
    works.upstream.answer = undefined;
    await getInbox('github').replayEvent('github_1');
    await works.consume(['github_1']);
    expect(await works.report('github_1')).toMatchObject({ state: 'classified', label: 'bug' });
  });

  test('is final at once if the upstream rejects the text', async () => {
    const works = createWebhookWorks();
    answering(works, 400, 'invalid_request_error');
    await accept(works, 'github_1');
    await works.consume();
    expect(await works.report('github_1')).toMatchObject({
      state: 'failed',
      label: null,
      result: null,
      attempts: [{ error: { type: 'invalid_request_error' } }],
    });
  });

  test('is retried once if the model returns no label, and is then final', async () => {
    const works = createWebhookWorks();
    works.upstream.answer = () =>
      Response.json({
        type: 'message',
        model: 'claude-haiku-5-5',
        content: [{ type: 'text', text: 'Who knows?' }],
        stop_reason: 'end_turn',
        usage: { input_tokens: 200, output_tokens: 9 },
      });
    await accept(works, 'github_1');
    await untilDone(works, 'github_1', 24);
    const { state, label, attempts } = await works.report('github_1');
    expect([state, label, attempts.length]).toEqual(['failed', null, 2]);
  });

  test('is retried later if the classifier is unknown', async () => {
    const unknown = defineWebhook({
      source: 'github',
      verify: hmac({ header: 'x' }),
      text: () => 'x',
      classifier: 'no',
    });
    const works = createWebhookWorks({ webhooks: [unknown] });
    await accept(works, 'github_1');
    await works.consume();
    const report = await works.report('github_1');
    expect(report).toMatchObject({ state: 'accepted', attempts: [{ error: { type: 'not_found_error' } }] });
    expect(report.next_attempt_at).not.toBeNull();
    expect(works.upstream.requests).toBe(0);
  });

  test('waits while the budget is spent, and is repeated when the budget window resets', async () => {
    const works = createWebhookWorks();
    const account = getTestAccount('webhook-github');
    await account.setLimits({ usd_per_day: 1 });
    await settleAt(account, {
      requestId: 'req_spent',
      status: 'complete',
      cost: usdToNanodollars(1),
      startedAt: works.clock.now,
    });
    await accept(works, 'github_1');
    await accept(works, 'github_2', 'A question about the documentation');
    await works.consume();
    const midnight = Math.ceil(works.clock.now / (24 * HOUR)) * 24 * HOUR;
    for (const id of ['github_1', 'github_2']) {
      const { state, next_attempt_at, attempts } = await works.report(id);
      expect([state, attempts[0]?.error?.type]).toEqual(['waiting', 'billing_error']);
      expect(Date.parse(next_attempt_at ?? '') - midnight).toBeLessThan(2 * SECOND);
      expect(Date.parse(next_attempt_at ?? '')).toBeGreaterThanOrEqual(midnight);
    }
    await works.wakeAt('github', midnight - HOUR);
    expect(await works.consume()).toEqual([]);
    expect(works.upstream.requests).toBe(0);
    await works.wakeAt('github', midnight + 2 * SECOND);
    await works.consume();
    expect(works.upstream.requests).toBe(2);
    for (const id of ['github_1', 'github_2']) expect(await works.report(id)).toMatchObject({ state: 'classified' });
    const { data } = await account.listRequests({});
    expect(data.filter(({ route }) => route === 'webhook')).toHaveLength(2);
  });

  test('waits for the account’s rate limit until every event is classified', async () => {
    const works = createWebhookWorks();
    await getTestAccount('webhook-github').setLimits({ requests_per_minute: 1 });
    for (let n = 0; n < 10; n += 1) await accept(works, `github_${n}`, `Error number ${n}`);
    await works.consume();
    expect(works.upstream.requests).toBe(1);
    const waiting = await getInbox('github').listEvents({ state: 'waiting' });
    expect(waiting.data).toHaveLength(9);
    for (let minute = 0; minute < 40 && works.upstream.requests < 10; minute += 1) {
      await works.wakeAt('github', works.clock.now + 61 * SECOND);
      await works.consume();
    }
    expect((await getInbox('github').listEvents({ state: 'classified' })).data).toHaveLength(10);
    expect(works.upstream.requests).toBe(10);
  });
});

/** Every call of the inbox in the order of a run that classifies and delivers, and what goes out in between. */
const STEPS = ['leaseEvent', 'upstream', 'recordResult', 'delivery', 'recordJobEnd'] as const;

describe.each(STEPS)('a process that dies at the step “%s”', (step) => {
  test.each(['before', 'after'])('%s it: the event has one label and is delivered under one id', async (when) => {
    const { posted, deliveryFetch } = receiver();
    let dead = false;
    const die = async <T>(at: string, work: () => T | Promise<T>): Promise<T> => {
      if (dead) throw new Error('dead');
      if (at === step && when === 'before') dead = true;
      if (dead) throw new Error('dead');
      const result = await work();
      if (at === step) dead = true;
      if (dead) throw new Error('dead');
      return result;
    };
    const dying: typeof deliveryFetch = (url, init) => die('delivery', () => deliveryFetch(url, init));
    const works = createWebhookWorks({ deliveryFetch: dying }, DELIVERING);
    works.upstream.answer = () => {
      if (step === 'upstream' && !dead) {
        if (when === 'before') works.upstream.requests -= 1;
        dead = true;
        throw new Error('dead');
      }
      return undefined;
    };
    for (const method of ['leaseEvent', 'recordResult', 'recordJobEnd'] as const) {
      const real = Inbox.prototype[method] as (...of: never[]) => unknown;
      vi.spyOn(Inbox.prototype, method).mockImplementation(function (this: Inbox, ...of: never[]) {
        return die(method, () => real.apply(this, of)) as never;
      } as never);
    }
    await accept(works, 'github_1');
    await works.consume();
    // What comes next is another process; the queue has forgotten everything.
    vi.restoreAllMocks();
    const alive = createWebhookWorks({ deliveryFetch }, DELIVERING);
    await alive.wakeAt('github', works.clock.now + 10 * 60 * SECOND);
    await alive.consume();
    expect(await alive.report('github_1')).toMatchObject({ state: 'delivered', label: 'bug' });
    expect(posted.length).toBeGreaterThanOrEqual(1);
    expect(new Set(posted.map(({ id, body }) => `${id} ${body.event_id} ${body.label}`)).size).toBe(1);
    const recorded = ['delivery', 'recordJobEnd'].includes(step) || (step === 'recordResult' && when === 'after');
    if (recorded) expect(alive.upstream.requests).toBe(0);
    // What was held and never heard of again is settled by the account's alarm.
    alive.clock.now += HOUR;
    await runDurableObjectAlarm(getAccountStub(alive.env, {}, 'webhook-github') as unknown as DurableObjectStub);
    expect((await getTestAccount('webhook-github').getQuotaReport({})).day.held_usd).toBe(0);
  });
});

describe('the consumer', () => {
  test('retries a message whose job fails, and processes the others', async () => {
    const works = createWebhookWorks();
    await accept(works, 'github_1');
    await accept(works, 'slack_1', 'A problem');
    const begin = Inbox.prototype.leaseEvent;
    vi.spyOn(Inbox.prototype, 'leaseEvent').mockImplementation(function (
      this: Inbox,
      ...of: Parameters<Inbox['leaseEvent']>
    ) {
      if (of[0] === 'github_1') throw new Error('overloaded');
      return begin.apply(this, of);
    });
    expect(await works.consume(['github_1', 'slack_1', 'garbage', '', 'unknown_1'])).toEqual(['github_1']);
    expect(await works.report('slack_1')).toMatchObject({ state: 'classified' });
  });

  test('logs a line without the event’s text for each job', async () => {
    const works = createWebhookWorks();
    await accept(works, 'github_1', 'A secret story of a bug');
    await works.consume();
    expect(works.log.at(-1)).toMatchObject({
      event_id: 'github_1',
      source: 'github',
      account: 'webhook-github',
      state: 'classified',
    });
    expect(JSON.stringify(works.log)).not.toContain('story');
    expect(JSON.stringify(works.log)).not.toContain(WEBHOOK_SECRET);
  });
});

describe('a webhook defined in code', () => {
  const mine = (deliver: Deliver, schedule: Partial<EventRetrySchedule> = {}) =>
    defineWebhook<{ words: string }>({
      source: 'mine',
      verify: hmac({ header: 'x-mine' }),
      text: ({ body }) => body.words,
      labels: ['praise', 'blame'],
      allow_none: true,
      account: 'marketing',
      deliver,
      schedule,
    });

  test('is delivered by a function that receives a stable id and is called again if it throws', async () => {
    const calls: string[] = [];
    const webhook = mine(async (result, { id, signal }) => {
      calls.push(`${id} ${result.label} ${signal.aborted}`);
      if (calls.length === 1) throw new Error('not now');
    });
    const works = createWebhookWorks({ webhooks: [webhook] });
    await accept(works, 'mine_1', 'This deserves praise', 'marketing');
    await works.consume();
    const { attempts, next_attempt_at } = await works.report('mine_1');
    expect(attempts[0]?.error?.message).toBe('not now');
    await works.wakeAt('mine', Date.parse(next_attempt_at ?? ''));
    await works.consume();
    expect(calls).toEqual(['mine_1 praise false', 'mine_1 praise false']);
    expect(await works.report('mine_1')).toMatchObject({ state: 'delivered', account: 'marketing' });
    expect((await getTestAccount('marketing').listRequests({})).data).toHaveLength(1);
  });

  test('stops waiting for a delivery function that never ends, and dead-letters the event', async () => {
    const webhook = mine(() => new Promise(() => {}), { deliveryTimeout: 50, delivery: [] });
    const works = createWebhookWorks({ webhooks: [webhook] });
    await accept(works, 'mine_1', 'This deserves praise', 'marketing');
    await works.consume();
    expect(await works.report('mine_1')).toMatchObject({
      state: 'parked',
      attempts: [{ error: { type: 'timeout_error' } }],
    });
  });

  test.each([
    ['Source', { source: 'Not_A_Name' }],
    ['labels', { labels: undefined }],
    ['classifier', { classifier: 'tickets' }],
    ['label', { labels: [] }],
    ['account', { account: '' }],
    ['maxBodyBytes', { maxBodyBytes: 0 }],
    ['maxBodyBytes', { maxBodyBytes: 1.5 }],
  ])('is rejected at its definition if a property is invalid: %s', (_, change) => {
    const whole = { source: 'mine', verify: hmac({ header: 'x' }), text: () => 'x', labels: ['a', 'b'] };
    expect(() => defineWebhook(whole)).not.toThrow();
    expect(() => defineWebhook({ ...whole, ...change })).toThrow(TypeError);
  });
});
