/** Knows what still works in this isolate: what it writes late would come to another test. */
import { createExecutionContext, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, onTestFinished } from 'vitest';
import { Account, Batch, Conversation, Inbox, Pool } from '#edge/index.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { aheadMs, machineTime } from './calendar.ts';

/** A request, or what an object does by itself. */
interface Work {
  what: string;
  /** The object that does it; undefined for the Worker's. */
  object?: DurableObjectState | undefined;
}

const going = new Map<Promise<unknown>, Work>();

function note(promise: Promise<unknown>, { what, object }: Work): void {
  const work = { what: `${what} (${expect.getState().currentTestName})`, object };
  const ended = () => void going.delete(noted);
  const noted = promise.then(ended, ended);
  going.set(noted, work);
}

/** Notes a request until it has ended, however it ends. @returns the request itself */
export function inFlight<T>(request: Promise<T>, what: string): Promise<T> {
  note(request, { what });
  return request;
}

/** An execution context whose work behind the answer is noted. @param what the request that it is of */
export function trackedContext(what: string): ExecutionContext {
  const context = createExecutionContext();
  const waitUntil = context.waitUntil.bind(context);
  context.waitUntil = (work) => {
    note(Promise.resolve(work), { what: `what goes on behind ${what}` });
    waitUntil(work);
  };
  return context;
}

/** What the apps of the running test wait for, before its objects are emptied. */
export const settling = new Set<() => Promise<void>>();

/** Forgets the requests that go on, of a test that takes their Worker as dead: nobody ends what it has left. */
export function workerDied(): void {
  settling.clear();
  for (const [promise, { object }] of going) if (object === undefined) going.delete(promise);
}

let isWatching = false;

/** Longer than any test: an alarm that is put off by this comes when a test asks for it. */
const NEVER_MS = 1e12;
let putOffMs = 0;

/** Has no alarm come by itself until the end of a test: a slow machine would have it come before the test does its part. */
export function alarmsByHand(): void {
  putOffMs = NEVER_MS;
  onTestFinished(() => {
    putOffMs = 0;
  });
}

/** Has the alarms of objects go by the calendar of the tests: the runtime's own clock is another. */
function setAlarmsByCalendar(storage: DurableObjectStorage): void {
  const { setAlarm, getAlarm } = storage;
  const laterMs = () => putOffMs - aheadMs();
  storage.setAlarm = function (time, options) {
    return setAlarm.call(this, Number(time) + laterMs(), options);
  };
  storage.getAlarm = async function (options) {
    const time = await getAlarm.call(this, options);
    return time === null ? null : time - laterMs();
  };
}

/** Has objects note, from now on, what they do behind their answers, and by their alarms. */
export async function watchObjects(): Promise<void> {
  if (isWatching) return;
  isWatching = true;
  const { ACCOUNT } = env as unknown as Bindings;
  const any = ACCOUNT.get(ACCOUNT.newUniqueId()) as unknown as DurableObjectStub;
  const states = await runInDurableObject(any, (_, state) => {
    setAlarmsByCalendar(Object.getPrototypeOf(state.storage) as DurableObjectStorage);
    return Object.getPrototypeOf(state) as DurableObjectState;
  });
  const { waitUntil } = states;
  states.waitUntil = function (this: DurableObjectState, work) {
    note(Promise.resolve(work), { what: 'what an object does behind an answer', object: this });
    waitUntil.call(this, work);
  };
  for (const { name, prototype } of [Account, Batch, Conversation, Inbox, Pool]) {
    const { alarm } = prototype;
    prototype.alarm = function (this: typeof prototype & { ctx: DurableObjectState }) {
      const done = alarm.call(this);
      note(done, { what: `an alarm of ${name}`, object: this.ctx });
      return done;
    };
  }
}

/** How long a busy machine may take for what is not left behind. */
const MOST_MS = 120_000;

/**
 * Waits until no work is left of some. It looks, round by round: woken by the work of an object, a test would go on inside of
 * that object, and the runtime ends when that one is emptied there.
 *
 * @returns what is left all the same
 */
async function lastOf(left: () => Work[]): Promise<Work[]> {
  const end = machineTime() + MOST_MS;
  while (left().length > 0 && machineTime() < end) await scheduler.wait(0);
  return left();
}

/**
 * Waits until an object has ended what it does behind its answers, and by its alarms.
 *
 * @throws Error with the names of what does not end
 */
export async function objectAtRest(stub: DurableObjectStub): Promise<void> {
  const state = await runInDurableObject(stub, (_, own) => own);
  const left = await lastOf(() => [...going.values()].filter(({ object }) => object === state));
  if (left.length > 0) throw new Error(`An object does not come to rest: ${namesOf(left)}.`);
}

const namesOf = (works: readonly Work[]) => [...new Set(works.map(({ what }) => what))].join(', ');

/**
 * Waits until nothing works any more.
 *
 * @param living the objects in memory: what a killed one did has ended with it, and nothing tells
 * @throws Error with the names of what does not end, such as an answer that nobody reads
 */
export async function nothingInFlight(living: ReadonlySet<DurableObjectState>): Promise<void> {
  const left = await lastOf(() =>
    [...going.values()].filter(({ object }) => object === undefined || living.has(object)),
  );
  going.clear();
  if (left.length > 0) throw new Error(`A test has left behind: ${namesOf(left)}.`);
}
