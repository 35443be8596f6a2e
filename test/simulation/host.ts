/** A Durable Object as it runs here: its storage lasts, its instance dies and is made anew. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from './clock.ts';
import { Storage } from './storage.ts';
import type { WriteFailure } from './world.ts';

/** What an object needs of its world. */
export interface Surroundings {
  clock: Clock;
  hop(label: string): Promise<void>;
  fail(failure: string): void;
  writeFailure(): WriteFailure | undefined;
}

const READS = /^\s*(?:select|pragma)\b/i;

/** The error of a write that fails in a schedule. */
export class FailedWrite extends Error {}

/** Times that an alarm may come in one millisecond. */
const MOST_RINGS = 3;

/** What whoever is dead still tries to do: it comes to nothing. */
export class Dead extends Error {}

/** Says that an invariant does not hold. */
export class Violation extends Error {}

interface Instance {
  host: Host;
  dead: boolean;
  object: Record<string, (...args: unknown[]) => unknown>;
  ready: Promise<unknown>;
  /** Told when it dies: calls that wait, streams that are read. */
  mourners: Set<() => void>;
}

/** Storage of objects whose world has ended, by their kind. */
const spares = new Map<string, Storage[]>();

export const current = new AsyncLocalStorage<Instance>();

export type Make = (ctx: DurableObjectState) => object;

/** One object: its storage, which lasts, and the instance that runs. */
export class Host {
  readonly storage: Storage;
  /** For labels. */
  readonly name: string;
  readonly #kind: string;
  readonly #id: string;
  readonly #world: Surroundings;
  readonly #make: Make;
  #instance: Instance | undefined;
  /** Who has handed out a stream. */
  readonly #streams = new WeakMap<ReadableStream, Instance>();
  /** How often an instance has died. */
  deaths = 0;
  #outbox: (() => void)[] = [];
  #broken = false;
  #isRinging = false;
  #rangAt = 0;
  #rings = 0;
  #alarmFailures = 0;
  #notBefore = 0;

  constructor(world: Surroundings, kind: string, id: string, make: Make) {
    this.#world = world;
    this.#id = id;
    this.name = `${kind} ${id}`;
    this.#kind = kind;
    this.storage = spares.get(kind)?.pop() ?? new Storage();
    this.#make = make;
  }

  /** The object as it runs, if it does: for what only its memory tells. */
  get object(): object | undefined {
    return this.#instance?.object;
  }

  /** Whether it is reset at the end of this step. */
  get isBroken(): boolean {
    return this.#broken;
  }

  /** Has something leave the object once what was written before it is stored. */
  leave(send: () => void): void {
    this.#outbox.push(send);
  }

  /** Calls a method, as a call arrives. Rejects when the object dies meanwhile. */
  invoke(method: string, args: unknown[]): Promise<unknown> {
    const instance = this.#wake();
    return new Promise((resolve, reject) => {
      const mourn = () => reject(lost());
      instance.mourners.add(mourn);
      const end = (tell: () => void) => {
        if (instance.dead) return;
        this.leave(() => {
          instance.mourners.delete(mourn);
          tell();
        });
      };
      this.#during(instance, method, args).then(
        (value) => {
          const { body } = (typeof value === 'object' && value !== null ? value : {}) as { body?: unknown };
          if (body instanceof ReadableStream) this.#streams.set(body, instance);
          end(() => resolve(value));
        },
        (thrown: unknown) => {
          if (!instance.dead && isMistake(thrown)) this.#world.fail(`${this.name}.${method}: ${stackOf(thrown)}`);
          end(() => reject(thrown));
        },
      );
    });
  }

  /** @returns when the alarm is due; undefined while its handler runs, which never runs twice at a time */
  get alarmAt(): number | undefined {
    const { armed } = this.storage;
    return armed === null || this.#isRinging ? undefined : Math.max(armed, this.#notBefore);
  }

  /** The alarm has come. */
  ring(): void {
    this.#rings = this.#rangAt === this.#world.clock.now ? this.#rings + 1 : 1;
    this.#rangAt = this.#world.clock.now;
    if (this.#rings > MOST_RINGS) this.#world.fail(`the alarm of ${this.name} comes again and again`);
    this.storage.beginAlarm();
    this.#isRinging = true;
    const instance = this.#wake();
    this.#during(instance, 'alarm', []).then(
      () => {
        if (instance.dead) return;
        // An object that is reset in its handler's last step has its alarm again.
        this.leave(() => {
          this.#isRinging = false;
          this.#alarmFailures = 0;
          this.#notBefore = 0;
          this.storage.endAlarm(true);
        });
      },
      (thrown: unknown) => {
        if (instance.dead) return;
        this.#isRinging = false;
        this.#alarmFailures += 1;
        if (this.#alarmFailures > 6) this.#world.fail(`the alarm of ${this.name} has failed too often: ${thrown}`);
        this.#notBefore = this.#world.clock.now + 1_000 * 2 ** this.#alarmFailures;
        this.storage.endAlarm(false);
      },
    );
  }

  /** Ends a step: what was written is stored, and what was said leaves. */
  flush(): void {
    if (this.#broken) {
      this.crash(false);
      return;
    }
    this.storage.commit();
    const leaving = this.#outbox;
    this.#outbox = [];
    for (const send of leaving) send();
  }

  /** Ends a step by death. */
  crash(keeps: boolean): void {
    // A step in which the object was reset keeps nothing.
    const isKept = keeps && !this.#broken;
    this.#broken = false;
    if (isKept) this.flush();
    this.storage.rollback();
    this.#outbox = [];
    const instance = this.#instance;
    this.#instance = undefined;
    this.#isRinging = false;
    this.storage.endAlarm(false);
    this.storage.commit();
    if (!instance) return;
    instance.dead = true;
    this.deaths += 1;
    // It takes a moment until another one is there.
    this.#world.clock.now += 50;
    for (const mourn of instance.mourners) mourn();
  }

  /** Is told when the instance dies that has handed out a stream, or has died already. */
  mourn(body: ReadableStream, tell: () => void): void {
    const instance = this.#streams.get(body);
    if (!instance || instance.dead) tell();
    else instance.mourners.add(tell);
  }

  /** Ends it with its world. */
  end(): void {
    this.crash(false);
    const kept = spares.get(this.#kind) ?? [];
    spares.set(this.#kind, kept);
    if (this.storage.reset()) kept.push(this.storage);
  }

  async #during(instance: Instance, method: string, args: unknown[]): Promise<unknown> {
    return await current.run(instance, async () => {
      await instance.ready;
      return await instance.object[method]?.(...args);
    });
  }

  #wake(): Instance {
    if (this.#instance) return this.#instance;
    const instance: Instance = {
      host: this,
      dead: false,
      object: {},
      ready: Promise.resolve(),
      mourners: new Set(),
    };
    this.#instance = instance;
    const object = current.run(instance, () => this.#make(this.#context(instance)));
    instance.object = object as Instance['object'];
    return instance;
  }

  #context(instance: Instance): DurableObjectState {
    const { storage, name } = this;
    const id = this.#id;
    const alive = () => {
      if (instance.dead) throw new Dead(name);
    };
    const afterwards = async (what: string) => {
      await this.#world.hop(`${name}: ${what} is done`);
      if (instance.dead) await new Promise(() => {});
    };
    const abort = () => {
      if (!instance.dead) this.#broken = true;
    };
    /** @returns how a write fails that can only fail before it takes effect */
    const failWrite = (what: string): WriteFailure | undefined => {
      const failure = this.#world.writeFailure();
      if (failure === 'fatal') abort();
      if (failure === 'after' && what === 'alarm') return failure;
      if (failure !== undefined) throw new FailedWrite(`${name}: the ${what} failed (${failure})`);
      return undefined;
    };
    /** Changes the alarm, or everything. */
    const changeAlarm = (change: () => void) => {
      const failure = failWrite('alarm');
      change();
      if (failure !== undefined) throw new FailedWrite(`${name}: the alarm failed (${failure})`);
    };
    const context = {
      id: { name: id, toString: () => id },
      storage: {
        sql: {
          exec: (query: string, ...bindings: SqlStorageValue[]) => {
            alive();
            if (!READS.test(query)) failWrite('statement');
            return storage.exec(query, bindings);
          },
          get databaseSize() {
            alive();
            return storage.databaseSize;
          },
        },
        transactionSync: <T>(work: () => T) => {
          alive();
          return storage.transactionSync(() => {
            const result = work();
            failWrite('transaction');
            return result;
          });
        },
        getAlarm: async () => storage.alarm,
        setAlarm: async (time: number) => {
          if (instance.dead) return;
          changeAlarm(() => {
            storage.alarm = time;
          });
        },
        deleteAlarm: async () => {
          alive();
          changeAlarm(() => {
            storage.alarm = null;
          });
          await afterwards('deleteAlarm');
        },
        deleteAll: async () => {
          alive();
          failWrite('deletion');
          storage.deleteAll();
          await afterwards('deleteAll');
        },
      },
      waitUntil: (work: Promise<unknown>) => {
        work.catch((thrown: unknown) => {
          if (!instance.dead && isMistake(thrown)) this.#world.fail(`${name}: ${stackOf(thrown)}`);
        });
      },
      blockConcurrencyWhile: async <T>(work: () => Promise<T>): Promise<T> => {
        const done = work();
        instance.ready = done;
        return await done;
      },
      abort,
    };
    return context as unknown as DurableObjectState;
  }
}

/** @returns the host of whoever runs now, unless it is a client; undefined is a dead one. */
export function caller(): Host | undefined {
  const instance = current.getStore();
  return instance && !instance.dead ? instance.host : undefined;
}

/** @returns what tells whether whoever runs now still does */
export function alive(): () => boolean {
  const instance = current.getStore();
  return () => !instance?.dead;
}

/** Does something that is no object's doing, whoever runs now. */
export function outside(work: () => void): void {
  current.exit(work);
}

/** @returns a timer's work as its setter does it; the dead do nothing */
export function bound(run: () => void): () => void {
  const instance = current.getStore();
  if (!instance) return run;
  return () => {
    if (!instance.dead) current.run(instance, run);
  };
}

export function lost(): Error {
  return Object.assign(new Error('the connection was lost'), { retryable: true });
}

/** Whether something was thrown that only a mistake in the program throws. */
function isMistake(thrown: unknown): boolean {
  if (thrown instanceof TypeError || thrown instanceof ReferenceError || thrown instanceof RangeError) return true;
  if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'ERR_SQLITE_ERROR')) return false;
  // A row that is there already is how an account refuses what comes twice.
  return !thrown.message.startsWith('UNIQUE');
}

export function stackOf(thrown: unknown): string {
  return thrown instanceof Error ? String(thrown.stack) : String(thrown);
}
