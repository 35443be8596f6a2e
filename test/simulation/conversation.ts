/** Conversations under any schedule: their account is a real one, their upstream answers as it is told to. */
import fc from 'fast-check';
import { unpack } from '../../src/conversations/turn-answer.ts';
import type { PackedAnswer, Resumed, TurnAnswer, TurnRequest } from '../../src/durable/contracts/conversation.ts';
import { hostOf, inWorld } from './bindings.ts';
import { ConversationModel } from './conversation-model.ts';
import { type Host, Violation } from './host.ts';
import { type Listener, listen } from './listener.ts';
import { mishaps } from './mishaps.ts';
import { findFailure, type Search } from './property.ts';
import { ANSWERS, type Answer, apiOf } from './upstream.ts';
import { type Mishaps, type Scheduler, World } from './world.ts';

export type Command =
  | { kind: 'turn'; key?: string; stream: boolean }
  | { kind: 'stop' | 'erase' | 'rewind' | 'rename' | 'create' | 'eraseAccount' | 'resume' };

interface Scenario extends Mishaps {
  commands: readonly Command[];
  answers: readonly Answer[];
}

const ACCOUNT = 'alice';
const ID = 'c1';
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
  answers: fc.array(fc.record({ kind: fc.constantFrom(...ANSWERS), pieces: fc.integer({ min: 1, max: 4 }) }), {
    maxLength: 4,
  }),
  ...mishaps,
});

/** Looks for a schedule under which something does not hold. */
export const find = (options?: Search) => findFailure(scenarios, simulate, options);

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function simulate(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario);
  await inWorld(world, { upstream: apiOf(world, scenario.answers) }, async () => {
    const clients = new Clients(world);
    const look = () => clients.model.look();
    clients.issue(scenario.commands);
    await world.run(STEPS, look);
    await world.rest(REST_MS, look);
    clients.model.lookAtRest();
    await clients.checkAnswers(look);
  });
}

/** Those who use one conversation at the same time. */
export class Clients {
  readonly model: ConversationModel;
  readonly #world: World;
  readonly #conversation: Host;
  readonly #account: Host;
  #requests = 0;

  constructor(world: World) {
    this.#world = world;
    this.#account = hostOf('ACCOUNT', ACCOUNT);
    this.#conversation = hostOf('CONVERSATION', JSON.stringify([ACCOUNT, ID]));
    this.model = new ConversationModel(this.#conversation, this.#account, world);
  }

  /** Issues commands one after the other, without waiting for what comes of them. */
  issue(commands: readonly Command[]): void {
    void (async () => {
      for (const command of commands) {
        await this.#world.wait(`client: ${command.kind}`);
        this.do(command);
      }
    })();
  }

  /** Does one thing; what comes of it is heard later. */
  do(command: Command): void {
    this.#do(command).catch((thrown: unknown) => {
      if (thrown instanceof Violation) this.#world.fail(thrown.message);
    });
  }

  /** Once everything is at rest the next question must be answered. */
  async checkAnswers(look: () => void): Promise<void> {
    const listeners = this.model.listeners.length;
    this.do({ kind: 'turn', stream: true });
    await this.#world.rest(60_000, look);
    const [last] = this.model.listeners.slice(listeners);
    if (last?.end === 'message_stop') return;
    const heard = last ? `${last.turn} was heard up to ${last.last}` : this.model.lastError;
    throw new Violation(`the next turn is not answered: ${heard}`);
  }

  async #do(command: Command): Promise<void> {
    switch (command.kind) {
      case 'turn':
        return await this.#ask(command);
      case 'resume':
        return await this.#resume(undefined);
      case 'stop':
        return void (await this.#call('stop', {}));
      case 'rename':
        return void (await this.#call('patch', { title: `title ${this.#requests}` }));
      case 'create':
        return void (await this.#call('create', { account: ACCOUNT, id: ID }, {}, {}));
      case 'erase':
        this.model.losesHistory = true;
        return void (await this.#call('erase'));
      case 'rewind': {
        this.model.losesHistory = true;
        const first = this.model.anyMessage();
        if (first !== undefined) await this.#call('rewind', first);
        return;
      }
      case 'eraseAccount':
        this.model.losesHistory = true;
        await this.#world.call(this.#account, 'erase', []);
    }
  }

  async #call(method: string, ...args: unknown[]): Promise<unknown> {
    return await this.#world.call(this.#conversation, method, args, false);
  }

  async #ask({ key, stream }: Extract<Command, { kind: 'turn' }>): Promise<void> {
    this.#requests += 1;
    const question = key === undefined ? `question ${this.#requests}` : `question of ${key}`;
    const body = JSON.stringify({
      model: 'claude-opus-5-5',
      max_tokens: 100,
      stream,
      messages: [{ role: 'user', content: question }],
    });
    const request: Omit<TurnRequest, 'body' | 'again'> = {
      place: { account: ACCOUNT, id: ID },
      requestId: `req_${String(this.#requests).padStart(24, '0')}`,
      route: 'messages',
      identity: { account: ACCOUNT, scopes: ['messages'], token: undefined },
      hash: body,
      key: key === undefined ? undefined : `${key} ${stream}`,
      retried: false,
      stream,
      headers: { 'content-type': 'application/json' },
      query: '',
    };
    const ask = async (again: boolean) =>
      unpack((await this.#call('turn', JSON.stringify({ ...request, again }), body)) as PackedAnswer);
    // As the edge does it: a call that was lost may have begun a turn.
    const answer = await ask(false).catch((thrown: unknown) => {
      if ((thrown as { overloaded?: unknown }).overloaded === true) throw thrown;
      return ask(true);
    });
    await this.#hear(answer);
  }

  async #hear(answer: TurnAnswer): Promise<void> {
    if (answer.kind === 'error') this.model.lastError = JSON.stringify(answer.error);
    if (answer.kind === 'whole' || answer.kind === 'error') return;
    const listener = this.model.listener(answer.turn);
    if (answer.kind === 'ended') listener.take(answer.events);
    else await this.#follow(listener, answer.body, answer.first);
  }

  /** Follows a turn; where the object dies, whoever listens comes back. */
  async #follow(listener: Listener, body: ReadableStream<Uint8Array>, first = ''): Promise<void> {
    listener.take(first);
    const whole = await listen(this.#world, this.#conversation, listener, body);
    if (whole || listener.isOver) return;
    listener.wasBroken = true;
    await this.#resume(listener);
  }

  async #resume(listener: Listener | undefined): Promise<void> {
    const after = listener && `${listener.turn}-${listener.last}`;
    const resumed = (await this.#call('resume', after)) as Resumed;
    if (resumed.kind !== 'stream') return;
    await this.#follow(listener ?? this.model.listener(resumed.turn), resumed.body);
  }
}
