import { env } from 'cloudflare:workers';
import { afterAll, afterEach, beforeAll, expect, vi } from 'vitest';
import { bodyMemory, IsolateBodyMemory } from '#edge/kit/http/body-memory.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { watchObjects } from '#test/support/pending-work.ts';
import { keepObjects, resetAfterTest, resetAll } from '#test/support/reset.ts';

const { STORE } = env as unknown as Bindings;

/** So long the edge waits for something at most, and so long until it looks once more. */
const [PATIENCE_MS, LOOK_MS] = [15_000, 50];

// What it waits before it goes on, or tries again, takes no time, but where a test has timers of its own.
vi.mock('#edge/kit/async/pause.ts', async (original) => {
  const whole = await original<typeof import('#edge/kit/async/pause.ts')>();
  const taken = (ms: number) => (ms <= LOOK_MS || ms === PATIENCE_MS || vi.isFakeTimers() ? ms : 0);
  return { ...whole, pause: (ms: number, signal?: AbortSignal) => whole.pause(taken(ms), signal) };
});

/** How long a busy machine may take to give back what a request had. */
const MOST_MS = 120_000;

// Files share an isolate, one after the other: each leaves empty objects, and an empty store. What asks all accounts of the
// list would ask those of every file before it, and make an object of each.
beforeAll(watchObjects);
afterAll(async () => {
  keepObjects(false);
  await resetAll();
  for (;;) {
    const { keys } = await STORE.list();
    if (keys.length === 0) break;
    await Promise.all(keys.map(({ name }) => STORE.delete(name)));
  }
});

// What a test has mocked ends behind all that is looked at here.
afterEach(() => void vi.restoreAllMocks());

// A request that has ended, however it ended, has given back the memory of its body. Where one has not, this test fails, and no
// other: what a failed test leaves is not waited for.
afterEach(async ({ task }) => {
  try {
    const timeout = task.result?.state === 'fail' ? 0 : MOST_MS;
    await vi.waitFor(() => expect({ ...bodyMemory }).toEqual({ ...new IsolateBodyMemory() }), { timeout, interval: 1 });
  } finally {
    Object.assign(bodyMemory, { takenBytes: 0, unknownSenderBytes: 0 });
    for (const left of [bodyMemory.bytesByCaller, bodyMemory.waitingShares, bodyMemory.sharesByObject]) left.clear();
  }
});

// Hooks run in the reverse order: before a test's memory is looked at, its objects are emptied.
afterEach(resetAfterTest);
