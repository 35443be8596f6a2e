/** A world of Durable Objects in one process: their calls, crashes and time, in the order that a scheduler chooses. */
import { Clock, install, settle, uninstall } from './clock.ts';
import { bound, current, Dead, FailedWrite, Host, lost, type Make, stackOf, Violation } from './host.ts';
import { addStreams } from './streams.ts';

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
const MOST_UNDERWAY_MS = 60 * 60_000;

export class World {
  readonly clock = new Clock();
  readonly hosts: Host[] = [];
  readonly #scheduler: Scheduler;
  readonly #faults: Map<number, Fault>;
  readonly #crashes: Map<number, Crash>;
  readonly #writeFailures: Map<number, WriteFailure>;
  readonly #byName = new Map<string, Host>();
  #calls = 0;
  #writes = 0;
  #steps = 0;
  #isTimeOffered = false;
  /** What has been sent and has not come, the oldest first. */
  readonly #underway = new Set<{ sentAt: number }>();
  /** From here on nothing fails any more, and time passes only when nothing else happens. */
  #calmUntil: number | undefined;
  #failure: string | undefined;
  /** How far time may pass: what comes later is not waited for. */
  #latest = Number.POSITIVE_INFINITY;

  constructor(scheduler: Scheduler, { faults, crashes, writes }: Mishaps) {
    this.#scheduler = scheduler;
    this.#faults = new Map(faults.map(({ call, fault }) => [call, fault]));
    this.#crashes = new Map(crashes.map((crash) => [crash.step, crash]));
    this.#writeFailures = new Map(writes.map(({ write, failure }) => [write, failure]));
    addStreams();
    install(this.clock, bound);
  }

  /** Whether nothing fails any more. */
  get isCalm(): boolean {
    return this.#calmUntil !== undefined;
  }

  /** @returns an object by its name, made at first. */
  host(kind: string, id: string, make: Make): Host {
    const known = this.#byName.get(`${kind} ${id}`);
    if (known) return known;
    const host = new Host(this, kind, id, make);
    this.#byName.set(host.name, host);
    this.hosts.push(host);
    return host;
  }

  /** Waits until it is this one's turn: a message is under way. */
  async hop(label: string): Promise<void> {
    const message = { sentAt: this.clock.now };
    this.#underway.add(message);
    await this.wait(label);
    this.#underway.delete(message);
  }

  /** Waits until it is this one's turn, for however long. */
  async wait(label: string): Promise<void> {
    await this.#scheduler.schedule(DONE, label);
  }

  /** @returns what happens to the next call of those that can fail. */
  fault(): Fault | undefined {
    this.#calls += 1;
    return this.isCalm ? undefined : this.#faults.get(this.#calls);
  }

  /** Counts a write. @returns how it fails; undefined for one that succeeds */
  writeFailure(): WriteFailure | undefined {
    this.#writes += 1;
    return this.isCalm ? undefined : this.#writeFailures.get(this.#writes);
  }

  /** Calls an object over a network that may lose the call, or its answer, and says so in the end. */
  call(host: Host, method: string, args: unknown[], mayDouble = true): Promise<unknown> {
    const from = current.getStore();
    return new Promise((resolve, reject) => {
      const send = () => {
        const told = this.#carry(
          `${from?.host.name ?? 'client'} → ${host.name}.${method}`,
          host,
          method,
          args,
          mayDouble,
        );
        told.then(
          (value) => from?.dead || resolve(value),
          (thrown: unknown) => from?.dead || reject(thrown),
        );
      };
      if (!from) send();
      else if (!from.dead) from.host.leave(send);
    });
  }

  async #carry(label: string, host: Host, method: string, args: unknown[], mayDouble: boolean): Promise<unknown> {
    const fault = this.fault();
    await this.hop(fault === undefined ? label : `${label} (${fault})`);
    if (fault === 'lost') throw lost();
    if (fault === 'failed') throw new Error('internal error');
    if (fault === 'busy') throw Object.assign(new Error('overloaded'), { retryable: true, overloaded: true });
    if (fault === 'doubled' && mayDouble) void this.#again(label, host, method, args);
    try {
      return await host.invoke(method, args);
    } finally {
      await this.hop(`${label} answered`);
      // biome-ignore lint/correctness/noUnsafeFinally: the answer, or the error, is what is lost.
      if (fault === 'unanswered') throw lost();
    }
  }

  async #again(label: string, host: Host, method: string, args: unknown[]): Promise<void> {
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
    await settle();
    this.#steps += 1;
    const crash = this.isCalm ? undefined : this.#crashes.get(this.#steps);
    const dying = crash && this.hosts[crash.host % this.hosts.length];
    for (const host of this.hosts) {
      if (host === dying) host.crash(crash?.keeps === true);
      else host.flush();
    }
    await settle();
    if (this.#failure !== undefined) throw new Violation(this.#failure);
    return true;
  }

  /** Goes on while it may, and looks after every step. */
  async run(most: number, look: () => void): Promise<void> {
    for (let steps = 0; steps < most; steps += 1) {
      if (!(await this.step())) return;
      look();
    }
  }

  /** Keeps what comes later than this from coming: the retention of what must still be there at the end, say. */
  endAfter(milliseconds: number): void {
    this.#latest = this.clock.now + milliseconds;
  }

  /** Lets nothing more fail for some time. */
  calm(milliseconds: number): void {
    this.#calmUntil = this.clock.now + milliseconds;
  }

  /** Lets nothing more fail, and lets time pass until all that is owed must have been seen to. */
  async rest(milliseconds: number, look: () => void): Promise<void> {
    this.calm(milliseconds);
    for (let steps = 0; steps < 5_000; steps += 1) {
      if (!(await this.step())) return;
      look();
    }
    throw new Violation('it does not come to rest');
  }

  /** Ends it: what is still under way comes to nothing. */
  end(): void {
    for (const host of this.hosts) host.end();
    uninstall();
  }

  #offerTime(): void {
    const next = this.#nextTime();
    if (this.#isTimeOffered || next === undefined || next > this.#latest) return;
    const calm = this.#calmUntil;
    if (calm !== undefined && (this.#scheduler.count() > 0 || next > calm)) return;
    const [oldest] = this.#underway;
    if (oldest && next > oldest.sentAt + MOST_UNDERWAY_MS) return;
    this.#isTimeOffered = true;
    void this.wait('time').then(() => {
      this.#isTimeOffered = false;
      this.#passTime();
    });
  }

  #nextTime(): number | undefined {
    const times = [this.clock.next, ...this.hosts.map(({ alarmAt }) => alarmAt)].filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  #passTime(): void {
    const next = this.#nextTime();
    // What was to come next when time was offered may have been taken back.
    if (next === undefined || next > this.#latest) return;
    if (this.clock.next !== undefined && this.clock.next <= next) {
      try {
        this.clock.fire();
      } catch (thrown) {
        // A timer of an object that is reset takes nothing with it.
        const isReset = thrown instanceof FailedWrite && this.hosts.some(({ isBroken }) => isBroken);
        if (!(thrown instanceof Dead || isReset)) this.fail(`a timer: ${stackOf(thrown)}`);
      }
      return;
    }
    this.clock.now = Math.max(this.clock.now, next);
    this.hosts.find(({ alarmAt }) => alarmAt === next)?.ring();
  }
}

const DONE = Promise.resolve();
