/** A pool and the accounts that share it, under any schedule: holds, crashes on either side, lowered limits, midnight. */
import fc from 'fast-check';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { RemoteMethods } from '#edge/durable/call-object.ts';
import { requestAdmissionOfAccount } from '#edge/money/admission/request-admission.ts';
import type { PoolLimits } from '#edge/money/budget/limits.schema.ts';
import { getUsdLimitName, PERIODS } from '#edge/money/budget/windows.ts';
import type { AccountObject } from '#edge/money/contracts/account.ts';
import { callAccount } from '#edge/money/contracts/call-account.ts';
import { callPool } from '#edge/plugins/pools/call-pool.ts';
import { worstCaseWith } from '../edge/money/account/admission-requests.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { settleTasks } from './clock.ts';
import type { Host } from './host.ts';
import { failingWrites } from './mishaps.ts';
import { PoolModel, UNLIMITED, WINDOW_SHARES } from './pool-model.ts';
import { findFailure } from './property.ts';
import { FAULTS, type Mishaps, type Scheduler, World } from './world.ts';

type Command = { account: string } & (
  | { kind: 'request' | 'long'; share: number; clamps: boolean }
  | { kind: 'lost' | 'unheld' | 'erase' }
  | { kind: 'move'; group: string | null }
  | { kind: 'limit'; pool: string; factor: number }
);

interface Scenario extends Mishaps {
  begins: string;
  /** Whether the deployment has a limit, from which requests are held. Otherwise its pool only hears what was spent. */
  isLimited: boolean;
  commands: readonly Command[];
  /** When nothing fails any more some ask once more; after so many steps some accounts' objects die. */
  lastly: { asking: readonly string[]; step: number; dying: readonly string[] };
}

const ACCOUNTS = ['alice', 'bob', 'carol'];
const POOLS = ['deployment', 'group:red', 'group:blue'];
const STEPS = 500;
const REST_MS = 3 * 60 * 60_000;
/** How long a request runs that is renewed all the while, as a batch is held: beyond the window's end that it was admitted in. */
const LONG_REQUEST_MS = 2 * 60 * 60_000;
const RENEW_MS = 5 * 60_000;
/** Nothing unused is leased so long after the last request. An account that dies with a long one is asked at last after this. */
const RETURN_WITHIN_MS = 90_000;
const FINAL_REQUEST_MS = 16 * 60_000;
/** In nanodollars. Two whole requests of each account, and some more. */
const LIMIT = 25_000;
const WORST_CASE = worstCaseWith({ outputTokens: 800 });

const account = fc.constantFrom(...ACCOUNTS);
const request = fc.record({
  kind: fc.constant('request' as const),
  account,
  share: fc.constantFrom(0, 0.1, 0.5, 1, 3),
  clamps: fc.boolean(),
});
const commands: fc.Arbitrary<Command> = fc.oneof(
  { arbitrary: request, weight: 8 },
  { arbitrary: request.map((one) => ({ ...one, kind: 'long' as const })), weight: 1 },
  {
    arbitrary: fc.record({ kind: fc.constantFrom('lost' as const, 'unheld', 'erase'), account }),
    weight: 2,
  },
  {
    arbitrary: fc.record({ kind: fc.constant('move' as const), account, group: fc.constantFrom('red', 'blue', null) }),
    weight: 1,
  },
  {
    arbitrary: fc.record({
      kind: fc.constant('limit' as const),
      account,
      pool: fc.constantFrom(...POOLS),
      factor: fc.constantFrom(0, 0.5, 2),
    }),
    weight: 1,
  },
);

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  // At noon, and seconds before a week and a month end.
  begins: fc.constantFrom('2026-11-20T12:00:00Z', '2026-11-29T23:59:56Z', '2026-11-30T23:59:58Z'),
  isLimited: fc.oneof({ arbitrary: fc.constant(true), weight: 2 }, { arbitrary: fc.constant(false), weight: 1 }),
  commands: fc.array(commands, { minLength: 2, maxLength: 12 }),
  lastly: fc.record({
    asking: fc.subarray(ACCOUNTS),
    step: fc.integer({ min: 0, max: 60 }),
    dying: fc.subarray(ACCOUNTS),
  }),
  faults: fc.array(fc.record({ call: fc.integer({ min: 4, max: 60 }), fault: fc.constantFrom(...FAULTS) }), {
    maxLength: 5,
  }),
  crashes: fc.array(
    fc.record({ step: fc.integer({ min: 10, max: 160 }), host: fc.integer({ min: 0, max: 5 }), keeps: fc.boolean() }),
    { maxLength: 3 },
  ),
  writes: failingWrites(300, 20),
});

/** Looks for a schedule under which something does not hold. */
export const findFailingSchedule = () => findFailure(scenarios, runScenario);

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function runScenario(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario);
  world.clock.now = Date.parse(scenario.begins);
  await runInWorld(world, {}, async () => {
    const pools = new Map(POOLS.map((name) => [name, findHost('POOL', name)]));
    const accounts = new Map(ACCOUNTS.map((name) => [name, findHost('ACCOUNT', name)]));
    const { isLimited } = scenario;
    const model = new PoolModel(world, accounts, pools, { limit: LIMIT, isLimited });
    await setAllLimits([...pools].filter(([name]) => isLimited || name !== UNLIMITED).map(([, host]) => host));
    const checkInvariants = () => model.check();
    const sharers = new PoolUsers(world, model, isLimited);
    sharers.issue(scenario.commands);
    await world.runSteps(STEPS, checkInvariants);
    world.suspendMishaps(REST_MS);
    const { asking, step, dying } = scenario.lastly;
    const isLong = scenario.commands.some(({ kind }) => kind === 'long') && scenario.crashes.length + dying.length > 0;
    model.expectReturns(isLong ? FINAL_REQUEST_MS : RETURN_WITHIN_MS);
    sharers.issue(asking.map((one) => ({ kind: 'request', account: one, share: 0.5, clamps: true })));
    if (asking.length > 0) await world.runSteps(step, checkInvariants);
    for (const one of dying) accounts.get(one)?.crash(true);
    await world.runToRest(REST_MS, checkInvariants);
    model.checkAtRest();
  });
}

const settings = parseSettingsOnce(env);

/** Gives pools their limits, before anything else happens. */
async function setAllLimits(pools: readonly Host[]): Promise<void> {
  for (const host of pools) {
    void host.invoke('setLimits', [toPoolLimits(LIMIT)]);
    await settleTasks();
    host.commitStep();
  }
}

function toPoolLimits(nanodollars: number): PoolLimits {
  return Object.fromEntries(
    PERIODS.map((period) => [getUsdLimitName(period), (nanodollars * WINDOW_SHARES[period]) / 1e9]),
  ) as PoolLimits;
}

/** Those who use the accounts at the same time. */
class PoolUsers {
  readonly #world: World;
  readonly #model: PoolModel;
  readonly #isLimited: boolean;
  #requestCount = 0;

  constructor(world: World, model: PoolModel, isLimited: boolean) {
    this.#isLimited = isLimited;
    this.#world = world;
    this.#model = model;
  }

  /** Issues commands one after the other, without waiting for what comes of them. */
  issue(commands: readonly Command[]): void {
    void (async () => {
      for (const command of commands) {
        await this.#world.waitForTurn(`client: ${command.kind} ${command.account}`);
        this.#perform(command).catch(() => {});
      }
    })();
  }

  async #perform(command: Command): Promise<void> {
    switch (command.kind) {
      case 'request':
        return await this.#admitAndSettle(command.account, command.share, command.clamps);
      case 'long':
        return await this.#admitAndSettle(command.account, command.share, command.clamps, LONG_REQUEST_MS);
      case 'lost':
        return void (await this.#admit(command.account, false));
      case 'unheld':
        this.#model.allowExcess(5_000);
        return await this.#settle(command.account, this.#newId(), 5_000, this.#world.clock.now);
      case 'erase':
        return void (await this.#callAccount(command.account, (object) => object.erase()));
      case 'move':
        return void (await this.#callAccount(command.account, (object) => object.setGroup(command.group)));
      case 'limit':
        return await this.#setLimit(command.pool, LIMIT * command.factor);
    }
  }

  async #setLimit(name: string, nanodollars: number): Promise<void> {
    await callPool({ pools: env, settings, name }, (pool) => pool.setLimits(toPoolLimits(nanodollars)));
  }

  async #admitAndSettle(name: string, share: number, clamps: boolean, lasts = 0): Promise<void> {
    const startedAt = this.#world.clock.now;
    const { id, hold } = await this.#admit(name, clamps);
    if (hold === undefined) return;
    while (this.#world.clock.now < startedAt + lasts) {
      await new Promise((resolve) => setTimeout(resolve, RENEW_MS));
      await this.#callAccount(name, (object) => object.renewHold(id)).catch(() => {});
    }
    const cost = Math.floor(hold * share);
    if (cost > hold) this.#model.allowExcess(cost);
    await this.#settle(name, id, cost, startedAt);
  }

  async #admit(name: string, clamps: boolean): Promise<{ id: string; hold: number | undefined }> {
    const id = this.#newId();
    this.#model.noteUse();
    const answer = await requestAdmissionOfAccount(this.#createRequestContext(name), {
      requestId: id,
      route: 'messages',
      model: 'claude-opus-5-5',
      maximumCost: WORST_CASE,
      dimensions: { tags: `of=${id.at(-1)}` },
      waitMs: clamps ? 20_000 : 0,
      defaults: { on_shortfall: clamps ? 'clamp' : 'refuse' },
      // Without a group either, some requests are held from no lease at all.
      ...(this.#isLimited || this.#requestCount % 2 === 0
        ? { pools: { deployment: this.#isLimited, group: 'red' } }
        : {}),
    });
    return { id, hold: answer.outcome === 'admitted' ? answer.hold : undefined };
  }

  async #settle(name: string, requestId: string, cost: number, startedAt: number): Promise<void> {
    this.#model.noteCost(requestId, cost);
    this.#model.noteUse();
    const text = JSON.stringify({ requestId, status: 'complete', cost, startedAt });
    for (let tries = 0; tries < 3; tries += 1) {
      try {
        return void (await this.#callAccount(name, (object) => object.settleJson(text)));
      } catch {
        await this.#world.hop(`client settles ${requestId} again`);
      }
    }
  }

  async #callAccount<T>(name: string, call: (object: RemoteMethods<AccountObject>) => Promise<T>): Promise<T> {
    return await callAccount(this.#createRequestContext(name), call);
  }

  #createRequestContext(name: string) {
    return { identity: { account: name }, accounts: env, settings };
  }

  #newId(): string {
    this.#requestCount += 1;
    return `req_${String(this.#requestCount).padStart(24, '0')}`;
  }
}
