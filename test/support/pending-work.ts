/** Knows what still works in this isolate: what it writes late would come to another test. */
import { createExecutionContext, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, onTestFinished } from 'vitest';
import { Account, Batch, Conversation, Inbox, Pool } from '#edge/index.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { getAheadMs, getMachineTime } from './calendar.ts';

/** A request, or what an object does by itself. */
interface PendingWork {
  description: string;
  /** The object that does it; undefined for the Worker's. */
  object?: DurableObjectState | undefined;
}

const pendingWork = new Map<Promise<unknown>, PendingWork>();

function noteWork(promise: Promise<unknown>, { description: what, object }: PendingWork): void {
  const work = { description: `${what} (${expect.getState().currentTestName})`, object };
  const removeWork = () => void pendingWork.delete(noted);
  const noted = promise.then(removeWork, removeWork);
  pendingWork.set(noted, work);
}

/** Notes a request until it has ended, however it ends. @returns the request itself */
export function trackRequest<T>(request: Promise<T>, description: string): Promise<T> {
  noteWork(request, { description });
  return request;
}

/** An execution context whose work behind the answer is noted. @param description the request that it is of */
export function createTrackedContext(description: string): ExecutionContext {
  const context = createExecutionContext();
  const waitUntil = context.waitUntil.bind(context);
  context.waitUntil = (work) => {
    noteWork(Promise.resolve(work), { description: `what goes on behind ${description}` });
    waitUntil(work);
  };
  return context;
}

/** What the apps of the running test wait for, before its objects are emptied. */
export const appSettlers = new Set<() => Promise<void>>();

/** Forgets the requests that go on, of a test that takes their Worker as dead: nobody ends what it has left. */
export function forgetDeadWorker(): void {
  appSettlers.clear();
  for (const [promise, { object }] of pendingWork) if (object === undefined) pendingWork.delete(promise);
}

let isWatching = false;

/** Longer than any test: an alarm that is put off by this comes when a test asks for it. */
const ALARM_DELAY_MS = 1e12;
let alarmDelayMs = 0;

/** Has no alarm come by itself until the end of a test: a slow machine would have it come before the test does its part. */
export function disableAutomaticAlarms(): void {
  alarmDelayMs = ALARM_DELAY_MS;
  onTestFinished(() => {
    alarmDelayMs = 0;
  });
}

/** Has the alarms of objects go by the calendar of the tests: the runtime's own clock is another. */
function setAlarmsByCalendar(storage: DurableObjectStorage): void {
  const { setAlarm, getAlarm } = storage;
  const getOffsetMs = () => alarmDelayMs - getAheadMs();
  storage.setAlarm = function (time, options) {
    return setAlarm.call(this, Number(time) + getOffsetMs(), options);
  };
  storage.getAlarm = async function (options) {
    const time = await getAlarm.call(this, options);
    return time === null ? null : time - getOffsetMs();
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
    noteWork(Promise.resolve(work), { description: 'what an object does behind an answer', object: this });
    waitUntil.call(this, work);
  };
  for (const { name, prototype } of [Account, Batch, Conversation, Inbox, Pool]) {
    const { alarm } = prototype;
    prototype.alarm = function (this: typeof prototype & { ctx: DurableObjectState }) {
      const done = alarm.call(this);
      noteWork(done, { description: `an alarm of ${name}`, object: this.ctx });
      return done;
    };
  }
}

/** How long a busy machine may take for what is not left behind. */
const MAX_WAIT_MS = 120_000;

/**
 * Waits until no work is left of some. It looks, round by round: woken by the work of an object, a test would go on inside of
 * that object, and the runtime ends when that one is emptied there.
 *
 * @returns what is left all the same
 */
async function waitUntilNone(listPending: () => PendingWork[]): Promise<PendingWork[]> {
  const end = getMachineTime() + MAX_WAIT_MS;
  while (listPending().length > 0 && getMachineTime() < end) await scheduler.wait(0);
  return listPending();
}

/**
 * Waits until an object has ended what it does behind its answers, and by its alarms.
 *
 * @throws Error with the names of what does not end
 */
export async function waitForObject(stub: DurableObjectStub): Promise<void> {
  const state = await runInDurableObject(stub, (_, listOwnWork) => listOwnWork);
  const left = await waitUntilNone(() => [...pendingWork.values()].filter(({ object }) => object === state));
  if (left.length > 0) throw new Error(`An object does not come to rest: ${describeWork(left)}.`);
}

const describeWork = (works: readonly PendingWork[]) =>
  [...new Set(works.map(({ description: what }) => what))].join(', ');

/**
 * Waits until nothing works any more.
 *
 * @param living the objects in memory: what a killed one did has ended with it, and nothing tells
 * @throws Error with the names of what does not end, such as an answer that nobody reads
 */
export async function waitForNoWork(living: ReadonlySet<DurableObjectState>): Promise<void> {
  const left = await waitUntilNone(() =>
    [...pendingWork.values()].filter(({ object }) => object === undefined || living.has(object)),
  );
  pendingWork.clear();
  if (left.length > 0) throw new Error(`A test has left behind: ${describeWork(left)}.`);
}
