import { expect, test } from 'vitest';
import { runInWorld } from './bindings.ts';
import { LabelScheduler } from './label-scheduler.ts';
import { ALARMS, COMMANDS } from './storage-commands.ts';
import { NO_MISHAPS, World } from './world.ts';

interface Tried {
  ask(work: (storage: DurableObjectStorage) => unknown): Promise<unknown>;
  alarm(): Promise<void>;
}

/** Makes an object that does with its storage what it is asked to. */
function triedOf(ctx: DurableObjectState, handle: (storage: DurableObjectStorage) => Promise<unknown>): Tried {
  return {
    ask: async (work) => await work(ctx.storage),
    alarm: async () => {
      await handle(ctx.storage);
    },
  };
}

/** Runs work on an object's storage in a world where everything comes in its order. */
async function onStorage(
  works: ((storage: DurableObjectStorage) => unknown)[],
  handle: (storage: DurableObjectStorage) => Promise<unknown> = async () => {},
): Promise<unknown[]> {
  const world = new World(new LabelScheduler(), NO_MISHAPS);
  const told: unknown[] = [];
  await runInWorld(world, {}, async () => {
    const host = world.getHost('tried', 'one', (ctx) => triedOf(ctx, handle));
    for (const work of works) {
      const asked = world.call(host, 'ask', [work]).then((answer) => told.push(answer));
      await world.runToRest(90_000, () => {});
      await asked;
    }
  });
  return told;
}

test.each(COMMANDS)('simulated storage: $name', async ({ run: ask, expected: answer }) => {
  expect(await onStorage([ask])).toEqual([answer]);
});

test.each(ALARMS)('simulated alarms: $name', async ({ handle, expected: answer, alarmAfter: after }) => {
  let told: unknown;
  const handled = async (storage: DurableObjectStorage) => {
    told ??= await handle(storage);
  };
  const set = (storage: DurableObjectStorage) => storage.setAlarm(Date.now() + 60_000);
  const [, left] = await onStorage([set, (storage) => storage.getAlarm()], handled);
  expect(told).toEqual(answer);
  expect(left).toBe(after);
});
