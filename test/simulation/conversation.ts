/** Conversations under any schedule: their account is a real one, their upstream answers as it is told to. */
import fc from 'fast-check';
import { findHost, runInWorld } from './bindings.ts';
import { ACCOUNT, Caller, CONVERSATION_ID } from './caller.ts';
import { ConversationModel } from './conversation-model.ts';
import { type Host, InvariantViolation } from './host.ts';
import { mishaps } from './mishaps.ts';
import { findFailure } from './property.ts';
import { ANSWER_KINDS, type AnswerPlan, createSimulatedApi } from './upstream.ts';
import { type Mishaps, type Scheduler, World } from './world.ts';

export type Command =
  | { kind: 'turn'; key?: string; stream: boolean }
  | { kind: 'stop' | 'erase' | 'rewind' | 'rename' | 'create' | 'eraseAccount' | 'resume' };

interface Scenario extends Mishaps {
  commands: readonly Command[];
  answers: readonly AnswerPlan[];
}

const STEPS = 400;
/** Long enough for every retry, hold and log, and shorter than conversations are kept. */
const REST_MS = 60 * 60_000;

const turn = fc.record({
  kind: fc.constant('turn' as const),
  stream: fc.boolean(),
}) as fc.Arbitrary<Command>;
const keyedTurn = fc.record({
  kind: fc.constant('turn' as const),
  key: fc.constantFrom('k1', 'k2'),
  stream: fc.boolean(),
}) as fc.Arbitrary<Command>;
const other = fc.record({
  kind: fc.constantFrom('stop', 'erase', 'rewind', 'rename', 'create', 'resume', 'eraseAccount'),
}) as fc.Arbitrary<Command>;

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  commands: fc.array(
    fc.oneof({ arbitrary: turn, weight: 3 }, { arbitrary: keyedTurn, weight: 2 }, { arbitrary: other, weight: 4 }),
    { minLength: 1, maxLength: 7 },
  ),
  answers: fc.array(fc.record({ kind: fc.constantFrom(...ANSWER_KINDS), pieces: fc.integer({ min: 1, max: 4 }) }), {
    maxLength: 4,
  }),
  ...mishaps,
});

/** Looks for a schedule under which something does not hold. */
export const findFailingSchedule = () => findFailure(scenarios, runScenario);

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function runScenario(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario);
  await runInWorld(world, { upstream: createSimulatedApi(world, scenario.answers) }, async () => {
    const clients = new Clients(world);
    const checkInvariants = () => clients.model.check();
    clients.issue(scenario.commands);
    await world.runSteps(STEPS, checkInvariants);
    await world.runToRest(REST_MS, checkInvariants);
    clients.model.checkAtRest();
    await clients.checkAnswers(checkInvariants);
  });
}

/** Those who use one conversation at the same time. */
export class Clients {
  readonly model: ConversationModel;
  readonly #world: World;
  readonly #account: Host;
  readonly #caller: Caller;

  constructor(world: World) {
    this.#world = world;
    this.#account = findHost('ACCOUNT', ACCOUNT);
    const conversation = findHost('CONVERSATION', JSON.stringify([ACCOUNT, CONVERSATION_ID]));
    this.model = new ConversationModel(conversation, this.#account, world);
    this.#caller = new Caller(world, conversation, this.model, () => false);
  }

  /** Issues commands one after the other, without waiting for what comes of them. */
  issue(commands: readonly Command[]): void {
    void (async () => {
      for (const command of commands) {
        await this.#world.waitForTurn(`client: ${command.kind}`);
        this.start(command);
      }
    })();
  }

  /** Does one thing; what comes of it is heard later. */
  start(command: Command): void {
    this.#perform(command).catch((thrown: unknown) => {
      if (thrown instanceof InvariantViolation) this.#world.fail(thrown.message);
    });
  }

  /** Once everything is at rest the next question must be answered. */
  async checkAnswers(look: () => void): Promise<void> {
    const listeners = this.model.listeners.length;
    this.start({ kind: 'turn', stream: true });
    await this.#world.runToRest(60_000, look);
    const [last] = this.model.listeners.slice(listeners);
    if (last?.end === 'message_stop') return;
    const heard = last ? `${last.turn} was heard up to ${last.lastNumber}` : this.model.lastError;
    throw new InvariantViolation(`the next turn is not answered: ${heard}`);
  }

  async #perform(command: Command): Promise<void> {
    switch (command.kind) {
      case 'turn':
        return await this.#ask(command);
      case 'resume':
        return await this.#caller.resumeTurn(undefined);
      case 'stop':
        return void (await this.#caller.call('stopRunningTurn', {}));
      case 'rename':
        return void (await this.#caller.call('patchConversation', { title: `title ${this.#caller.requestCount}` }));
      case 'create':
        return void (await this.#caller.call('createConversation', { account: ACCOUNT, id: CONVERSATION_ID }, {}, {}));
      case 'erase':
        this.model.losesHistory = true;
        this.model.losesMoney = true;
        return void (await this.#caller.call('erase'));
      case 'rewind': {
        this.model.losesHistory = true;
        const first = this.model.findMessageId();
        if (first !== undefined) await this.#caller.call('rewindConversation', first);
        return;
      }
      case 'eraseAccount':
        this.model.losesHistory = true;
        this.model.losesMoney = true;
        await this.#world.call(this.#account, 'erase', []);
    }
  }

  async #ask({ key, stream }: Extract<Command, { kind: 'turn' }>): Promise<void> {
    const question = key === undefined ? `question ${this.#caller.requestCount + 1}` : `question of ${key}`;
    await this.#caller.ask(question, { key: key === undefined ? undefined : `${key} ${stream}`, stream });
  }
}
