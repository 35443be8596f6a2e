/** Inboxes under any schedule: senders, a queue that brings things twice, and runs that die in their midst. */
import fc from 'fast-check';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { RemoteMethods } from '#edge/durable/call-object.ts';
import { SCHEDULE } from '#edge/kit/delivery/schedule.ts';
import { callAccount } from '#edge/money/contracts/call-account.ts';
import type { InboxObject, JobConclusion } from '#edge/plugins/webhooks/contracts/inbox.ts';
import { callInbox } from '#edge/plugins/webhooks/inbox/call-inbox.ts';
import type { EventClassification } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { runOutside } from './host.ts';
import { InboxModel } from './inbox-model.ts';
import { mishaps } from './mishaps.ts';
import { findFailure } from './property.ts';
import { type Mishaps, type Scheduler, World } from './world.ts';

type Command = { kind: 'event'; id: string } | { kind: 'replay'; id: string } | { kind: 'erase' };

/** How a run goes: at its classification, and at its delivery. */
interface Fate {
  classify: 'well' | 'fails' | 'waits' | 'dies';
  deliver: 'well' | 'fails' | 'dies' | 'forgets';
}

interface Scenario extends Mishaps {
  commands: readonly Command[];
  fates: readonly Fate[];
}

const SOURCE = 'tickets';
const ACCOUNT = 'webhook-tickets';
const STEPS = 400;
const REST_MS = 3 * 60 * 60_000;
const LEASE_MS = SCHEDULE.lease;
const WELL: Fate = { classify: 'well', deliver: 'well' };
const ids = fc.constantFrom('tickets_1', 'tickets_2', 'tickets_3');

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  commands: fc.array(
    fc.oneof(
      { arbitrary: fc.record({ kind: fc.constant('event' as const), id: ids }), weight: 5 },
      { arbitrary: fc.record({ kind: fc.constant('replay' as const), id: ids }), weight: 1 },
      { arbitrary: fc.record({ kind: fc.constant('erase' as const) }), weight: 1 },
    ),
    { minLength: 1, maxLength: 6 },
  ),
  fates: fc.array(
    fc.record({
      classify: fc.constantFrom('well', 'fails', 'waits', 'dies'),
      deliver: fc.constantFrom('well', 'fails', 'dies', 'forgets'),
    }),
    { maxLength: 5 },
  ),
  ...mishaps,
});

/** Looks for a schedule under which something does not hold. */
export const findFailingSchedule = () => findFailure(scenarios, runScenario);

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function runScenario(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario);
  let queue: SimulatedQueue | undefined;
  const enqueue = async (events: readonly string[]) => await queue?.send(events);
  await runInWorld(world, { enqueue }, async () => {
    const model = new InboxModel(findHost('INBOX', SOURCE), findHost('ACCOUNT', ACCOUNT), world);
    queue = new SimulatedQueue(world, model, scenario.fates);
    const checkInvariants = () => model.check();
    issueCommands(world, model, queue, scenario.commands);
    await world.runSteps(STEPS, checkInvariants);
    await world.runToRest(REST_MS, checkInvariants);
    model.checkAtRest();
  });
}

const inboxKey = { inboxes: env, settings: parseSettingsOnce(env), source: SOURCE };

async function callInboxObject<T>(call: (inbox: RemoteMethods<InboxObject>) => Promise<T>): Promise<T> {
  return await callInbox(inboxKey, call);
}

/** Issues commands one after the other, without waiting for what comes of them. */
function issueCommands(world: World, model: InboxModel, queue: SimulatedQueue, commands: readonly Command[]): void {
  const runCommand = async (command: Command): Promise<void> => {
    if (command.kind === 'erase') {
      const request = { identity: { account: ACCOUNT }, accounts: env, settings: parseSettingsOnce(env) };
      return void (await callAccount(request, (account) => account.erase()));
    }
    const { id } = command;
    if (command.kind === 'replay') {
      if (await callInboxObject((inbox) => inbox.replayEvent(id))) await queue.send([id]);
      return;
    }
    const event = { id, account: ACCOUNT, text: 'text', subject: null, digest: id };
    const answer = await callInboxObject((inbox) => inbox.acceptEvent(event));
    // From here on the sender will not send it again.
    model.noteAccepted(id);
    if (answer.queue) await queue.send([id]);
  };
  void (async () => {
    for (const command of commands) {
      await world.waitForTurn(`client: ${command.kind}`);
      // What does not come through is sent again by its sender, or has been taken.
      runCommand(command).catch(() => {});
    }
  })();
}

/** The queue, and whoever works on what it brings. */
class SimulatedQueue {
  readonly #world: World;
  readonly #model: InboxModel;
  readonly #fates: readonly Fate[];
  #runCount = 0;

  constructor(world: World, model: InboxModel, fates: readonly Fate[]) {
    this.#world = world;
    this.#model = model;
    this.#fates = fates;
  }

  async send(events: readonly string[]): Promise<void> {
    const fault = this.#world.nextFault();
    await this.#world.hop(`queue takes ${events.join(', ')}${fault === undefined ? '' : ` (${fault})`}`);
    const isTaken = fault === undefined || fault === 'doubled' || fault === 'unanswered';
    if (isTaken) for (const id of events) this.#deliver(id);
    if (fault === 'doubled') for (const id of events) this.#deliver(id);
    if (fault !== undefined && fault !== 'doubled') throw new Error('the queue could not be reached');
  }

  #deliver(id: string): void {
    runOutside(() => {
      void (async () => {
        await this.#world.hop(`queue brings ${id}`);
        // A run that cannot reach the inbox is over: the alarm has it done again.
        await this.#processEvent(id).catch(() => {});
      })();
    });
  }

  async #processEvent(id: string): Promise<void> {
    const { isFreeOfMishaps: isCalm, clock } = this.#world;
    const fate = (isCalm ? undefined : this.#fates[this.#runCount]) ?? WELL;
    this.#runCount += 1;
    const run = this.#runCount;
    const work = await callInboxObject((inbox) => inbox.leaseEvent(id, LEASE_MS));
    if (work.kind === 'none') return;
    const concludeRun = async (to: JobConclusion['to'], error: string | null) => {
      const attempt = {
        at: new Date(clock.now).toISOString(),
        ms: 0,
        error: error === null ? null : { type: 'api_error', message: error },
      };
      await callInboxObject((inbox) => inbox.recordJobEnd(id, { lease: work.lease, attempt, to }));
    };
    let { result } = work;
    if (result === null) {
      await this.#world.hop(`run ${run} classifies ${id}: ${fate.classify}`);
      if (fate.classify === 'dies') return;
      if (fate.classify === 'fails') {
        return await concludeRun({ state: 'again', pause: 30_000, notBefore: null }, 'not classified');
      }
      if (fate.classify === 'waits') return await concludeRun({ state: 'waiting', at: clock.now + 60_000 }, 'no money');
      result = await callInboxObject((inbox) => inbox.recordResult(id, classificationOf(run, clock.now)));
      if (result === null) return;
    }
    await this.#world.hop(`run ${run} delivers ${id}: ${fate.deliver}`);
    if (fate.deliver === 'dies') return;
    if (fate.deliver === 'fails') {
      return await concludeRun({ state: 'again', pause: 30_000, notBefore: null }, 'not delivered');
    }
    // No source of this world names an agent.
    this.#model.noteDelivered(id, result as EventClassification);
    if (fate.deliver === 'forgets') return;
    await concludeRun({ state: 'delivered' }, null);
  }
}

/** @returns a label that no other run gives. */
function classificationOf(run: number, now: number): EventClassification {
  return {
    label: `label ${run}`,
    cached: false,
    model: 'claude-opus-5-5',
    classifier: null,
    usage: {},
    cost_usd: 0,
    classified_at: new Date(now).toISOString(),
  };
}
