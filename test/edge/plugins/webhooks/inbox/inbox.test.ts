import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import { getAccountStub, getDurableObjectStub, getInboxStub } from '#edge/durable/stubs.ts';
import type { Pool } from '#edge/plugins/pools/pool.ts';
import type { JobConclusion, LeasedEventWork } from '#edge/plugins/webhooks/contracts/inbox.ts';
import { EventStore } from '#edge/plugins/webhooks/inbox/event-store.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { countWrittenRows } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { bindings } from '#test/support/prefixes.ts';
import {
  createClassification,
  createEvent,
  createWebhookWorks,
  getInbox,
  getTestAccount,
} from '#test/support/webhooks.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const LEASE = 45_000;
const inbox = () => getInbox('github');
const attempt = (error: { type: string; message: string } | null = null) => ({
  at: '2026-11-20T12:00:00.000Z',
  ms: 5,
  error,
});
const FAILED = { type: 'api_error', message: 'It did not work.' };

async function begun(id: string): Promise<Exclude<LeasedEventWork, { kind: 'none' }>> {
  const work = await inbox().leaseEvent(id, LEASE);
  if (work.kind === 'none') throw new Error(`nothing to do for ${id}`);
  return work;
}

async function end(id: string, lease: number, to: JobConclusion['to'], error: typeof FAILED | null = null) {
  await inbox().recordJobEnd(id, { lease, to, attempt: attempt(error) });
}

describe('an event', () => {
  test('is accepted once, however often and concurrently it arrives', async () => {
    createWebhookWorks();
    const answers = await Promise.all(Array.from({ length: 5 }, () => inbox().acceptEvent(createEvent('github_1'))));
    expect(answers.filter(({ status }) => status === 'accepted')).toEqual([{ status: 'accepted', queue: true }]);
    expect(answers.filter(({ status }) => status === 'duplicate')).toHaveLength(4);
    await abortAllDurableObjects();
    expect(await inbox().acceptEvent(createEvent('github_1'))).toEqual({
      status: 'duplicate',
      queue: false,
      firstId: 'github_1',
    });
  });

  test('is a duplicate under any id if its sender signs only the body and the body is known', async () => {
    createWebhookWorks();
    const bodyOf = (id: string, digest: string) => ({ ...createEvent(id), digest, sameBodySameEvent: true });
    const answers = await Promise.all(
      ['a', 'b', 'c'].map((id) => inbox().acceptEvent(bodyOf(`github_${id}`, 'sha256:1'))),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual(['accepted', 'duplicate', 'duplicate']);
    const [first] = (await inbox().listEvents({})).data;
    expect(answers.flatMap(({ firstId: known }) => known ?? [])).toEqual([first?.event_id, first?.event_id]);
    expect((await inbox().acceptEvent(bodyOf('github_d', 'sha256:2'))).status).toBe('accepted');
    // Others are told apart by their ids alone.
    for (const id of ['x', 'y']) {
      expect((await inbox().acceptEvent({ ...createEvent(`github_${id}`), digest: 'sha256:1' })).status).toBe(
        'accepted',
      );
    }
    expect((await inbox().listEvents({})).data).toHaveLength(4);
  });

  test('keeps its text to the byte', async () => {
    createWebhookWorks();
    const text = 'a\u0000b 🌍 " \\ \n\u2028 مرحبا';
    await inbox().acceptEvent(createEvent('github_1', text));
    expect((await begun('github_1')).text).toBe(text);
  });

  test('fails with an error if its text is too long to classify', async () => {
    createWebhookWorks();
    const answer = await inbox().acceptEvent(createEvent('github_1', 'ä'.repeat(524_289)));
    expect(answer).toEqual({ status: 'accepted', queue: false });
    const report = await inbox().readEvent('github_1');
    expect(report).toMatchObject({ state: 'failed', attempts: [{ error: { type: 'invalid_request_error' } }] });
    expect(await inbox().leaseEvent('github_1', LEASE)).toEqual({ kind: 'none' });
    expect(await inbox().acceptEvent(createEvent('github_2', 'ä'.repeat(524_288)))).toEqual({
      status: 'accepted',
      queue: true,
    });
  });

  test('is leased to one job at a time', async () => {
    const { clock } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    const works = await Promise.all(Array.from({ length: 4 }, () => inbox().leaseEvent('github_1', LEASE)));
    expect(works.map(({ kind }) => kind).sort()).toEqual(['none', 'none', 'none', 'work']);
    clock.now += LEASE + 1;
    expect((await begun('github_1')).kind).toBe('work');
  });

  test('keeps the result of the first of two jobs, and returns it to both', async () => {
    const { clock } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    await begun('github_1');
    clock.now += LEASE + 1;
    await begun('github_1');
    expect(await inbox().recordResult('github_1', createClassification('bug'))).toMatchObject({ label: 'bug' });
    expect(await inbox().recordResult('github_1', createClassification('question'))).toMatchObject({ label: 'bug' });
    expect(await inbox().readEvent('github_1')).toMatchObject({ state: 'delivering', label: 'bug' });
    clock.now += LEASE + 1;
    expect(await begun('github_1')).toMatchObject({ kind: 'deliver', result: { label: 'bug' } });
  });

  test('is complete after classification if there is no delivery URL', async () => {
    createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    const { lease } = await begun('github_1');
    await inbox().recordResult('github_1', createClassification('bug'), { lease, attempt: attempt() });
    expect(await inbox().readEvent('github_1')).toMatchObject({ state: 'classified', attempts: [{ error: null }] });
    expect(await inbox().leaseEvent('github_1', LEASE)).toEqual({ kind: 'none' });
  });

  test('records a success, but no failure, from a job whose lease has expired', async () => {
    const { clock } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    const first = await begun('github_1');
    await inbox().recordResult('github_1', createClassification('bug'));
    clock.now += 10 * MINUTE;
    const second = await begun('github_1');
    await end('github_1', first.lease, { state: 'parked' }, FAILED);
    expect(await inbox().readEvent('github_1')).toMatchObject({ state: 'delivering', attempts: [] });
    await end('github_1', first.lease, { state: 'delivered' });
    await end('github_1', second.lease, { state: 'again', pause: 5_000, notBefore: null }, FAILED);
    expect(await inbox().readEvent('github_1')).toMatchObject({ state: 'delivered', attempts: [{ error: null }] });
  });

  test('writes at most six rows until it is delivered', async () => {
    createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_0'));
    const stub = getInboxStub(bindings, {}, 'github') as unknown as DurableObjectStub;
    // Its account has heard of it.
    await eventually(async () =>
      expect(
        await runInDurableObject(stub, (_, { storage }) =>
          new EventStore(storage, 'github').listMetaKeys('announced:', 10),
        ),
      ).toHaveLength(1),
    );
    const rows = await countWrittenRows(stub as never);
    await inbox().acceptEvent(createEvent('github_1'));
    // The row, its id, and that it is due.
    expect(rows()).toBe(3);
    const { lease } = await begun('github_1');
    expect(rows()).toBe(3);
    await inbox().recordResult('github_1', createClassification('bug'));
    await end('github_1', lease, { state: 'delivered' });
    // The result; that it was delivered, and is finished.
    expect(rows()).toBeLessThanOrEqual(6);
    const before = rows();
    await inbox().acceptEvent({ ...createEvent('github_2'), sameBodySameEvent: true });
    // That its body is known as well.
    expect(rows() - before).toBe(4);
  });
});

describe('an event whose message may be lost', () => {
  test('is queued again if its sender repeats it after 10 s and no job works on it', async () => {
    const { clock } = createWebhookWorks();
    const repeat = async (ms: number) => {
      clock.now += ms;
      return (await inbox().acceptEvent(createEvent('github_1'))).queue;
    };
    expect(await repeat(0)).toBe(true);
    expect(await repeat(9_000)).toBe(false);
    expect(await repeat(1_000)).toBe(true);
    expect(await repeat(1_000)).toBe(false);
    const { lease } = await begun('github_1');
    expect(await repeat(30_000)).toBe(false);
    await end('github_1', lease, { state: 'again', pause: 120_000, notBefore: null }, FAILED);
    expect(await repeat(30_000)).toBe(false);
  });

  test('is queued by the alarm within 10 s if its sender repeats it at once', async () => {
    const { queue, clock, wakeAt } = createWebhookWorks();
    const acceptedAt = clock.now;
    await inbox().acceptEvent(createEvent('github_1'));
    // The response was lost, so the route did not queue the event.
    expect(await inbox().acceptEvent(createEvent('github_1'))).toMatchObject({ status: 'duplicate', queue: false });
    await wakeAt('github', acceptedAt + 10_000);
    expect(queue.ids).toEqual(['github_1']);
  });

  test('is queued by the alarm at once if the queue has rejected it, but not while a job works on it', async () => {
    const { queue, clock, wakeAt } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    await inbox().recordEnqueueFailure('github_1');
    await wakeAt('github', clock.now + 1_000);
    expect(queue.ids).toEqual(['github_1']);
    await begun('github_1');
    await inbox().recordEnqueueFailure('github_1');
    await wakeAt('github', clock.now + 1_000);
    expect(queue.ids).toEqual(['github_1']);
  });

  test('stays with a job that extends its lease, and goes to another one a lease after the last extension', async () => {
    const { clock } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    const { lease } = await begun('github_1');
    for (let nth = 0; nth < 10; nth += 1) {
      clock.now += LEASE - 1;
      await inbox().extendLease('github_1', lease, LEASE);
    }
    clock.now += LEASE - 1;
    expect(await inbox().leaseEvent('github_1', LEASE)).toEqual({ kind: 'none' });
    clock.now += 1;
    const second = await begun('github_1');
    await inbox().extendLease('github_1', lease, 10 * LEASE);
    clock.now = second.lease;
    await begun('github_1');
  });

  test('is not taken back by an extension that is overtaken by the end of the job', async () => {
    const { clock } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    const { lease } = await begun('github_1');
    await end('github_1', lease, { state: 'again', pause: 5_000, notBefore: null }, FAILED);
    await inbox().extendLease('github_1', lease, LEASE);
    clock.now += 5_000;
    await begun('github_1');
  });
});

describe('the alarm', () => {
  test('enqueues events again whose message was lost or whose job did not end', async () => {
    const { queue, clock, wakeAt } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    await inbox().acceptEvent(createEvent('github_2'));
    await begun('github_2');
    await wakeAt('github', clock.now + MINUTE / 3);
    expect(queue.ids).toEqual([]);
    await abortAllDurableObjects();
    await wakeAt('github', clock.now + MINUTE);
    expect(queue.ids).toEqual(['github_1', 'github_2']);
    // Again, if that was lost as well; but not at once.
    await wakeAt('github', clock.now + MINUTE / 2);
    expect(queue.ids).toHaveLength(2);
    await wakeAt('github', clock.now + MINUTE);
    expect(queue.ids).toHaveLength(4);
  });

  test('enqueues a waiting event at its time, however late, and does not lease it before', async () => {
    const { queue, clock, wakeAt } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    const { lease } = await begun('github_1');
    const opens = clock.now + 40 * DAY;
    await end('github_1', lease, { state: 'waiting', at: opens }, { type: 'billing_error', message: 'Spent.' });
    expect(await inbox().readEvent('github_1')).toMatchObject({
      state: 'waiting',
      next_attempt_at: new Date(opens).toISOString(),
    });
    for (const day of [1, 20, 39]) {
      await abortAllDurableObjects();
      await wakeAt('github', opens - (40 - day) * DAY);
      expect(await inbox().leaseEvent('github_1', LEASE)).toEqual({ kind: 'none' });
    }
    expect(queue.ids).toEqual([]);
    await wakeAt('github', opens);
    expect(queue.ids).toEqual(['github_1']);
    expect(await begun('github_1')).toMatchObject({ kind: 'work', failures: 0 });
  });

  test('is set for the next attempt that is due', async () => {
    const { clock } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    const { lease } = await begun('github_1');
    await end('github_1', lease, { state: 'again', pause: 5_000, notBefore: null }, FAILED);
    const stub = getInboxStub(bindings, {}, 'github') as unknown as DurableObjectStub<Inbox>;
    const alarm = await runInDurableObject(stub, (_, { storage }) => storage.getAlarm());
    expect(alarm).toBeGreaterThanOrEqual(clock.now + 5_000);
    expect(alarm).toBeLessThanOrEqual(clock.now + 6_000);
  });

  test('enqueues events again that the queue rejected', async () => {
    const { queue, clock, wakeAt } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    const broken = vi
      .spyOn(Inbox.prototype as unknown as { enqueue(): Promise<void> }, 'enqueue')
      .mockRejectedValueOnce(new Error('queue overloaded'));
    await wakeAt('github', clock.now + 5 * MINUTE);
    expect(broken).toHaveBeenCalledOnce();
    expect(queue.ids).toEqual([]);
    broken.mockImplementation((async (ids: string[]) => queue.ids.push(...ids)) as never);
    await wakeAt('github', clock.now + 15_000);
    expect(queue.ids).toEqual(['github_1']);
  });

  test('logs a queue that rejects every message once a minute, and reports it after ten', async () => {
    const { clock, wakeAt } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    vi.spyOn(Inbox.prototype as unknown as { enqueue(): Promise<void> }, 'enqueue').mockRejectedValue(
      new RangeError('the text of a user'),
    );
    const logging = vi.spyOn(console, 'error').mockImplementation(() => {});
    const lines = () =>
      logging.mock.calls.map(([line]) => String(line)).filter((line) => line.includes('webhook_queue'));
    const pool = () => getDurableObjectStub(bindings.POOL, {}, 'deployment') as unknown as DurableObjectStub<Pool>;
    await wakeAt('github', clock.now + 5 * MINUTE);
    for (let alarm = 0; alarm < 2; alarm += 1) await wakeAt('github', clock.now + 15_000);
    expect(lines()).toHaveLength(1);
    expect(lines()[0]).toContain('"error":"RangeError","attempt":1');
    expect((await pool().getPoolOverview({}, false)).failing_tasks).toEqual([]);
    await wakeAt('github', clock.now + 10 * MINUTE);
    expect(lines()).toHaveLength(2);
    expect(lines().join('')).not.toContain('the text of a user');
    await eventually(async () => {
      expect((await pool().getPoolOverview({}, false)).failing_tasks).toMatchObject([{ task: 'webhook_queue' }]);
      expect(await pool().listTaskFailures()).toEqual([{ task: 'webhook_queue', failures: 4 }]);
    });
  });

  test('enqueues ten waiting events as soon as another event’s result shows that the budget is available again', async () => {
    const { queue, clock, wakeAt } = createWebhookWorks();
    for (let n = 0; n < 12; n += 1) {
      await inbox().acceptEvent(createEvent(`github_${n}`));
      const { lease } = await begun(`github_${n}`);
      await end(`github_${n}`, lease, { state: 'waiting', at: clock.now + DAY }, FAILED);
    }
    await inbox().acceptEvent(createEvent('github_new'));
    await begun('github_new');
    await inbox().recordResult('github_new', createClassification('bug'));
    await wakeAt('github', clock.now + 1_000);
    // The alarm is due at once: it may have begun by itself, and not be done yet.
    await expect.poll(() => queue.ids).toEqual(Array.from({ length: 10 }, (_, n) => `github_${n}`));
  });

  test('deletes completed events after 30 days, but no events with pending work', async () => {
    const { clock, wakeAt } = createWebhookWorks();
    for (const id of ['github_1', 'github_2', 'github_3']) await inbox().acceptEvent(createEvent(id));
    const [one, two] = [await begun('github_1'), await begun('github_2')];
    await inbox().recordResult('github_1', createClassification('bug'), { lease: one.lease, attempt: attempt() });
    await end('github_2', two.lease, { state: 'waiting', at: clock.now + 60 * DAY });
    await wakeAt('github', clock.now + 29 * DAY);
    expect((await inbox().listEvents({})).data).toHaveLength(3);
    await wakeAt('github', clock.now + 2 * DAY);
    expect((await inbox().listEvents({})).data.map(({ event_id }) => event_id)).toEqual(['github_3', 'github_2']);
    expect(await inbox().acceptEvent(createEvent('github_1'))).toMatchObject({ status: 'accepted' });
  });
});

describe('a receiver', () => {
  const alerts = async () => (await getInbox('alert').listAlerts({ limit: 10 })).data;
  const fail = async (id: string, message = 'The receiver hooks.example.com answered 500.') => {
    const { lease } = await begun(id);
    const again = { state: 'again', pause: 30 * MINUTE, notBefore: null } as const;
    await end(id, lease, again, { type: 'api_error', message });
  };
  const receive = async (id: string) => {
    await inbox().acceptEvent(createEvent(id));
    await begun(id);
    await inbox().recordResult(id, createClassification('bug'));
  };

  test('that fails for an hour raises one alert even if the inbox dies, and another if it fails after a success', async () => {
    const { clock, wakeAt } = createWebhookWorks();
    const start = clock.now;
    await receive('github_1');
    clock.now += LEASE + 1;
    const since = new Date(clock.now).toISOString();
    await fail('github_1');
    clock.now += 31 * MINUTE;
    await fail('github_1', 'The receiver hooks.example.com could not be reached.');
    await wakeAt('github', start + 59 * MINUTE);
    expect(await alerts()).toEqual([]);
    await abortAllDurableObjects();
    await wakeAt('github', start + LEASE + 62 * MINUTE);
    await abortAllDurableObjects();
    await wakeAt('github', clock.now + 60 * MINUTE);
    const alert = {
      kind: 'webhook_undelivered',
      node: { type: 'webhook', id: 'github' },
      subject: `Since ${since}, 1 undelivered: The receiver hooks.example.com answered 500.`,
    };
    await eventually(async () => expect(await alerts()).toMatchObject([alert]));
    expect(await inbox().readUndelivered()).toEqual({ events: 1, failingSince: Date.parse(since) });
    const { lease } = await begun('github_1');
    await end('github_1', lease, { state: 'delivered' });
    expect(await inbox().readUndelivered()).toEqual({ events: 0, failingSince: null });
    await receive('github_2');
    clock.now += LEASE + 1;
    await fail('github_2');
    await wakeAt('github', clock.now + 61 * MINUTE);
    await eventually(async () => expect(await alerts()).toMatchObject([{ kind: 'webhook_undelivered' }, alert]));
  });

  test('that accepts a delivery between failures raises no alert after an hour', async () => {
    const { clock, wakeAt } = createWebhookWorks();
    await receive('github_1');
    clock.now += LEASE + 1;
    await fail('github_1');
    clock.now += 31 * MINUTE;
    const { lease } = await begun('github_1');
    await end('github_1', lease, { state: 'delivered' });
    await receive('github_2');
    clock.now += LEASE + 1;
    await fail('github_2');
    await wakeAt('github', clock.now + 31 * MINUTE);
    expect(await alerts()).toEqual([]);
  });

  test('raises no alert for events without a result', async () => {
    const { clock, wakeAt } = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    await fail('github_1');
    await wakeAt('github', clock.now + 61 * MINUTE);
    expect(await alerts()).toEqual([]);
  });
});

test('uses the inbox object in the configured jurisdiction', () => {
  const inside = { idFromName: (name: string) => `eu/${name}`, get: (id: string) => id };
  const outside = { ...inside, jurisdiction: () => inside } as unknown as typeof bindings.INBOX;
  expect(getInboxStub({ INBOX: outside }, { JURISDICTION: 'eu' }, 'github')).toBe('eu/github');
});

test('lists events newest first, in pages, and by state', async () => {
  createWebhookWorks();
  for (let n = 1; n <= 5; n += 1) await inbox().acceptEvent(createEvent(`github_${n}`));
  const { lease } = await begun('github_2');
  await end('github_2', lease, { state: 'parked' }, FAILED);
  const ids = async (query: Parameters<Inbox['listEvents']>[0]) => {
    const { data, has_more } = await inbox().listEvents(query);
    return [data.map(({ event_id }) => event_id.slice(7)).join(''), has_more];
  };
  expect(await ids({})).toEqual(['54321', false]);
  expect(await ids({ limit: 2 })).toEqual(['54', true]);
  expect(await ids({ limit: 2, after_id: 'github_4' })).toEqual(['32', true]);
  expect(await ids({ limit: 2, before_id: 'github_1' })).toEqual(['32', true]);
  expect(await ids({ after_id: 'github_unknown' })).toEqual(['', false]);
  expect(await ids({ state: 'parked' })).toEqual(['2', false]);
  expect((await inbox().listEvents({ state: 'parked' })).data).toEqual([
    {
      type: 'webhook_event',
      event_id: 'github_2',
      source: 'github',
      state: 'parked',
      label: null,
      conversation: null,
      turn: null,
      received_at: expect.any(String),
      attempts: 1,
      next_attempt_at: null,
      error: FAILED,
    },
  ]);
});

test('keeps the last fifty attempts of an event, and counts all of them', async () => {
  const { clock } = createWebhookWorks();
  await inbox().acceptEvent(createEvent('github_1'));
  for (let n = 0; n < 60; n += 1) {
    const { lease } = await begun('github_1');
    await end('github_1', lease, { state: 'waiting', at: clock.now + DAY }, { type: 'billing_error', message: `${n}` });
    clock.now += DAY;
  }
  const report = await inbox().readEvent('github_1');
  expect(report?.attempts).toHaveLength(50);
  expect(report?.attempts.at(-1)?.error?.message).toBe('59');
  expect((await inbox().listEvents({})).data[0]?.attempts).toBe(60);
});

describe('the erasure of an account', () => {
  const eraseAll = async (account: string, works: ReturnType<typeof createWebhookWorks>) => {
    await getTestAccount(account).erase();
    works.clock.now += 2_000;
    // The alarm may be running already: it comes by itself after a second.
    await eventually(async () => {
      await runDurableObjectAlarm(getAccountStub(bindings, {}, account) as unknown as DurableObjectStub);
      expect(await getTestAccount(account).erase()).toEqual({ done: true, remaining: 0 });
    });
  };
  /** Waits until the account has confirmed that it knows this inbox. */
  const known = async (account: string) => {
    const stub = getInboxStub(bindings, {}, 'github') as unknown as DurableObjectStub<Inbox>;
    const said = () =>
      runInDurableObject(stub, (_, { storage }) =>
        new EventStore(storage, 'github').readMetaValue(`announced:${account}`),
      );
    await eventually(async () => expect(await said()).toBeDefined());
  };

  test('deletes the account’s events in any state, and keeps those of other accounts', async () => {
    const works = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    await inbox().acceptEvent(createEvent('github_2', 'Another one', 'somebody'));
    await known('webhook-github');
    const work = await begun('github_1');
    await eraseAll('webhook-github', works);
    expect((await inbox().listEvents({})).data.map(({ event_id }) => event_id)).toEqual(['github_2']);
    // A run that was under way tells nobody.
    expect(await inbox().recordResult('github_1', createClassification('bug'))).toBeNull();
    await end('github_1', work.lease, { state: 'delivered' });
    expect(await inbox().readEvent('github_1')).toBeUndefined();
  });

  test('can be repeated: events that arrive later are kept until the next erasure', async () => {
    const works = createWebhookWorks();
    await inbox().acceptEvent(createEvent('github_1'));
    await works.wakeAt('github', works.clock.now + 15_000);
    await eraseAll('webhook-github', works);
    works.clock.now += 1_000;
    await inbox().acceptEvent(createEvent('github_2'));
    await works.wakeAt('github', works.clock.now + 15_000);
    expect((await inbox().listEvents({})).data).toHaveLength(1);
    await eraseAll('webhook-github', works);
    expect((await inbox().listEvents({})).data).toEqual([]);
  });
});
