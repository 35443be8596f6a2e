import { reset } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { Bindings } from '../../src/durable/bindings.ts';
import { forgetAllWaiting } from '../../src/durable/waiting-settlements.ts';
import { nothingInFlight } from './in-flight.ts';

const { ACCOUNT } = env as unknown as Bindings;

/** A test that leaves an answer unread waits so long for its end. */
const MOST_IN_FLIGHT_MS = 3_000;
/** How long objects may go on by themselves, in milliseconds. */
const REST_MS = 100;
/** How long a call may be on its way to an object, in milliseconds. */
const ON_ITS_WAY_MS = 10;

/** Empties all objects, once nothing writes into them any more: what came later would come to another test. */
export async function resetAll(): Promise<void> {
  await nothingInFlight(MOST_IN_FLIGHT_MS);
  await scheduler.wait(REST_MS);
  await emptyObjects();
}

/** Empties all objects, of a test that has waited for the end of what it began. */
export async function emptyObjects(): Promise<void> {
  await reset();
  // A call that was on its way to an object makes it anew.
  await scheduler.wait(ON_ITS_WAY_MS);
  await reset();
  // What a killed object has left to the next call of its account would come to another test's.
  forgetAllWaiting(ACCOUNT);
}
