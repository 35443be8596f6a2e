import { reset, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { getMachineTime } from './calendar.ts';
import { appSettlers, waitForNoWork } from './pending-work.ts';

const { ACCOUNT } = env as unknown as Bindings;

type Stub = DurableObjectStub<undefined>;

/** The objects that were called since all were emptied, by their ids. */
const calledObjects = new Map<string, () => Stub>();
const namespacePrototype = Object.getPrototypeOf(ACCOUNT) as Pick<DurableObjectNamespace<undefined>, 'get'>;
const { get } = namespacePrototype;
namespacePrototype.get = function (this: DurableObjectNamespace<undefined>, id, options): Stub {
  calledObjects.set(String(id), () => get.call(this, id, options));
  return get.call(this, id, options);
};

/** For how long an object surely stays in memory: the runtime evicts it after 10 s without a call. A busy machine needs longer. */
const MAX_AWAKE_MS = 5_000;

let keepsObjects = false;
let isEmptied = false;

/** Leaves the objects of this file's tests for the next one, up to the end of the file: emptying them takes longer than the test. */
export function keepObjects(shouldKeep = true): void {
  keepsObjects = shouldKeep;
}

/** Empties all objects after a test, where the file does not keep them, and the test has not done so at its own end. */
export async function resetAfterTest(): Promise<void> {
  if (!keepsObjects && (calledObjects.size > 0 || !isEmptied)) await resetAll();
  isEmptied = false;
}

/** Empties all objects, once every app is settled and nothing works any more: what came later would come to another test. */
export async function resetAll(): Promise<void> {
  isEmptied = true;
  try {
    for (const settled of appSettlers) await settled();
    let wokenAt: number;
    do {
      wokenAt = getMachineTime();
      await waitForNoWork(await wakeCalledObjects());
    } while (getMachineTime() - wokenAt > MAX_AWAKE_MS);
  } finally {
    calledObjects.clear();
    await reset();
  }
}

/** @returns every object that was called, in memory: `reset` empties no other, such as one that was killed or evicted. */
async function wakeCalledObjects(): Promise<Set<DurableObjectState>> {
  return new Set(
    await Promise.all([...calledObjects.values()].map((stub) => runInDurableObject(stub(), (_, state) => state))),
  );
}
