/** A world of Durable Objects in one process: their calls, crashes and time, in the order that a scheduler chooses. */
import { Clock, installClock, settleTasks, uninstallClock } from './clock.ts';
import {
  bindToCaller,
  type CreateObject,
  connectionLostError,
  currentInstance,
  DeadInstanceError,
  FailedWrite,
  Host,
  InvariantViolation,
  stackOf,
} from './host.ts';
import { installStreams } from './streams.ts';

/** Chooses what comes next; fast-check has one. */
export interface Scheduler {
  schedule<T>(task: Promise<T>, label: string): Promise<T>;
  waitOne(): Promise<void>;
  count(): number;
}

/**
 * What can happen to a call: it does not arrive (`lost`; `failed`, which is not to be repeated; `busy`), its answer does
 * not (`unanswered`), or it arrives twice (`doubled`).
 */
export const FAULTS = ['lost', 'failed', 'busy', 'unanswered', 'doubled'] as const;
export type Fault = (typeof FAULTS)[number];

/** An object dies at the end of a step: with what it wrote and said in it, or without. */
export interface Crash {
  step: number;
  /** Which one, of those there are. */
  host: number;
  keeps: boolean;
}

/**
 * How a write fails: `before` it takes effect; `after` it did, which only a call of the alarm can; or `fatal`, as SQLite fails on a
 * full disk: the platform resets the object, and undoes what the step has written.
 */
export const WRITE_FAILURES = ['before', 'after', 'fatal'] as const;
export type WriteFailure = (typeof WRITE_FAILURES)[number];

export interface Mishaps {
  faults: readonly { call: number; fault: Fault }[];
  crashes: readonly Crash[];
  /** Writes that fail, by their number among all statements that write, transactions and calls of alarms. */
  writes: readonly { write: number; failure: WriteFailure }[];
}

export const NO_MISHAPS: Mishaps = { faults: [], crashes: [], writes: [] };

/** No message is under way for longer. */
const MAX_TRANSIT_MS = 60 * 60_000;

export class World {
  readonly clock = new Clock();
  readonly hosts: Host[] = [];
  readonly #scheduler: Scheduler;
  readonly #faults: Map<number, Fault>;
  readonly #crashes: Map<number, Crash>;
  readonly #writeFailures: Map<number, WriteFailure>;
  readonly #hostsByName = new Map<string, Host>();
  #callCount = 0;
  #writeCount = 0;
  #stepCount = 0;
  #isTimeOffered = false;
  /** What has been sent and has not come, the oldest first. */
  readonly #messagesInTransit = new Set<{ sentAt: number }>();
  /** From here on nothing fails any more, and time passes only when nothing else happens. */
  #noMishapsUntil: number | undefined;
  #failure: string | undefined;
  /** How far time may pass: what comes later is not waited for. */
  #latestTime = Number.POSITIVE_INFINITY;

  constructor(scheduler: Scheduler, { faults, crashes, writes }: Mishaps) {
    this.#scheduler = scheduler;
    this.#faults = new Map(faults.map(({ call, fault }) => [call, fault]));
    this.#crashes = new Map(crashes.map((crash) => [crash.step, crash]));
    this.#writeFailures = new Map(writes.map(({ write, failure }) => [write, failure]));
    installStreams();
    installClock(this.clock, bindToCaller);
  }

  /** Whether nothing fails any more. */
  get isFreeOfMishaps(): boolean {
    return this.#noMishapsUntil !== undefined;
  }

  /** @returns an object by its name, made at first. */
  getHost(kind: string, id: string, make: CreateObject): Host {
    const known = this.#hostsByName.get(`${kind} ${id}`);
    if (known) return known;
    const host = new Host(this, kind, id, make);
    this.#hostsByName.set(host.name, host);
    this.hosts.push(host);
    return host;
  }

  /** Waits until it is this one's turn: a message is under way. */
  async hop(label: string): Promise<void> {
    const message = { sentAt: this.clock.now };
    this.#messagesInTransit.add(message);
    await this.waitForTurn(label);
    this.#messagesInTransit.delete(message);
  }

  /** Waits until it is this one's turn, for however long. */
  async waitForTurn(label: string): Promise<void> {
    await this.#scheduler.schedule(RESOLVED, label);
  }

  /** @returns what happens to the next call of those that can fail. */
  nextFault(): Fault | undefined {
    this.#callCount += 1;
    return this.isFreeOfMishaps ? undefined : this.#faults.get(this.#callCount);
  }

  /** Counts a write. @returns how it fails; undefined for one that succeeds */
  nextWriteFailure(): WriteFailure | undefined {
    this.#writeCount += 1;
    return this.isFreeOfMishaps ? undefined : this.#writeFailures.get(this.#writeCount);
  }

  /** Calls an object over a network that may lose the call, or its answer, and says so in the end. */
  call(host: Host, method: string, args: unknown[], mayDouble = true): Promise<unknown> {
    const from = currentInstance.getStore();
    return new Promise((resolve, reject) => {
      const send = () => {
        const told = this.#deliver(
          `${from?.host.name ?? 'client'} → ${host.name}.${method}`,
          host,
          method,
          args,
          mayDouble,
        );
        told.then(
          (value) => from?.isDead || resolve(value),
          (thrown: unknown) => from?.isDead || reject(thrown),
        );
      };
      if (!from) send();
      else if (!from.isDead) from.host.sendAfterCommit(send);
    });
  }

  async #deliver(label: string, host: Host, method: string, args: unknown[], mayDouble: boolean): Promise<unknown> {
    const fault = this.nextFault();
    await this.hop(fault === undefined ? label : `${label} (${fault})`);
    if (fault === 'lost') throw connectionLostError();
    if (fault === 'failed') throw new Error('internal error');
    if (fault === 'busy') throw Object.assign(new Error('overloaded'), { retryable: true, overloaded: true });
    if (fault === 'doubled' && mayDouble) void this.#deliverAgain(label, host, method, args);
    try {
      return await host.invoke(method, args);
    } finally {
      await this.hop(`${label} answered`);
      // biome-ignore lint/correctness/noUnsafeFinally: the answer, or the error, is what is lost.
      if (fault === 'unanswered') throw connectionLostError();
    }
  }

  async #deliverAgain(label: string, host: Host, method: string, args: unknown[]): Promise<void> {
    await this.hop(`${label} once more`);
    await host.invoke(method, args).catch(() => {});
  }

  /** Notes what no schedule may lead to. */
  fail(failure: string): void {
    this.#failure ??= failure;
  }

  /** Goes on by one event, whichever the scheduler chooses. @returns false where nothing can happen any more */
  async step(): Promise<boolean> {
    this.#offerTime();
    if (this.#scheduler.count() === 0) return false;
    await this.#scheduler.waitOne();
    await settleTasks();
    this.#stepCount += 1;
    const crash = this.isFreeOfMishaps ? undefined : this.#crashes.get(this.#stepCount);
    const dying = crash && this.hosts[crash.host % this.hosts.length];
    for (const host of this.hosts) {
      if (host === dying) host.crash(crash?.keeps === true);
      else host.commitStep();
    }
    await settleTasks();
    if (this.#failure !== undefined) throw new InvariantViolation(this.#failure);
    return true;
  }

  /** Goes on while it may, and looks after every step. */
  async runSteps(maxSteps: number, look: () => void): Promise<void> {
    for (let steps = 0; steps < maxSteps; steps += 1) {
      if (!(await this.step())) return;
      look();
    }
  }

  /** Keeps what comes later than this from coming: the retention of what must still be there at the end, say. */
  stopTimeAfter(milliseconds: number): void {
    this.#latestTime = this.clock.now + milliseconds;
  }

  /** Lets nothing more fail for some time. */
  suspendMishaps(milliseconds: number): void {
    this.#noMishapsUntil = this.clock.now + milliseconds;
  }

  /** Lets nothing more fail, and lets time pass until all that is owed must have been seen to. */
  async runToRest(milliseconds: number, look: () => void): Promise<void> {
    this.suspendMishaps(milliseconds);
    for (let steps = 0; steps < 5_000; steps += 1) {
      if (!(await this.step())) return;
      look();
    }
    throw new InvariantViolation('it does not come to rest');
  }

  /** Ends it: what is still under way comes to nothing. */
  dispose(): void {
    for (const host of this.hosts) host.end();
    uninstallClock();
  }

  #offerTime(): void {
    const next = this.#findNextTime();
    if (this.#isTimeOffered || next === undefined || next > this.#latestTime) return;
    const calm = this.#noMishapsUntil;
    if (calm !== undefined && (this.#scheduler.count() > 0 || next > calm)) return;
    const [oldest] = this.#messagesInTransit;
    if (oldest && next > oldest.sentAt + MAX_TRANSIT_MS) return;
    this.#isTimeOffered = true;
    void this.waitForTurn('time').then(() => {
      this.#isTimeOffered = false;
      this.#passTime();
    });
  }

  #findNextTime(): number | undefined {
    const times = [this.clock.nextTimerAt, ...this.hosts.map(({ nextAlarmAt: alarmAt }) => alarmAt)].filter(
      (time) => time !== undefined,
    );
    return times.length === 0 ? undefined : Math.min(...times);
  }

  #passTime(): void {
    const next = this.#findNextTime();
    // What was to come next when time was offered may have been taken back.
    if (next === undefined || next > this.#latestTime) return;
    if (this.clock.nextTimerAt !== undefined && this.clock.nextTimerAt <= next) {
      try {
        this.clock.runNextTimer();
      } catch (thrown) {
        // A timer of an object that is reset takes nothing with it.
        const isReset = thrown instanceof FailedWrite && this.hosts.some(({ isBroken }) => isBroken);
        if (!(thrown instanceof DeadInstanceError || isReset)) this.fail(`a timer: ${stackOf(thrown)}`);
      }
      return;
    }
    this.clock.now = Math.max(this.clock.now, next);
    this.hosts.find(({ nextAlarmAt: alarmAt }) => alarmAt === next)?.fireAlarm();
  }
}

const RESOLVED = Promise.resolve();
