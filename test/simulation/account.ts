/** Accounts under any schedule: those who ask, settle, store and erase, all at the same time. */
import fc from 'fast-check';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { RemoteMethods } from '#edge/durable/call-object.ts';
import { Account } from '#edge/money/account/account.ts';
import { requestAdmissionOfAccount } from '#edge/money/admission/request-admission.ts';
import type { AccountObject } from '#edge/money/contracts/account.ts';
import type { AdmissionRequest } from '#edge/money/contracts/admission.ts';
import { callAccount } from '#edge/money/contracts/call-account.ts';
import type { ConversationReport, Settlement } from '#edge/money/contracts/settlement.ts';
import { worstCaseWith } from '../edge/money/account/admission-requests.ts';
import { AccountModel, LIMIT } from './account-model.ts';
import { AdmissionQueueModel } from './admission-queue-model.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import type { CreateObject } from './host.ts';
import { mishaps } from './mishaps.ts';
import { findFailure } from './property.ts';
import { type Mishaps, type Scheduler, World } from './world.ts';

type Command =
  /**
   * A request, from its admission to its settlement; `share` is what it costs of its hold. It may wait in the line. Three small
   * ones have plugin, and one large one, which some tiny ones may pass.
   */
  | { kind: 'request'; share: number; conversation?: string; waitMs: number; size: Size }
  /** A request that waits in the line, and whose caller leaves. */
  | { kind: 'left' }
  /** A request whose end nobody tells. */
  | { kind: 'lost' }
  /** A request that was never admitted, or is not known any more. */
  | { kind: 'unheld' }
  | { kind: 'erase' }
  | { kind: 'put' | 'remove' | 'point'; name: string; hash: string };

interface Scenario extends Mishaps {
  commands: readonly Command[];
}

const ACCOUNT = 'alice';
const STEPS = 400;
const REST_MS = 60 * 60_000;
const SIZES = {
  tiny: worstCaseWith({ inputCost: 100, outputTokens: 30 }),
  small: worstCaseWith({ outputTokens: 800 }),
  large: worstCaseWith({ outputTokens: 2_400 }),
};
type Size = keyof typeof SIZES;
const DEFAULTS = { usd_per_day: LIMIT / 1e9, on_shortfall: 'refuse' as const };

/** Conversations that erase themselves at once: theirs is another simulation. */
const OBJECT_FACTORIES = { CONVERSATION: () => ({ erase: async () => true }) };

/** Milliseconds for which a request can wait. */
const WAIT_MS = 20_000;

const waitMs = fc.constantFrom(0, WAIT_MS, WAIT_MS);
const commands: fc.Arbitrary<Command>[] = [
  fc.record({
    kind: fc.constant('request' as const),
    share: fc.constantFrom(0, 0.5, 1, 3),
    waitMs,
    size: fc.constantFrom('tiny' as const, 'small', 'large'),
  }),
  fc.record({
    kind: fc.constant('request' as const),
    share: fc.constantFrom(0.5, 1),
    conversation: fc.constantFrom('c1', 'c2'),
    waitMs,
    size: fc.constant('small' as const),
  }),
  fc.record({ kind: fc.constantFrom('lost', 'unheld', 'erase', 'left') }),
  fc.record({
    kind: fc.constantFrom('put', 'remove', 'point'),
    name: fc.constantFrom('a', 'b'),
    hash: fc.constantFrom('1', '2'),
  }),
];

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  commands: fc.array(fc.oneof(...commands), { minLength: 1, maxLength: 10 }),
  ...mishaps,
});

/** Looks for a schedule under which something does not hold. */
export const findFailingSchedule = () => findFailure(scenarios, runScenario);

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function runScenario(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario);
  const store = new Map<string, string>();
  const line = new AdmissionQueueModel(world);
  const createWatchedAccount: CreateObject = (ctx) => new WatchedAccount(ctx, line);
  const makers = { ...OBJECT_FACTORIES, ACCOUNT: createWatchedAccount };
  await runInWorld(world, { store, factories: makers }, async () => {
    const model = new AccountModel(findHost('ACCOUNT', ACCOUNT), world, store);
    const checkInvariants = () => model.check();
    new Users(world, model).issue(scenario.commands);
    await world.runSteps(STEPS, checkInvariants);
    await world.runToRest(REST_MS, checkInvariants);
    model.checkAtRest();
    line.checkAtRest();
  });
}

/** An account that tells who comes into its line, and who is let out of it. */
class WatchedAccount extends Account {
  readonly #queueModel: AdmissionQueueModel;

  constructor(ctx: DurableObjectState, line: AdmissionQueueModel) {
    super(ctx, env);
    this.#queueModel = line;
    line.reset();
  }

  override admitJson(request: string): string | Promise<string> {
    const { requestId, waitMs = 0, maximumCost } = JSON.parse(request) as AdmissionRequest;
    const decided = super.admitJson(request);
    const needed = maximumCost ? maximumCost.inputCost + maximumCost.outputTokens * maximumCost.outputPrice : 0;
    const unspentOf = (part: 'settled' | 'held') => {
      const { limit_usd = 0, settled_usd, held_usd } = this.getQuotaReport().day;
      return Math.round(((limit_usd ?? 0) - settled_usd - (part === 'held' ? held_usd : 0)) * 1e9);
    };
    return this.#queueModel.checkDecision({ id: requestId, canWait: waitMs > 0, needed, unspentOf }, decided);
  }

  override settleJson(settlement: string): string {
    const { requestId, cost } = JSON.parse(settlement) as Settlement;
    this.#queueModel.noteSettled(requestId, cost);
    return super.settleJson(settlement);
  }
}

/** Those who use one account at the same time. */
class Users {
  readonly #world: World;
  readonly #model: AccountModel;
  readonly #requestContext = { identity: { account: ACCOUNT }, accounts: env, settings: parseSettingsOnce(env) };
  #requestCount = 0;

  constructor(world: World, model: AccountModel) {
    this.#world = world;
    this.#model = model;
  }

  /** Issues commands one after the other, without waiting for what comes of them. */
  issue(commands: readonly Command[]): void {
    void (async () => {
      for (const command of commands) {
        await this.#world.waitForTurn(`client: ${command.kind}`);
        // What an account that cannot be reached leaves undone is its own to see to.
        this.#perform(command).catch(() => {});
      }
    })();
  }

  async #perform(command: Command): Promise<void> {
    switch (command.kind) {
      case 'request':
        return await this.#admitAndSettle(command);
      case 'lost':
        return void (await this.#admit(undefined));
      case 'left':
        return await this.#waitAndLeave();
      case 'unheld':
        this.#model.allowExcess(5_000);
        return await this.#settle(this.#newId(), 5_000);
      case 'erase':
        return void (await this.#callAccount((account) => account.erase()));
      case 'put': {
        const { name, hash } = command;
        const version = { kind: 'prefix', name, hash, bytes: new Uint8Array([1]), description: null };
        return void (await this.#callAccount((account) => account.putVersion(version)));
      }
      case 'remove':
        return void (await this.#callAccount((account) => account.removeName('prefix', command.name)));
      case 'point':
        await this.#callAccount((account) =>
          account.pointVersion({ kind: 'prefix', name: command.name, hash: command.hash }),
        );
    }
  }

  async #admitAndSettle({ share, conversation, waitMs, size }: Extract<Command, { kind: 'request' }>): Promise<void> {
    const startedAt = this.#world.clock.now;
    const { id, hold } = await this.#admit(conversation, { waitMs, size });
    if (hold === undefined) return;
    const cost = Math.floor(hold * share);
    if (cost > hold) this.#model.allowExcess(cost);
    await this.#settle(id, cost, conversation, startedAt);
  }

  /** Waits in the line, and leaves it: what it was granted meanwhile costs nothing. */
  async #waitAndLeave(): Promise<void> {
    const id = this.#newId();
    const startedAt = this.#world.clock.now;
    const admitting = this.#admit(undefined, { waitMs: WAIT_MS, id }).catch(() => {});
    await this.#world.hop(`client of ${id} leaves`);
    await this.#settle(id, 0, undefined, startedAt);
    await admitting;
  }

  async #admit(
    conversation: string | undefined,
    { waitMs = 0, size = 'small' as Size, id = this.#newId() } = {},
  ): Promise<{ id: string; hold: number | undefined }> {
    const ask: AdmissionRequest = {
      requestId: id,
      route: 'messages',
      model: 'claude-opus-5-5',
      maximumCost: SIZES[size],
      conversation,
      waitMs,
    };
    const answer = await requestAdmissionOfAccount({ ...this.#requestContext }, { ...ask, defaults: DEFAULTS });
    return { id, hold: answer.outcome === 'admitted' ? answer.hold : undefined };
  }

  async #settle(
    requestId: string,
    cost: number,
    conversation?: string,
    startedAt = this.#world.clock.now,
  ): Promise<void> {
    const now = this.#world.clock.now;
    const told = {
      id: conversation ?? '',
      version: now,
      createdAt: now,
      updatedAt: now,
      title: null,
      turns: 1,
      messages: 2,
      bytes: 10,
      cost: 0,
      paused: null,
      gone: false,
    } satisfies ConversationReport;
    const settlement = {
      requestId,
      status: 'complete',
      cost,
      startedAt,
      ...(conversation ? { conversation: told } : {}),
    };
    for (let tries = 0; tries < 3; tries += 1) {
      try {
        return void (await this.#callAccount((account) => account.settleJson(JSON.stringify(settlement))));
      } catch {
        await this.#world.hop(`client settles ${requestId} again`);
      }
    }
  }

  async #callAccount<T>(call: (account: RemoteMethods<AccountObject>) => Promise<T>): Promise<T> {
    return await callAccount({ ...this.#requestContext }, call);
  }

  #newId(): string {
    this.#requestCount += 1;
    return `req_${String(this.#requestCount).padStart(24, '0')}`;
  }
}
