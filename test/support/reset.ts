import { reset, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { Bindings } from '../../src/durable/bindings.ts';
import { nothingInFlight } from './in-flight.ts';

const { ACCOUNT } = env as unknown as Bindings;

/** A test that leaves an answer unread waits so long for its end. */
const MOST_IN_FLIGHT_MS = 3_000;
/** How long objects may go on by themselves, in milliseconds. */
const REST_MS = 100;
/** How long a call may be on its way to an object, in milliseconds. */
const ON_ITS_WAY_MS = 10;

type Stub = DurableObjectStub<undefined>;

/** The objects that were called since all were emptied, by their ids. */
const called = new Map<string, () => Stub>();
const ofAllNamespaces = Object.getPrototypeOf(ACCOUNT) as Pick<DurableObjectNamespace<undefined>, 'get'>;
const { get } = ofAllNamespaces;
ofAllNamespaces.get = function (this: DurableObjectNamespace<undefined>, id, options): Stub {
  called.set(String(id), () => get.call(this, id, options));
  return get.call(this, id, options);
};

/** Empties all objects, once nothing writes into them any more: what came later would come to another test. */
export async function resetAll(): Promise<void> {
  await nothingInFlight(MOST_IN_FLIGHT_MS);
  await scheduler.wait(REST_MS);
  await emptyObjects();
}

/** Empties all objects, of a test that has waited for the end of what it began. */
export async function emptyObjects(): Promise<void> {
  await wakeCalled();
  await reset();
  // A call that was on its way to an object makes it anew.
  await scheduler.wait(ON_ITS_WAY_MS);
  await reset();
}

/** Has every object in memory that was called: `reset` empties no other, such as one that was killed or evicted. */
async function wakeCalled(): Promise<void> {
  const stubs = [...called.values()];
  called.clear();
  await Promise.all(stubs.map((stub) => runInDurableObject(stub(), () => {})));
}
