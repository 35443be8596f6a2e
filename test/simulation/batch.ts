/** Batches of one account under any schedule: makers that die, an upstream that answers late or not at all, erasures. */
import fc from 'fast-check';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { RemoteMethods } from '#edge/durable/call-object.ts';
import { callAccount } from '#edge/money/contracts/call-account.ts';
import { callBatch } from '#edge/plugins/batches/call-batch.ts';
import type {
  BatchAdmissionRequest,
  BatchCreateOutcome,
  BatchDecision,
  BatchObject,
  InitialBatchData,
} from '#edge/plugins/batches/contracts/batch.ts';
import { giveUpBatch } from '#edge/plugins/batches/give-up-batch.ts';
import { BATCH_ANSWERS, type BatchAnswer, BatchApi } from './batch-api.ts';
import { BatchModel } from './batch-model.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { mishaps } from './mishaps.ts';
import { findFailure } from './property.ts';
import { type Mishaps, type Scheduler, World } from './world.ts';

/** How a create goes. The last two die: behind a step that is stored, and behind the last byte. */
const FATES = ['made', 'refused', 'doubtful', 'lost_made', 'lost_unmade', 'dies_early', 'dies_late'] as const;

type Command =
  | { kind: 'create'; fate: (typeof FATES)[number]; items: number }
  | { kind: 'read' | 'cancel' | 'remove'; batch: number }
  | { kind: 'erase' };

interface Scenario extends Mishaps {
  commands: readonly Command[];
  answers: readonly BatchAnswer[];
}

const ACCOUNT = 'alice';
const MODEL = 'claude-opus-5-5';
const ITEM_HOLD = 10_000_000;
/** In nanodollars, half of the price: 1,000 tokens at $4 and 200 at $20 for a million. */
const ITEM_COST = 4_000_000;
const STEPS = 500;
/** A batch of which nobody knows anything is settled after 25 hours. */
const REST_MS = 30 * 60 * 60_000;
/** A batch is kept for longer than this. */
const KEPT_MS = 20 * 24 * 60 * 60_000;
const batch = fc.nat(2);

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  commands: fc.array(
    fc.oneof(
      {
        arbitrary: fc.record({
          kind: fc.constant('create' as const),
          fate: fc.oneof({ arbitrary: fc.constant('made' as const), weight: 4 }, fc.constantFrom(...FATES)),
          items: fc.integer({ min: 1, max: 3 }),
        }),
        weight: 4,
      },
      { arbitrary: fc.record({ kind: fc.constantFrom('read' as const, 'cancel', 'remove'), batch }), weight: 3 },
      { arbitrary: fc.record({ kind: fc.constant('erase' as const) }), weight: 1 },
    ),
    { minLength: 1, maxLength: 6 },
  ),
  answers: fc.array(fc.constantFrom(...BATCH_ANSWERS), { maxLength: 6 }),
  ...mishaps,
});

/** Looks for a schedule under which something does not hold. */
export const findFailingSchedule = () => findFailure(scenarios, runScenario);

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function runScenario(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario);
  const api = new BatchApi(world, scenario.answers);
  await runInWorld(world, { upstream: api.upstream }, async () => {
    world.stopTimeAfter(KEPT_MS);
    const model = new BatchModel(findHost('ACCOUNT', ACCOUNT), api, ITEM_COST);
    const checkInvariants = () => model.check();
    const users = new Users(world, api, model);
    users.issue(scenario.commands);
    await world.runSteps(STEPS, checkInvariants);
    await world.runToRest(REST_MS, checkInvariants);
    model.checkAtRest();
    // Each object answers again.
    await users.checkThatAllAnswer();
  });
}

/** Those who make and use the batches of one account. */
class Users {
  readonly #world: World;
  readonly #api: BatchApi;
  readonly #model: BatchModel;
  readonly #request = { identity: { account: ACCOUNT }, accounts: env, settings: parseSettingsOnce(env) };
  readonly #ids: string[] = [];

  constructor(world: World, api: BatchApi, model: BatchModel) {
    this.#world = world;
    this.#api = api;
    this.#model = model;
  }

  /** Issues commands one after the other, without waiting for what comes of them. */
  issue(commands: readonly Command[]): void {
    void (async () => {
      for (const command of commands) {
        await this.#world.waitForTurn(`client: ${command.kind}`);
        // What cannot be reached says so to its caller.
        this.#run(command).catch(() => {});
      }
    })();
  }

  async checkThatAllAnswer(): Promise<void> {
    const answered: string[] = [];
    for (const id of this.#ids) void this.#call(id, (object) => object.readBatchState()).then(() => answered.push(id));
    await this.#world.runToRest(0, () => {});
    if (answered.length < this.#ids.length) this.#model.fail(`not all batches answer, only ${answered.join(', ')}`);
  }

  async #run(command: Command): Promise<void> {
    if (command.kind === 'create') return await this.#create(command);
    if (command.kind === 'erase') {
      this.#model.erased();
      return void (await callAccount(this.#request, (account) => account.erase()));
    }
    const id = this.#ids[command.batch];
    if (id === undefined) return;
    if (command.kind === 'read') {
      const { kind } = await this.#call(id, (object) => object.readBatchState());
      return this.#model.told(id, kind);
    }
    if (command.kind === 'cancel') {
      this.#model.cancelled(id);
      return void (await this.#call(id, (object) => object.cancelBatch()));
    }
    this.#model.removed(id);
    await this.#call(id, (object) => object.deleteBatch());
  }

  /** Makes a batch as a route does (`create-batch.ts`). */
  async #create({ fate, items }: Extract<Command, { kind: 'create' }>): Promise<void> {
    const number = String(this.#ids.length + 1).padStart(24, '0');
    const [id, requestId] = [`msgbatch_${number}`, `req_${number}`];
    this.#ids.push(id);
    this.#model.begun(id, { requestId, items, hold: items * ITEM_HOLD, host: findHost('BATCH', nameOf(id)) });
    const opening = openingOf(id, requestId, items);
    await this.#call(id, (object) => object.storeOpening(opening));
    if (fate === 'dies_early') return;
    let isHeld = true;
    let isClosing = false;
    try {
      let calls = 0;
      const decided = await callAccount(this.#request, (account) => {
        calls += 1;
        return account.admitBatchJson(JSON.stringify(orderOf(id, requestId, items)));
      });
      const { outcome } = JSON.parse(decided) as BatchDecision;
      isHeld = outcome === 'admitted' || calls > 1;
      if (outcome !== 'admitted') return;
      isClosing = await this.#call(id, (object) => object.recordLastByteSent());
    } finally {
      if (!isClosing) await giveUpBatch({ place: placeOf(id), request: this.#request, opening, isHeld });
    }
    if (!isClosing) return;
    const answer = await this.#send(id, fate, items);
    if (fate === 'dies_late') return;
    const state = await this.#call(id, (object) => object.acceptCreateResponse(answer), 'persistent');
    if (answer.kind === 'made') this.#model.acknowledged(id);
    this.#model.told(id, state.kind);
  }

  /** Sends the last byte. @returns what the upstream has answered */
  async #send(id: string, fate: (typeof FATES)[number], items: number): Promise<BatchCreateOutcome> {
    await this.#world.hop(`upstream takes ${id}: ${fate}`);
    if (fate === 'refused') return { kind: 'refused', status: 400, body: '{}', headers: {} };
    if (fate === 'lost_unmade') return { kind: 'lost' };
    if (fate === 'doubtful') return { kind: 'doubtful', status: 502, body: '', headers: {} };
    const there = this.#api.make(items);
    this.#model.made(id, there);
    await this.#world.hop(`upstream answers ${id}`);
    return fate === 'made' ? { kind: 'made', id: there, expiresAt: '' } : { kind: 'lost' };
  }

  async #call<T>(
    id: string,
    call: (object: RemoteMethods<BatchObject>) => Promise<T>,
    patience?: 'persistent',
  ): Promise<T> {
    return await callBatch(placeOf(id), call, patience);
  }
}

const placeOf = (id: string) => ({ env, settings: parseSettingsOnce(env), account: ACCOUNT, id });
const nameOf = (id: string) => JSON.stringify([ACCOUNT, id]);

function openingOf(id: string, requestId: string, items: number): InitialBatchData {
  return {
    id,
    account: ACCOUNT,
    base: 'https://edge.example/v1/messages/batches',
    cacheTtl: '5m',
    makesThings: false,
    rows: [{ requestId, model: MODEL, hold: items * ITEM_HOLD, items }],
    headers: {},
    deliverUrl: null,
    prices: { [MODEL]: parseSettingsOnce(env).models.findPriceRow(MODEL).row.prices },
  };
}

function orderOf(batch: string, requestId: string, items: number): BatchAdmissionRequest {
  return {
    batch,
    requestId,
    items,
    models: [[MODEL]],
    known: true,
    digest: batch,
    repeats: false,
    dryRun: false,
    rows: [{ requestId, model: MODEL, unpriced: false, items, cost: items * ITEM_HOLD }],
    defaults: { usd_per_day: 1 },
  };
}
