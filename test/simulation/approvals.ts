/**
 * Runs that wait for approval under any schedule: several persons decide, stop, cancel, rewind, copy and go on writing, all at
 * the same time, while objects die and calls are lost or come twice. Each call comes to one outcome.
 */
import fc from 'fast-check';
import type {
  ApprovalDecisionRequest,
  ApprovalDecisionResult,
  RpcResult,
} from '#edge/conversations/object/contract.ts';
import { callObjectWithRetry } from '#edge/durable/call-object.ts';
import { ApprovalsModel } from './approvals-model.ts';
import { findHost, runInWorld } from './bindings.ts';
import { ACCOUNT, Caller, CONVERSATION_ID } from './caller.ts';
import { InvariantViolation } from './host.ts';
import { failingWrites, mishaps } from './mishaps.ts';
import { findFailure } from './property.ts';
import { callToolsScript, OUTCOMES, type Outcome, PAYMENTS, SimulatedTools, TOOLS } from './simulated-tools.ts';
import { ANSWER_KINDS, type AnswerPlan, createSimulatedApi } from './upstream.ts';
import { type Mishaps, type Scheduler, World } from './world.ts';

type Command =
  /** `call` chooses one of the calls that were ever seen to wait. */
  | { kind: 'approve' | 'change' | 'deny'; call: number }
  | { kind: 'stop' | 'cancel' | 'rewind' | 'rewindAll' | 'fork' | 'message' | 'listen' | 'erase' }
  | { kind: 'ask'; question: string };

interface Scenario extends Mishaps {
  /** What begins, and has calls that wait. */
  question: string;
  commands: readonly Command[];
  answers: readonly AnswerPlan[];
  outcomes: readonly Outcome[];
}

const COPY_ID = 'c2';
const STEPS = 600;
/** Long enough for every retry, hold, log and limit of a tool. */
const REST_MS = 60 * 60_000;
/** Shorter than calls wait, and than conversations are kept. */
const DEADLINE_MS = 20 * 24 * 60 * 60_000;

const decision = fc.record({
  kind: fc.constantFrom('approve', 'approve', 'deny', 'change'),
  call: fc.nat(2),
}) as fc.Arbitrary<Command>;
const other = fc.record({
  kind: fc.constantFrom('stop', 'cancel', 'rewind', 'rewindAll', 'fork', 'message', 'listen', 'erase'),
}) as fc.Arbitrary<Command>;
const question = fc.constantFrom(...PAYMENTS);
const ask = fc.record({ kind: fc.constant('ask' as const), question }) as fc.Arbitrary<Command>;

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  ...mishaps,
  question,
  commands: fc.array(
    fc.oneof({ arbitrary: decision, weight: 6 }, { arbitrary: other, weight: 5 }, { arbitrary: ask, weight: 1 }),
    { minLength: 1, maxLength: 8 },
  ),
  answers: fc.array(
    fc.record({ kind: fc.constantFrom('whole' as const, ...ANSWER_KINDS), pieces: fc.integer({ min: 1, max: 3 }) }),
    { maxLength: 4 },
  ),
  outcomes: fc.array(fc.constantFrom(...OUTCOMES), { maxLength: 3 }),
  crashes: fc.array(fc.record({ step: fc.integer({ min: 1, max: 150 }), host: fc.nat(2), keeps: fc.boolean() }), {
    maxLength: 3,
  }),
  writes: failingWrites(250),
});

/** Looks for a schedule under which something does not hold. */
export const findFailingSchedule = () => findFailure(scenarios, runScenario);

/** What has become of the calls of all schedules until now: how often each outcome came. */
export const outcomes: Record<string, number> = {};

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function runScenario(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario);
  world.stopTimeAfter(DEADLINE_MS);
  const model: { is?: ApprovalsModel } = {};
  const till = new SimulatedTools(world, scenario.outcomes, (executed) => model.is?.checkCall(executed));
  await runInWorld(world, { upstream: createSimulatedApi(world, scenario.answers, callToolsScript) }, async () => {
    const persons = new ApprovalUsers(world, till);
    model.is = persons.model;
    const checkInvariants = () => persons.model.check();
    persons.start({ kind: 'ask', question: scenario.question });
    for (let steps = 0; steps < STEPS && !persons.model.isWaiting; steps += 1) {
      if (!(await world.step())) break;
      checkInvariants();
    }
    persons.issue(scenario.commands);
    await world.runSteps(STEPS, checkInvariants);
    await world.runToRest(REST_MS, checkInvariants);
    persons.model.checkAtRest();
    await persons.denyWaiting(checkInvariants);
    for (const outcome of persons.model.checkAtRest()) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    await persons.checkAnswers(checkInvariants);
  });
}

/** Those who decide and write in one conversation at the same time. */
class ApprovalUsers {
  readonly model: ApprovalsModel;
  readonly #world: World;
  readonly #caller: Caller;

  constructor(world: World, till: SimulatedTools) {
    this.#world = world;
    const conversation = findHost('CONVERSATION', JSON.stringify([ACCOUNT, CONVERSATION_ID]));
    const account = findHost('ACCOUNT', ACCOUNT);
    const copy = findHost('CONVERSATION', JSON.stringify([ACCOUNT, COPY_ID]));
    this.model = new ApprovalsModel({ conversation, account, copy }, world, till);
    this.#caller = new Caller(world, conversation, this.model, (method) => method !== 'handleTurn');
  }

  /** Issues commands one after the other, without waiting for what comes of them. */
  issue(commands: readonly Command[]): void {
    void (async () => {
      for (const command of commands) {
        await this.#world.waitForTurn(`person: ${command.kind}`);
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

  /** What still waits is denied, and its run goes on to its end. */
  async denyWaiting(look: () => void): Promise<void> {
    for (let rounds = 0; this.model.isWaiting; rounds += 1) {
      if (rounds > 5) throw new InvariantViolation('a conversation waits again and again');
      for (const id of this.model.openCallIds) this.start({ kind: 'deny', call: this.model.seenCallIds.indexOf(id) });
      await this.#world.runToRest(REST_MS, look);
    }
  }

  /** Once nothing waits the next question must be answered. */
  async checkAnswers(look: () => void): Promise<void> {
    const listeners = this.model.listeners.length;
    this.start({ kind: 'message' });
    await this.#world.runToRest(REST_MS, look);
    const [last] = this.model.listeners.slice(listeners);
    if (last?.end !== 'message_stop')
      throw new InvariantViolation(`the next turn is not answered: ${this.model.lastError}`);
  }

  async #perform(command: Command): Promise<void> {
    switch (command.kind) {
      case 'approve':
      case 'change':
      case 'deny':
        return await this.#decide(command.kind, command.call);
      case 'ask':
        return await this.#caller.ask(command.question, { stream: true, tools: TOOLS });
      case 'message':
        return await this.#caller.ask(`question ${this.#caller.requestCount + 1}`, { stream: true, tools: TOOLS });
      case 'listen':
        return await this.#caller.resumeTurn(undefined);
      case 'stop':
        this.model.hasStopped = true;
        return void (await this.#caller.call('stopRunningTurn', {}));
      case 'cancel': {
        this.model.hasStopped = true;
        const turn = this.model.findNewestRun();
        if (turn !== undefined) await this.#caller.call('cancelTurn', turn);
        return;
      }
      case 'rewind':
      case 'rewindAll': {
        const message = this.model.findMessageId(command.kind === 'rewind' ? 'last' : 'first');
        if (message === undefined) return;
        this.model.losesHistory = true;
        await this.#caller.call('rewindConversation', message);
        return;
      }
      case 'fork':
        return void (await this.#caller.call('forkConversation', COPY_ID, undefined));
      case 'erase':
        this.model.losesHistory = true;
        this.model.isErased = true;
        return void (await this.#caller.call('erase'));
    }
  }

  async #decide(kind: 'approve' | 'change' | 'deny', call: number): Promise<void> {
    const id = this.model.seenCallIds[call % Math.max(1, this.model.seenCallIds.length)];
    if (id === undefined) return;
    const given = { approve: {}, deny: { reason: 'No.' }, change: { input: '{"amount":5}' } }[kind];
    const requestId = this.#caller.newId();
    const decided = { decision: kind === 'deny' ? 'deny' : 'approve', ...given } as const;
    this.model.noteDecisionRequest(id, decided);
    const decision: ApprovalDecisionRequest = { id, ...decided, isAdmin: false, requestId };
    const result = (await callObjectWithRetry('conversation', () =>
      this.#caller.call('callPlugin', 'runs', 'decideApproval', decision),
    )) as RpcResult<ApprovalDecisionResult>;
    if (!result.ok) return;
    this.model.noteDecisionResult(id, decided, result.value);
    if (result.value.status !== 202) return;
    const listener = this.model.getListener(result.value.turn);
    // Whose call is lost may call again, or never.
    await this.#caller.resumeTurn(listener).catch(() => {
      listener.wasBroken = true;
    });
  }
}
