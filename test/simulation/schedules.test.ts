/** Schedules that once went wrong, step by step. */
import { expect, it } from 'vitest';
import { askForAdmission } from '../../src/accounts/admission/admission.ts';
import { callAccount } from '../../src/durable/call-account.ts';
import type { Remote } from '../../src/durable/call-object.ts';
import type { InboxObject } from '../../src/durable/contracts/inbox.ts';
import { settingsOf } from '../../src/settings/settings.ts';
import { callInbox } from '../../src/webhooks/inbox/call-inbox.ts';
import { env, hostOf, inWorld } from './bindings.ts';
import { ByName } from './by-name.ts';
import { Clients } from './conversation.ts';
import { apiOf } from './upstream.ts';
import { NO_MISHAPS, World } from './world.ts';

const HOUR_MS = 3_600_000;
const nothing = () => {};

/** A world that is led step by step. */
class Led {
  readonly names = new ByName();
  readonly world = new World(this.names, NO_MISHAPS);

  /** Has something come next that is under way. */
  async come(label: string): Promise<void> {
    if (!this.names.choose(label)) throw new Error(`${label} is not under way: ${this.names.labels.join('; ')}`);
    await this.world.step();
  }

  /** Lets everything come in its order until something is under way. */
  async until(label: string): Promise<void> {
    for (let steps = 0; !this.names.labels.some((one) => one.includes(label)); steps += 1) {
      if (steps > 200) throw new Error(`${label} never comes`);
      await this.world.step();
    }
  }
}

/** Leads a conversation that has had one turn, and is at rest. */
async function withConversation(work: (led: Led, clients: Clients) => Promise<void>): Promise<void> {
  const led = new Led();
  await inWorld(led.world, { upstream: apiOf(led.world, []) }, async () => {
    const clients = new Clients(led.world);
    clients.do({ kind: 'turn', stream: true });
    await led.until('settleJson answered');
    await led.come('settleJson answered');
    while (led.names.labels.some((label) => label !== 'time')) await led.world.step();
    await work(led, clients);
  });
}

const conversation = () => hostOf('CONVERSATION', JSON.stringify(['alice', 'c1']));

it('an object that dies while a conversation is cleared away leaves no row without an alarm', async () => {
  await withConversation(async (led, clients) => {
    clients.do({ kind: 'erase' });
    await led.until('deleteAlarm is done');
    conversation().crash(true);
    clients.model.look();
    await led.world.rest(HOUR_MS, () => clients.model.look());
    clients.model.lookAtRest();
    await clients.checkAnswers(nothing);
  });
});

it('a turn that begins while a conversation is cleared away keeps its rows', async () => {
  await withConversation(async (led, clients) => {
    clients.do({ kind: 'erase' });
    await led.until('deleteAlarm is done');
    clients.do({ kind: 'turn', stream: true });
    await led.come('client → conversation');
    expect(conversation().storage.exec("select status from turns where status = 'running'", []).toArray()).toHaveLength(
      1,
    );
    await led.world.rest(HOUR_MS, () => clients.model.look());
    expect(clients.model.listeners.at(-1)?.end).toBe('message_stop');
    expect(conversation().storage.exec('select status from turns', []).toArray()).toEqual([{ status: 'complete' }]);
  });
});

it('an erased conversation whose account was not told has its alarm soon', async () => {
  await withConversation(async (led, clients) => {
    const { storage } = conversation();
    // Once its log has gone the next alarm is that of its retention, in a month.
    while ((storage.armed ?? 0) < led.world.clock.now + HOUR_MS) await led.world.step();
    clients.do({ kind: 'erase' });
    await led.come('conversation ["alice","c1"].erase');
    conversation().crash(true);
    clients.model.look();
    expect(storage.armed).toBeLessThanOrEqual(led.world.clock.now + 60_000);
  });
});

it('what the store was not told before a crash is told by the alarm', async () => {
  const led = new Led();
  const store = new Map<string, string>();
  await inWorld(led.world, { store }, async () => {
    const version = { kind: 'prefix', name: 'a', hash: '1', bytes: new Uint8Array([1]), description: null };
    const account = hostOf('ACCOUNT', 'alice');
    // Whoever has called does not call again.
    void led.world.call(account, 'putVersion', [version]).catch(nothing);
    await led.until('store put');
    account.crash(true);
    await led.world.rest(HOUR_MS, nothing);
    expect(store.get('prefix:a:alice')).toBe('1');
  });
});

/** Leads an inbox whose events are put on a queue that a test looks at. */
async function withInbox(
  enqueue: (ids: readonly string[]) => Promise<void>,
  work: (led: Led, call: <T>(call: (inbox: Remote<InboxObject>) => Promise<T>) => Promise<T>) => Promise<void>,
): Promise<void> {
  const led = new Led();
  await inWorld(led.world, { enqueue }, async () => {
    await work(led, async (call) => {
      const called = callInbox({ inboxes: env, settings: settingsOf(env), source: 'tickets' }, call);
      let isAnswered = false;
      void called.finally(() => {
        isAnswered = true;
      });
      while (!isAnswered) await led.world.step();
      return await called;
    });
  });
}

const eventOf = (id: string) => ({ id, account: 'webhook-tickets', text: 'text', subject: null, digest: id });

it('an event that is worked on does not come due when another one shows that there is room again', async () => {
  let enqueued = 0;
  const count = async () => {
    enqueued += 1;
  };
  await withInbox(count, async (led, call) => {
    for (const id of ['tickets_1', 'tickets_2']) await call((inbox) => inbox.accept(eventOf(id)));
    const { clock } = led.world;
    const attempt = { at: new Date(clock.now).toISOString(), ms: 0, error: null };
    const first = await call((inbox) => inbox.begin('tickets_1', 150_000));
    const lease = first.kind === 'none' ? 0 : first.lease;
    const to = { state: 'waiting', at: clock.now } as const;
    await call((inbox) => inbox.conclude('tickets_1', { lease, attempt, to }));
    await call((inbox) => inbox.begin('tickets_1', 150_000));
    const label = { label: 'a', confidence: null, fields: null, cached: false, model: 'm', classifier: null };
    const facts = { usage: {}, cost_usd: 0, classified_at: attempt.at };
    await call((inbox) => inbox.record('tickets_2', { ...label, ...facts }));
    enqueued = 0;
    await led.world.rest(100_000, nothing);
    expect(enqueued).toBe(0);
  });
});

it('a queue that takes nothing is asked again after a pause', async () => {
  let asked = 0;
  const refuse = async () => {
    asked += 1;
    throw new Error('the queue could not be reached');
  };
  await withInbox(refuse, async (led, call) => {
    await call((inbox) => inbox.accept(eventOf('tickets_1')));
    await led.world.rest(10 * 60_000, nothing);
    // Every fifteen seconds, once it is due after four minutes.
    expect(asked).toBeGreaterThan(10);
    expect(asked).toBeLessThan(40);
  });
});

it('what an account spends while its erasure is handed over is reported under its name, also if its object dies', async () => {
  const led = new Led();
  const place = { identity: { account: 'alice' }, accounts: env, settings: settingsOf(env) };
  const bound = {
    inputTokens: 100,
    inputCost: 1_000,
    outputTokens: 800,
    outputPrice: 10,
    leastOutput: 1,
    bounded: true,
    countable: false,
    known: true,
    models: [['claude-opus-5-5']],
  };
  const asked = { requestId: 'req_1', route: 'messages', model: 'claude-opus-5-5', bound, defaults: {} };
  await inWorld(led.world, {}, async () => {
    const admission = askForAdmission(place, { ...asked, pools: { deployment: true } });
    await led.until('pool deployment.leaseJson answered');
    const erasure = callAccount(place, (account) => account.erase());
    await led.come('account alice.erase');
    while (led.names.labels.some((label) => label !== 'time')) await led.world.step();
    expect((await admission).outcome).toBe('admitted');
    expect((await erasure).done).toBe(true);
    hostOf('ACCOUNT', 'alice').crash(true);
    const settlement = { requestId: 'req_1', status: 'complete', cost: 9_000, startedAt: led.world.clock.now };
    const settled = callAccount(place, (account) => account.settleJson(JSON.stringify(settlement)));
    await led.world.rest(HOUR_MS, nothing);
    expect(JSON.parse(await settled)).toMatchObject({ outcome: 'settled' });
    const sums = 'select account, cost from sums join leases on leases.id = sums.lease';
    expect(hostOf('POOL', 'deployment').storage.exec(sums, []).toArray()).toEqual([{ account: 'alice', cost: 9_000 }]);
  });
});
