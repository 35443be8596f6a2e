/** Many accounts that share one budget, with batches and messages at the same time. */
import { expect, test } from 'vitest';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { RemoteMethods } from '#edge/durable/call-object.ts';
import { requestAdmissionOfAccount } from '#edge/money/admission/request-admission.ts';
import { findCalendarWindowAt, formatCalendarWindowId } from '#edge/money/budget/windows.ts';
import type { AccountObject } from '#edge/money/contracts/account.ts';
import { callAccount } from '#edge/money/contracts/call-account.ts';
import type { BatchAdmissionRequest, BatchDecision } from '#edge/plugins/batches/contracts/batch.ts';
import { worstCaseWith } from '../edge/money/account/admission-requests.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { type Clock, settleTasks } from './clock.ts';
import { type Host, InvariantViolation } from './host.ts';
import { MAX_DURATION_MS } from './property.ts';
import { FAULTS, type Mishaps, type Scheduler, World, WRITE_FAILURES } from './world.ts';

// By day a tenth of the accounts that it has at night, with as much for each.
const { CROWD_ACCOUNTS = '30' } = process.env;
const ACCOUNTS = Number(CROWD_ACCOUNTS);
/** In nanodollars, of a day: all of them together ask for several times of it. */
const POOL_LIMIT = 20_000 * ACCOUNTS;
const ACCOUNT_LIMIT = 60_000;
const MODELS = ['claude-opus-5-5', 'claude-haiku-5-5'];
/** Each asks so often; the pause lets leases that nobody uses go to others. */
const ROUNDS = 4;
const PAUSE_MS = 40_000;
/** A batch takes much longer than a lease may be used without being renewed. */
const BATCH_MS = 40 * 60_000;
const MESSAGE_MS = 8_000;
const REST_MS = 3 * 60 * 60_000;
const CRASHES = Math.ceil(ACCOUNTS / 4);
const LOST_CALLS = Math.ceil(ACCOUNTS / 4);
const FAILED_WRITES = Math.ceil(ACCOUNTS / 4);

/** Each call is made by somebody who counts them, so none comes twice by itself: that is the matter of other schedules. */
const REAL_FAULTS = FAULTS.filter((fault) => fault !== 'doubled');

const settings = parseSettingsOnce(env);

/** Numbers from 0 to 1, the same for the same seed. */
function diceOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** Has what waits come in any order. */
class Shuffled implements Scheduler {
  readonly #dice: () => number;
  readonly #waiting: (() => void)[] = [];

  constructor(dice: () => number) {
    this.#dice = dice;
  }

  schedule<T>(task: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => void task.then(resolve, reject));
    });
  }

  async waitOne(): Promise<void> {
    const at = Math.floor(this.#dice() * this.#waiting.length);
    const chosen = this.#waiting[at];
    const last = this.#waiting.pop();
    if (chosen !== last && last) this.#waiting[at] = last;
    chosen?.();
  }

  count(): number {
    return this.#waiting.length;
  }
}

function mishapsOf(dice: () => number): Mishaps {
  const upTo = (most: number) => Math.floor(dice() * most);
  return {
    crashes: Array.from({ length: CRASHES }, (_, nth) => ({
      step: 200 + upTo(8_000),
      // Every tenth is the pool's, which is made first.
      host: nth % 10 === 0 ? 0 : upTo(ACCOUNTS),
      keeps: dice() < 0.5,
    })),
    faults: Array.from({ length: LOST_CALLS }, () => ({
      call: 20 + upTo(3_000),
      fault: REAL_FAULTS[upTo(REAL_FAULTS.length)] ?? 'lost',
    })),
    writes: Array.from({ length: FAILED_WRITES }, () => ({
      write: 200 + upTo(3_000),
      failure: WRITE_FAILURES[upTo(WRITE_FAILURES.length)] ?? 'before',
    })),
  };
}

/** Looks at what is written down, wherever something has changed. */
class Books {
  readonly #pool: Host;
  readonly #accounts: ReadonlyMap<string, Host>;
  readonly #clock: Clock;
  readonly #window: string;
  readonly #end: number;
  readonly #seen = new Map<Host, number>();
  readonly #used = new Map<string, number>();
  readonly #leaseIds = new Map<string, string>();
  readonly #rows = new Map<string, { text: string; granted: number }>();
  #total = 0;
  /** The most that was ever settled and held. */
  most = 0;

  /** @param clock that of the world: the limits are those of the day that it begins with */
  constructor(pool: Host, accounts: ReadonlyMap<string, Host>, clock: Clock) {
    this.#pool = pool;
    this.#accounts = accounts;
    this.#clock = clock;
    const { start, end } = findCalendarWindowAt('day', clock.now);
    this.#window = formatCalendarWindowId('day', start);
    this.#end = end;
  }

  look(): void {
    // A caller that waits while nothing else is due for weeks may be found in another day: the pool has forgotten this one.
    if (this.#clock.now >= this.#end) return;
    let hasChanged = this.#hasChanged(this.#pool);
    if (hasChanged) this.#readGrants();
    for (const [account, host] of this.#accounts) {
      if (!this.#hasChanged(host)) continue;
      hasChanged = true;
      this.#readAccount(account, host);
    }
    if (!hasChanged) return;
    this.most = Math.max(this.most, this.#total);
    if (this.#total > POOL_LIMIT) throw new InvariantViolation(`${this.#total} settled and held of ${POOL_LIMIT}`);
    const granted = [...this.#rows.values()].reduce((sum, row) => sum + row.granted, 0);
    if (granted > POOL_LIMIT) throw new InvariantViolation(`${granted} granted of ${POOL_LIMIT}`);
    for (const [account, used] of this.#used) {
      if (used > ACCOUNT_LIMIT) throw new InvariantViolation(`${account} has used ${used} of its ${ACCOUNT_LIMIT}`);
      const lease = this.#rows.get(this.#leaseIds.get(account) ?? '');
      if (used > (lease?.granted ?? 0))
        throw new InvariantViolation(`${account} has used ${used} of ${lease?.granted} granted`);
    }
  }

  #hasChanged(host: Host): boolean {
    const { changes } = host.storage;
    if (this.#seen.get(host) === changes) return false;
    this.#seen.set(host, changes);
    return true;
  }

  #readGrants(): void {
    for (const { id, windows } of read(this.#pool, 'leases', 'select id, windows from leases')) {
      const text = String(windows);
      const known = this.#rows.get(String(id));
      if (known?.text === text) continue;
      const figures = (JSON.parse(text) as { windows: Record<string, { granted: number }> }).windows[this.#window];
      this.#rows.set(String(id), { text, granted: figures?.granted ?? 0 });
    }
  }

  #readAccount(account: string, host: Host): void {
    const [row] = read(
      host,
      'ledger',
      "select coalesce(sum(case status when 'held' then hold else cost end), 0) as used from ledger",
    );
    const used = Number(row?.used ?? 0);
    this.#total += used - (this.#used.get(account) ?? 0);
    this.#used.set(account, used);
    const [identity] = read(host, 'ledger', "select value from meta where key = 'lease'");
    if (identity) this.#leaseIds.set(account, (JSON.parse(String(identity.value)) as { id: string }).id);
  }

  /** @returns what is settled in all; nothing is held or leased any more. */
  atRest(): number {
    for (const [account, host] of this.#accounts) {
      expect(read(host, 'ledger', "select id from ledger where status = 'held'"), account).toEqual([]);
    }
    expect(read(this.#pool, 'leases', 'select id from leases where open = 1')).toEqual([]);
    return this.#total;
  }
}

function read(host: Host, table: string, query: string) {
  return host.storage.hasTable(table) ? host.storage.exec(query, []).toArray() : [];
}

/** How often what was asked for was admitted. */
const admitted = { batches: 0, messages: 0, refused: 0 };

/** One account's caller: by turns it asks for a message and for a batch. */
class Caller {
  readonly #world: World;
  readonly #name: string;
  readonly #dice: () => number;
  #requests = 0;

  constructor(world: World, name: string, dice: () => number) {
    this.#world = world;
    this.#name = name;
    this.#dice = dice;
  }

  async run(): Promise<void> {
    for (let round = 0; round < ROUNDS; round += 1) {
      await this.#world.waitForTurn(`${this.#name} begins`);
      await Promise.all([this.#message(), this.#batch()]);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * (0.5 + this.#dice())));
    }
  }

  async #message(): Promise<void> {
    const requestId = this.#newId('req');
    const startedAt = this.#world.clock.now;
    const maximumCost = worstCaseWith({ outputTokens: 900 });
    // Who gets no answer does not know whether something is held: it has cost nothing, and that is said.
    const answer = await requestAdmissionOfAccount(this.#request, {
      requestId,
      route: 'messages',
      model: 'claude-opus-5-5',
      maximumCost,
      ...SHARED,
    }).catch(() => undefined);
    if (answer && answer.outcome !== 'admitted') return this.#refused();
    if (answer) admitted.messages += 1;
    await new Promise((resolve) => setTimeout(resolve, MESSAGE_MS * this.#dice()));
    const cost = answer?.outcome === 'admitted' ? Math.floor(answer.hold * this.#dice()) : 0;
    const text = JSON.stringify({ requestId, status: 'complete', cost, startedAt });
    await this.#tell((account) => account.settleJson(text));
  }

  async #batch(): Promise<void> {
    const requestId = this.#newId('req');
    const batch = requestId.replace('req', 'msgbatch');
    const startedAt = this.#world.clock.now;
    const rows = MODELS.map((model, nth) => {
      const cost = 1_000 + Math.floor(this.#dice() * 20_000);
      return { requestId: `${requestId}.${nth}`, model, unpriced: false, items: 5, cost, estimated: cost };
    });
    const order: BatchAdmissionRequest = {
      batch,
      requestId,
      items: 10,
      rows,
      models: MODELS.map((model) => [model]),
      known: true,
      digest: batch,
      repeats: false,
      dryRun: false,
      ...SHARED,
    };
    let asked = 0;
    const decision = await callAccount(this.#request, (account) => {
      asked += 1;
      return account.admitBatchJson(JSON.stringify(order));
    }).then(
      (text) => JSON.parse(text) as BatchDecision,
      () => undefined,
    );
    const isAdmitted = decision?.outcome === 'admitted';
    // As the edge does: where it has asked twice, the first call may still arrive.
    if (decision && !isAdmitted && asked === 1) return this.#refused();
    if (isAdmitted) {
      admitted.batches += 1;
      await new Promise((resolve) => setTimeout(resolve, BATCH_MS * this.#dice()));
    }
    const settled = rows.map(({ requestId, model, cost }) => ({
      requestId,
      model,
      status: isAdmitted ? 'complete' : 'unsent',
      cost: isAdmitted ? Math.floor(cost * this.#dice()) : 0,
      estimated: false,
      tokens: {},
      outcomes: null,
    }));
    const text = JSON.stringify({ batch, rows: settled, startedAt });
    await this.#tell((account) => account.settleBatchJson(text));
  }

  /** Says something until it has arrived. */
  async #tell(call: (account: RemoteMethods<AccountObject>) => Promise<unknown>): Promise<void> {
    for (;;) {
      try {
        return void (await callAccount(this.#request, call));
      } catch {
        await this.#world.hop(`${this.#name} says it again`);
      }
    }
  }

  #refused(): void {
    admitted.refused += 1;
  }

  get #request() {
    return { identity: { account: this.#name }, accounts: env, settings };
  }

  #newId(kind: string): string {
    this.#requests += 1;
    return `${kind}_${this.#name}_${String(this.#requests).padStart(6, '0')}`;
  }
}

const SHARED = {
  defaults: { on_shortfall: 'clamp', usd_per_day: ACCOUNT_LIMIT / 1e9 },
  pools: { deployment: true },
} as const;

test(
  `${ACCOUNTS} accounts with batches and messages never exceed their shared budget`,
  async () => {
    const dice = diceOf(7);
    const world = new World(new Shuffled(dice), mishapsOf(dice));
    await runInWorld(world, {}, async () => {
      const pool = findHost('POOL', 'deployment');
      void pool.invoke('setLimits', [{ usd_per_day: POOL_LIMIT / 1e9 }]);
      await settleTasks();
      pool.commitStep();
      const names = Array.from({ length: ACCOUNTS }, (_, nth) => `a${nth}`);
      const accounts = new Map(names.map((name) => [name, findHost('ACCOUNT', name)]));
      const books = new Books(pool, accounts, world.clock);
      const look = () => books.look();
      let running = ACCOUNTS;
      for (const name of names) {
        void new Caller(world, name, dice).run().finally(() => {
          running -= 1;
        });
      }
      let steps = 0;
      for (; running > 0; steps += 1) {
        if (steps > 200_000 || !(await world.step())) throw new InvariantViolation('callers wait for ever');
        look();
      }
      const deaths = world.hosts.reduce((sum, host) => sum + host.deathCount, 0);
      world.suspendMishaps(REST_MS);
      for (let left = 20_000; left > 0 && (await world.step()); left -= 1) look();
      const settled = books.atRest();
      console.info({ steps, deaths, ...admitted, limit: POOL_LIMIT, most: books.most, settled });
      expect(deaths).toBeGreaterThan(CRASHES / 4);
      expect(admitted.batches).toBeGreaterThan(ACCOUNTS / 4);
      expect(admitted.messages).toBeGreaterThan(ACCOUNTS / 4);
      expect(admitted.refused).toBeGreaterThan(ACCOUNTS / 4);
      expect(books.most).toBeGreaterThan(POOL_LIMIT * 0.8);
    });
  },
  MAX_DURATION_MS,
);
