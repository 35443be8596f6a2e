import { setImmediate as nextLoop } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { forEachInSteps, runInSteps, type SteppedWork, WorkPacer } from '#edge/kit/async/run-in-steps.ts';

const MB = 1_048_576;

function* work(steps: readonly number[], done: string[], name = ''): SteppedWork<string> {
  for (const step of steps) {
    yield step;
    done.push(name);
  }
  return name;
}
const units = (many: number) => Array<number>(many).fill(1);

/** @returns how much is done at the end of each turn of the event loop in which some was, until a work is done */
async function stretchesOf(done: readonly string[], working: Promise<unknown>): Promise<number[]> {
  let isDone = false;
  void working.then(() => {
    isDone = true;
  });
  const lengths = [done.length];
  while (!isDone) {
    await nextLoop();
    if (done.length > (lengths.at(-1) ?? 0)) lengths.push(done.length);
  }
  return lengths.map((length, at) => length - (lengths[at - 1] ?? 0));
}

afterEach(() => {
  // What is watched is a fake: restored after it, it would come back.
  vi.restoreAllMocks();
  vi.useRealTimers();
});

let days = 0;
/** Has a test begin when nobody rests any more from the one before. */
function beginsAnotherDay(): void {
  days += 1;
  vi.useFakeTimers({ now: Date.now() + days * 86_400_000 });
}

test('runInSteps yields to the event loop after 100 units or 64 kB, whichever is first', async () => {
  const many: string[] = [];
  expect(await stretchesOf(many, runInSteps(work(units(220), many)))).toEqual([100, 100, 20]);
  const long: string[] = [];
  expect(await stretchesOf(long, runInSteps(work(Array<number>(5).fill(30_000), long)))).toEqual([2, 2, 1]);
  const texts: string[] = [];
  const each = forEachInSteps(Array<string>(101).fill('a'), (text, index) => texts.push(`${index} ${text}`));
  expect(await stretchesOf(texts, runInSteps(each))).toEqual([100, 1]);
  expect(texts.at(-1)).toBe('100 a');
});

test('24 concurrent jobs take turns, one slice each', async () => {
  beginsAnotherDay();
  const done: string[] = [];
  const names = Array.from({ length: 24 }, (_, nth) => `work ${nth}`);
  const all = Promise.all(names.map((name) => runInSteps(work(units(400), done, name))));
  // The first stretch of each is part of what has begun it.
  expect(done).toHaveLength(24 * 100);
  const stretches: number[] = [];
  for (let turn = 0; turn < 24 * 3; turn += 1) {
    const before = done.length;
    await vi.advanceTimersByTimeAsync(turn === 0 ? 0 : 2);
    stretches.push(done.length - before);
  }
  expect(stretches).toEqual(Array<number>(24 * 3).fill(100));
  expect(await all).toEqual(names);
  // Nobody has a second turn before all have had the first one.
  for (let round = 0; round < 4; round += 1) {
    expect(new Set(done.slice(round * 24 * 100, (round + 1) * 24 * 100)).size).toBe(24);
  }
});

test('an abandoned job delays others for no longer than its turn', async () => {
  beginsAnotherDay();
  const done: string[] = [];
  for (let left = 0; left < 300; left += 1) void runInSteps(work(units(120), done, 'left'));
  // A request that is dropped takes its timers along.
  vi.clearAllTimers();
  const others = Promise.all([runInSteps(work(units(600), done, 'a')), runInSteps(work(units(600), done, 'b'))]);
  await vi.advanceTimersByTimeAsync(300 * 2 + 20);
  expect(await others).toEqual(['a', 'b']);
});

test('a single job waits only for the event loop, however long its steps are', async () => {
  beginsAnotherDay();
  const done: string[] = [];
  const timers = vi.spyOn(globalThis, 'setTimeout');
  const alone = runInSteps(work([16 * MB, 16 * MB, ...units(2_000)], done, 'a'));
  await vi.advanceTimersByTimeAsync(100);
  expect(await alone).toBe('a');
  expect(timers.mock.calls.map(([, sleep]) => sleep)).toEqual(Array<number>(22).fill(0));
});

test('jobs with steps of 16 MB run one after another, with a pause between them', async () => {
  beginsAnotherDay();
  const done: string[] = [];
  for (const name of ['a', 'b', 'c']) void runInSteps(work([16 * MB], done, name));
  await vi.advanceTimersByTimeAsync(5);
  expect(done).toEqual(['a']);
  await vi.advanceTimersByTimeAsync(200);
  expect(done).toEqual(['a', 'b']);
  await vi.advanceTimersByTimeAsync(400);
  expect(done).toEqual(['a', 'b', 'c']);
});

test('two jobs that wait for each other’s pauses set fewer than 20 timers in two seconds', async () => {
  beginsAnotherDay();
  const done: string[] = [];
  const looks = vi.spyOn(globalThis, 'setTimeout');
  for (const name of ['a', 'b']) void runInSteps(work([16 * MB, 16 * MB], done, name));
  await vi.advanceTimersByTimeAsync(2_000);
  expect(done.toSorted()).toEqual(['a', 'a', 'b', 'b']);
  expect(looks.mock.calls.length).toBeLessThan(20);
});

test('a clock that is set back by an hour delays no job by more than a second', async () => {
  beginsAnotherDay();
  const done: string[] = [];
  void runInSteps(work([16 * MB], done, 'a'));
  await vi.advanceTimersByTimeAsync(1);
  void runInSteps(work(units(120), done, 'left'));
  vi.clearAllTimers();
  vi.setSystemTime(Date.now() - 3_600_000);
  void runInSteps(work([16 * MB], done, 'b'));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(done.filter((name) => name !== 'left')).toEqual(['a', 'b']);
});

test('a WorkPacer requires a wait after 100 units or 64 kB of work', async () => {
  const pacer = new WorkPacer();
  for (let unit = 0; unit < 100; unit += 1) expect(pacer.waitForTurn(1)).toBeUndefined();
  await pacer.waitForTurn(1);
  expect(pacer.waitForTurn(65_535)).toBeUndefined();
  await pacer.waitForTurn(1);
});

test('runInSteps rejects with the error that a step throws', async () => {
  function* broken(): SteppedWork<string> {
    yield 1;
    throw new Error('broken');
  }
  await expect(runInSteps(broken())).rejects.toThrow('broken');
});
