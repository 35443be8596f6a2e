/** Schedules that once went wrong, step by step. */

import { expect, test } from 'vitest';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { RemoteMethods } from '#edge/durable/call-object.ts';
import { requestAdmissionOfAccount } from '#edge/money/admission/request-admission.ts';
import { callAccount } from '#edge/money/contracts/call-account.ts';
import type { InboxObject } from '#edge/plugins/webhooks/contracts/inbox.ts';
import { callInbox } from '#edge/plugins/webhooks/inbox/call-inbox.ts';
import { worstCaseWith } from '../edge/money/account/admission-requests.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { Clients } from './conversation.ts';
import { LabelScheduler } from './label-scheduler.ts';
import { createSimulatedApi } from './upstream.ts';
import { NO_MISHAPS, World } from './world.ts';

const HOUR_MS = 3_600_000;
const nothing = () => {};

/** A world that is led step by step. */
class Led {
  readonly names = new LabelScheduler();
  readonly world = new World(this.names, NO_MISHAPS);

  /** Has something come next that is under way. */
  async come(label: string): Promise<void> {
    if (!this.names.choose(label)) throw new Error(`${label} is not under way: ${this.names.labels.join('; ')}`);
    await this.world.step();
  }

  /** Lets everything come that is under way, while no time passes. */
  async quiet(): Promise<void> {
    while (this.names.labels.some((label) => label !== 'time')) await this.world.step();
  }

  /** Lets time pass, with all that comes meanwhile. */
  async pass(milliseconds: number): Promise<void> {
    const until = this.world.clock.now + milliseconds;
    while (this.world.clock.now < until && (await this.world.step())) await this.quiet();
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
  await runInWorld(led.world, { upstream: createSimulatedApi(led.world, []) }, async () => {
    const clients = new Clients(led.world);
    clients.start({ kind: 'turn', stream: true });
    await led.until('settleJson answered');
    await led.come('settleJson answered');
    await led.quiet();
    await work(led, clients);
  });
}

const conversation = () => findHost('CONVERSATION', JSON.stringify(['alice', 'c1']));

test('a conversation that dies during its erasure leaves no rows without an alarm', async () => {
  await withConversation(async (led, clients) => {
    clients.start({ kind: 'erase' });
    await led.until('deleteAlarm is done');
    conversation().crash(true);
    clients.model.check();
    await led.world.runToRest(HOUR_MS, () => clients.model.check());
    clients.model.checkAtRest();
    await clients.checkAnswers(nothing);
  });
});

test('a turn that begins during the erasure of its conversation keeps its rows', async () => {
  await withConversation(async (led, clients) => {
    clients.start({ kind: 'erase' });
    await led.until('deleteAlarm is done');
    clients.start({ kind: 'turn', stream: true });
    await led.come('client → conversation');
    expect(conversation().storage.exec("select status from turns where status = 'running'", []).toArray()).toHaveLength(
      1,
    );
    await led.world.runToRest(HOUR_MS, () => clients.model.check());
    expect(clients.model.listeners.at(-1)?.end).toBe('message_stop');
    expect(conversation().storage.exec('select status from turns', []).toArray()).toEqual([{ status: 'complete' }]);
  });
});

test('an erased conversation sets an alarm within a minute if it could not notify its account', async () => {
  await withConversation(async (led, clients) => {
    const { storage } = conversation();
    // Once its log has gone the next alarm is that of its retention, in a month.
    while ((storage.armedAlarm ?? 0) < led.world.clock.now + HOUR_MS) await led.world.step();
    clients.start({ kind: 'erase' });
    await led.come('conversation ["alice","c1"].erase');
    conversation().crash(true);
    clients.model.check();
    expect(storage.armedAlarm).toBeLessThanOrEqual(led.world.clock.now + 60_000);
  });
});

test('the alarm writes a version to the store if a crash prevented the first write', async () => {
  const led = new Led();
  const store = new Map<string, string>();
  await runInWorld(led.world, { store }, async () => {
    const version = { kind: 'prefix', name: 'a', hash: '1', bytes: new Uint8Array([1]), description: null };
    const account = findHost('ACCOUNT', 'alice');
    // Whoever has called does not call again.
    void led.world.call(account, 'putVersion', [version]).catch(nothing);
    await led.until('store put');
    account.crash(true);
    await led.world.runToRest(HOUR_MS, nothing);
    expect(store.get('prefix:a:alice')).toBe('1');
  });
});

/** Leads an inbox whose events are put on a queue that a test looks at. */
async function withInbox(
  enqueue: (ids: readonly string[]) => Promise<void>,
  work: (led: Led, call: <T>(call: (inbox: RemoteMethods<InboxObject>) => Promise<T>) => Promise<T>) => Promise<void>,
): Promise<void> {
  const led = new Led();
  await runInWorld(led.world, { enqueue }, async () => {
    await work(led, async (call) => {
      const called = callInbox({ inboxes: env, settings: parseSettingsOnce(env), source: 'tickets' }, call);
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

test('an event that is being processed does not become due when another event shows that budget is available again', async () => {
  let enqueued = 0;
  const count = async () => {
    enqueued += 1;
  };
  await withInbox(count, async (led, call) => {
    for (const id of ['tickets_1', 'tickets_2']) await call((inbox) => inbox.acceptEvent(eventOf(id)));
    const { clock } = led.world;
    const attempt = { at: new Date(clock.now).toISOString(), ms: 0, error: null };
    const first = await call((inbox) => inbox.leaseEvent('tickets_1', 150_000));
    const lease = first.kind === 'none' ? 0 : first.lease;
    const to = { state: 'waiting', at: clock.now } as const;
    await call((inbox) => inbox.recordJobEnd('tickets_1', { lease, attempt, to }));
    await call((inbox) => inbox.leaseEvent('tickets_1', 150_000));
    const label = { label: 'a', cached: false, model: 'm', classifier: null };
    const facts = { usage: {}, cost_usd: 0, classified_at: attempt.at };
    await call((inbox) => inbox.recordResult('tickets_2', { ...label, ...facts }));
    enqueued = 0;
    await led.world.runToRest(50_000, nothing);
    expect(enqueued).toBe(0);
  });
});

test('an inbox makes 11 to 39 attempts in ten minutes to enqueue an event while the queue is unreachable', async () => {
  let asked = 0;
  const refuse = async () => {
    asked += 1;
    throw new Error('the queue could not be reached');
  };
  await withInbox(refuse, async (led, call) => {
    await call((inbox) => inbox.acceptEvent(eventOf('tickets_1')));
    await led.world.runToRest(10 * 60_000, nothing);
    // Every fifteen seconds, once it is due after a minute.
    expect(asked).toBeGreaterThan(10);
    expect(asked).toBeLessThan(40);
  });
});

/** Leads the account of Alice, who shares the deployment's budget. */
async function withSharedBudget(work: (led: Led, alice: Sharer) => Promise<void>): Promise<void> {
  const led = new Led();
  await runInWorld(led.world, {}, () => work(led, new Sharer(led)));
}

class Sharer {
  readonly #led: Led;
  readonly #place = { identity: { account: 'alice' }, accounts: env, settings: parseSettingsOnce(env) };

  constructor(led: Led) {
    this.#led = led;
  }

  admit(requestId: string) {
    const maximumCost = worstCaseWith({ outputTokens: 800 });
    const asked = { requestId, route: 'messages', model: 'claude-opus-5-5', maximumCost, defaults: {} };
    return requestAdmissionOfAccount(this.#place, { ...asked, pools: { deployment: true } });
  }

  erase() {
    return callAccount(this.#place, (account) => account.erase());
  }

  async settle(requestId: string, cost: number): Promise<string> {
    const settlement = { requestId, status: 'complete', cost, startedAt: this.#led.world.clock.now };
    const settled = callAccount(this.#place, (account) => account.settleJson(JSON.stringify(settlement)));
    await this.#led.quiet();
    return (JSON.parse(await settled) as { outcome: string }).outcome;
  }

  /** @returns what the deployment's pool was told, by account. */
  get reported() {
    const sums =
      "select account, cost from used left join leases on leases.id = lease where dimension = 'model' order by cost";
    return findHost('POOL', 'deployment').storage.exec(sums, []).toArray();
  }
}

test("spending during an account's erasure is reported to the pool with the account name, even after a crash", async () => {
  await withSharedBudget(async (led, alice) => {
    const admission = alice.admit('req_1');
    await led.until('pool deployment.leaseJson answered');
    const erasure = alice.erase();
    await led.come('account alice.erase');
    await led.quiet();
    expect((await admission).outcome).toBe('admitted');
    expect((await erasure).done).toBe(true);
    findHost('ACCOUNT', 'alice').crash(true);
    expect(await alice.settle('req_1', 9_000)).toBe('settled');
    await led.world.runToRest(HOUR_MS, nothing);
    expect(alice.reported).toEqual([{ account: 'alice', cost: 9_000 }]);
  });
});

test("a request that outlives its account's erasure is reported without the account name, later requests with it", async () => {
  await withSharedBudget(async (led, alice) => {
    void alice.admit('req_1');
    await led.quiet();
    void alice.erase();
    await led.quiet();
    await led.pass(10_000);
    void alice.admit('req_2');
    await led.quiet();
    expect(await alice.settle('req_2', 5_000)).toBe('settled');
    await led.pass(60_000);
    expect(alice.reported).toEqual([{ account: 'alice', cost: 5_000 }]);
    expect(await alice.settle('req_1', 700)).toBe('erased');
    await led.world.runToRest(HOUR_MS, nothing);
    expect(alice.reported).toEqual([
      { account: null, cost: 700 },
      { account: 'alice', cost: 5_000 },
    ]);
  });
});
