/** A Durable Object as it runs here: its storage lasts, its instance dies and is made anew. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from './clock.ts';
import { SimulatedStorage } from './storage.ts';
import type { WriteFailure } from './world.ts';

/** What an object needs of its world. */
export interface HostWorld {
  clock: Clock;
  hop(label: string): Promise<void>;
  fail(failure: string): void;
  nextWriteFailure(): WriteFailure | undefined;
}

const READ_QUERY = /^\s*(?:select|pragma)\b/i;

/** The error of a write that fails in a schedule. */
export class FailedWrite extends Error {}

/** Times that an alarm may come in one millisecond. */
const MAX_ALARMS_PER_MS = 3;

/** What whoever is dead still tries to do: it comes to nothing. */
export class DeadInstanceError extends Error {}

/** Says that an invariant does not hold. */
export class InvariantViolation extends Error {}

interface Instance {
  host: Host;
  isDead: boolean;
  object: Record<string, (...args: unknown[]) => unknown>;
  ready: Promise<unknown>;
  /** Told when it dies: calls that wait, streams that are read. */
  deathListeners: Set<() => void>;
}

/** Storage of objects whose world has ended, by their kind. */
const spareStorages = new Map<string, SimulatedStorage[]>();

export const currentInstance = new AsyncLocalStorage<Instance>();

export type CreateObject = (ctx: DurableObjectState) => object;

/** One object: its storage, which lasts, and the instance that runs. */
export class Host {
  readonly storage: SimulatedStorage;
  /** For labels. */
  readonly name: string;
  readonly #kind: string;
  readonly #id: string;
  readonly #world: HostWorld;
  readonly #createObject: CreateObject;
  #instance: Instance | undefined;
  /** Who has handed out a stream. */
  readonly #streamOwners = new WeakMap<ReadableStream, Instance>();
  /** How often an instance has died. */
  deathCount = 0;
  #outbox: (() => void)[] = [];
  #isMarkedBroken = false;
  #isAlarmRunning = false;
  #lastAlarmAt = 0;
  #alarmCount = 0;
  #alarmFailures = 0;
  #retryAlarmAt = 0;

  constructor(world: HostWorld, kind: string, id: string, make: CreateObject) {
    this.#world = world;
    this.#id = id;
    this.name = `${kind} ${id}`;
    this.#kind = kind;
    this.storage = spareStorages.get(kind)?.pop() ?? new SimulatedStorage();
    this.#createObject = make;
  }

  /** The object as it runs, if it does: for what only its memory tells. */
  get object(): object | undefined {
    return this.#instance?.object;
  }

  /** Whether it is reset at the end of this step. */
  get isBroken(): boolean {
    return this.#isMarkedBroken;
  }

  /** Has something leave the object once what was written before it is stored. */
  sendAfterCommit(send: () => void): void {
    this.#outbox.push(send);
  }

  /** Calls a method, as a call arrives. Rejects when the object dies meanwhile. */
  invoke(method: string, args: unknown[]): Promise<unknown> {
    const instance = this.#getInstance();
    return new Promise((resolve, reject) => {
      const onDeathOf = () => reject(connectionLostError());
      instance.deathListeners.add(onDeathOf);
      const dispose = (tell: () => void) => {
        if (instance.isDead) return;
        this.sendAfterCommit(() => {
          instance.deathListeners.delete(onDeathOf);
          tell();
        });
      };
      this.#runAs(instance, method, args).then(
        (value) => {
          const { body } = (typeof value === 'object' && value !== null ? value : {}) as { body?: unknown };
          if (body instanceof ReadableStream) this.#streamOwners.set(body, instance);
          dispose(() => resolve(value));
        },
        (thrown: unknown) => {
          if (!instance.isDead && isProgramError(thrown))
            this.#world.fail(`${this.name}.${method}: ${stackOf(thrown)}`);
          dispose(() => reject(thrown));
        },
      );
    });
  }

  /** @returns when the alarm is due; undefined while its handler runs, which never runs twice at a time */
  get nextAlarmAt(): number | undefined {
    const { armedAlarm: armed } = this.storage;
    return armed === null || this.#isAlarmRunning ? undefined : Math.max(armed, this.#retryAlarmAt);
  }

  /** The alarm has come. */
  fireAlarm(): void {
    this.#alarmCount = this.#lastAlarmAt === this.#world.clock.now ? this.#alarmCount + 1 : 1;
    this.#lastAlarmAt = this.#world.clock.now;
    if (this.#alarmCount > MAX_ALARMS_PER_MS) this.#world.fail(`the alarm of ${this.name} comes again and again`);
    this.storage.beginAlarm();
    this.#isAlarmRunning = true;
    const instance = this.#getInstance();
    this.#runAs(instance, 'alarm', []).then(
      () => {
        if (instance.isDead) return;
        // An object that is reset in its handler's last step has its alarm again.
        this.sendAfterCommit(() => {
          this.#isAlarmRunning = false;
          this.#alarmFailures = 0;
          this.#retryAlarmAt = 0;
          this.storage.endAlarm(true);
        });
      },
      (thrown: unknown) => {
        if (instance.isDead) return;
        this.#isAlarmRunning = false;
        this.#alarmFailures += 1;
        if (this.#alarmFailures > 6) this.#world.fail(`the alarm of ${this.name} has failed too often: ${thrown}`);
        this.#retryAlarmAt = this.#world.clock.now + 1_000 * 2 ** this.#alarmFailures;
        this.storage.endAlarm(false);
      },
    );
  }

  /** Ends a step: what was written is stored, and what was said leaves. */
  commitStep(): void {
    if (this.#isMarkedBroken) {
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
    const isKept = keeps && !this.#isMarkedBroken;
    this.#isMarkedBroken = false;
    if (isKept) this.commitStep();
    this.storage.rollback();
    this.#outbox = [];
    const instance = this.#instance;
    this.#instance = undefined;
    this.#isAlarmRunning = false;
    this.storage.endAlarm(false);
    this.storage.commit();
    if (!instance) return;
    instance.isDead = true;
    this.deathCount += 1;
    // It takes a moment until another one is there.
    this.#world.clock.now += 50;
    for (const mourn of instance.deathListeners) mourn();
  }

  /** Is told when the instance dies that has handed out a stream, or has died already. */
  mourn(body: ReadableStream, tell: () => void): void {
    const instance = this.#streamOwners.get(body);
    if (!instance || instance.isDead) tell();
    else instance.deathListeners.add(tell);
  }

  /** Ends it with its world. */
  end(): void {
    this.crash(false);
    const kept = spareStorages.get(this.#kind) ?? [];
    spareStorages.set(this.#kind, kept);
    if (this.storage.clearTables()) kept.push(this.storage);
  }

  async #runAs(instance: Instance, method: string, args: unknown[]): Promise<unknown> {
    return await currentInstance.run(instance, async () => {
      await instance.ready;
      return await instance.object[method]?.(...args);
    });
  }

  #getInstance(): Instance {
    if (this.#instance) return this.#instance;
    const instance: Instance = {
      host: this,
      isDead: false,
      object: {},
      ready: Promise.resolve(),
      deathListeners: new Set(),
    };
    this.#instance = instance;
    const object = currentInstance.run(instance, () => this.#createObject(this.#createContext(instance)));
    instance.object = object as Instance['object'];
    return instance;
  }

  #createContext(instance: Instance): DurableObjectState {
    const { storage, name } = this;
    const id = this.#id;
    const checkAlive = () => {
      if (instance.isDead) throw new DeadInstanceError(name);
    };
    const failAfterwards = async (operation: string) => {
      await this.#world.hop(`${name}: ${operation} is done`);
      if (instance.isDead) await new Promise(() => {});
    };
    const abort = () => {
      if (!instance.isDead) this.#isMarkedBroken = true;
    };
    /** @returns how a write fails that can only fail before it takes effect */
    const failWriteBefore = (operation: string): WriteFailure | undefined => {
      const failure = this.#world.nextWriteFailure();
      if (failure === 'fatal') abort();
      if (failure === 'after' && operation === 'alarm') return failure;
      if (failure !== undefined) throw new FailedWrite(`${name}: the ${operation} failed (${failure})`);
      return undefined;
    };
    /** Changes the alarm, or everything. */
    const changeAlarm = (change: () => void) => {
      const failure = failWriteBefore('alarm');
      change();
      if (failure !== undefined) throw new FailedWrite(`${name}: the alarm failed (${failure})`);
    };
    const context = {
      id: { name: id, toString: () => id },
      storage: {
        sql: {
          exec: (query: string, ...bindings: SqlStorageValue[]) => {
            checkAlive();
            if (!READ_QUERY.test(query)) failWriteBefore('statement');
            return storage.exec(query, bindings);
          },
          get databaseSize() {
            checkAlive();
            return storage.databaseSize;
          },
        },
        kv: {
          get: (key: string) => {
            checkAlive();
            const text = storage.getValue(key);
            return text === undefined ? undefined : JSON.parse(text);
          },
          put: (key: string, value: unknown) => {
            checkAlive();
            failWriteBefore('value');
            storage.setValue(key, JSON.stringify(value));
          },
          delete: (key: string) => {
            checkAlive();
            failWriteBefore('deletion of a value');
            storage.setValue(key, undefined);
          },
        },
        transactionSync: <T>(work: () => T) => {
          checkAlive();
          return storage.transactionSync(() => {
            const result = work();
            failWriteBefore('transaction');
            return result;
          });
        },
        getAlarm: async () => storage.alarm,
        setAlarm: async (time: number) => {
          if (instance.isDead) return;
          changeAlarm(() => {
            storage.alarm = time;
          });
        },
        deleteAlarm: async () => {
          checkAlive();
          changeAlarm(() => {
            storage.alarm = null;
          });
          await failAfterwards('deleteAlarm');
        },
        deleteAll: async () => {
          checkAlive();
          failWriteBefore('deletion');
          storage.deleteAll();
          await failAfterwards('deleteAll');
        },
      },
      waitUntil: (work: Promise<unknown>) => {
        work.catch((thrown: unknown) => {
          if (!instance.isDead && isProgramError(thrown)) this.#world.fail(`${name}: ${stackOf(thrown)}`);
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
export function callingHost(): Host | undefined {
  const instance = currentInstance.getStore();
  return instance && !instance.isDead ? instance.host : undefined;
}

/** @returns what tells whether whoever runs now still does */
export function createAliveCheck(): () => boolean {
  const instance = currentInstance.getStore();
  return () => !instance?.isDead;
}

/** Does something that is no object's doing, whoever runs now. */
export function runOutside(work: () => void): void {
  currentInstance.exit(work);
}

/** @returns a timer's work as its setter does it; the dead do nothing */
export function bindToCaller(run: () => void): () => void {
  const instance = currentInstance.getStore();
  if (!instance) return run;
  return () => {
    if (!instance.isDead) currentInstance.run(instance, run);
  };
}

export function connectionLostError(): Error {
  return Object.assign(new Error('the connection was lost'), { retryable: true });
}

/** Whether something was thrown that only a mistake in the program throws. */
function isProgramError(thrown: unknown): boolean {
  if (thrown instanceof TypeError || thrown instanceof ReferenceError || thrown instanceof RangeError) return true;
  if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'ERR_SQLITE_ERROR')) return false;
  // A row that is there already is how an account refuses what comes twice.
  return !thrown.message.startsWith('UNIQUE');
}

export function stackOf(thrown: unknown): string {
  return thrown instanceof Error ? String(thrown.stack) : String(thrown);
}
