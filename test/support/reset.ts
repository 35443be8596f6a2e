import { reset, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { Bindings } from '../../src/durable/bindings.ts';
import { nothingInFlight, settling } from './in-flight.ts';

const { ACCOUNT } = env as unknown as Bindings;

type Stub = DurableObjectStub<undefined>;

/** The objects that were called since all were emptied, by their ids. */
const called = new Map<string, () => Stub>();
const ofAllNamespaces = Object.getPrototypeOf(ACCOUNT) as Pick<DurableObjectNamespace<undefined>, 'get'>;
const { get } = ofAllNamespaces;
ofAllNamespaces.get = function (this: DurableObjectNamespace<undefined>, id, options): Stub {
  called.set(String(id), () => get.call(this, id, options));
  return get.call(this, id, options);
};

/** Empties all objects, once every app is settled and nothing works any more: what came later would come to another test. */
export async function resetAll(): Promise<void> {
  try {
    for (const settled of settling) await settled();
    await nothingInFlight(await wakeCalled());
  } finally {
    await reset();
  }
}

/** @returns every object that was called, in memory: `reset` empties no other, such as one that was killed or evicted. */
async function wakeCalled(): Promise<Set<DurableObjectState>> {
  const stubs = [...called.values()];
  called.clear();
  return new Set(await Promise.all(stubs.map((stub) => runInDurableObject(stub(), (_, state) => state))));
}
