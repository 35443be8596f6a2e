import { expect, test, vi } from 'vitest';
import { atOnce, inSteps, LONG_TEXT, type Steps, TEXTS_IN_A_STEP, withEach } from '../../src/async/in-steps.ts';

const MB = 1_048_576;

function* work(steps: readonly number[], done: string[], name: string): Steps<string> {
  for (const step of steps) {
    yield step;
    done.push(name);
  }
  return name;
}

test('others work between two steps', async () => {
  const done: string[] = [];
  expect(await Promise.all([inSteps(work([1, 1], done, 'a')), inSteps(work([1, 1], done, 'b'))])).toEqual(['a', 'b']);
  expect(done).toEqual(['a', 'b', 'a', 'b']);
  expect(atOnce(work([1, 9 * MB], done, 'c'))).toBe('c');
});

test('long steps are taken one at a time, also if one who waits has left', async () => {
  vi.useFakeTimers();
  try {
    const done: string[] = [];
    const names = ['a', 'b', 'c'];
    for (const name of names) void inSteps(work([16 * MB], done, name));
    const short = inSteps(work([MB, MB], done, 'short'));
    await vi.advanceTimersByTimeAsync(5);
    expect(await short).toBe('short');
    expect(done.filter((name) => names.includes(name))).toEqual(['a']);
    await vi.advanceTimersByTimeAsync(200);
    expect(done.filter((name) => names.includes(name))).toEqual(['a', 'b']);
    // One that has left before its turn keeps nobody out for longer than its turn.
    void inSteps(work([16 * MB], done, 'd'));
    await vi.advanceTimersByTimeAsync(400);
    expect(done.filter((name) => name !== 'short')).toEqual(['a', 'b', 'c', 'd']);
  } finally {
    vi.useRealTimers();
  }
});

test('a clock that was set back keeps nobody out for longer than a minute', async () => {
  vi.useFakeTimers();
  try {
    const done: string[] = [];
    void inSteps(work([16 * MB], done, 'a'));
    await vi.advanceTimersByTimeAsync(1);
    vi.setSystemTime(Date.now() - 3_600_000);
    void inSteps(work([16 * MB], done, 'b'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(done).toEqual(['a', 'b']);
  } finally {
    vi.useRealTimers();
  }
});

test('a step does some texts, and fewer long ones, in order', () => {
  const long = 'a'.repeat(TEXTS_IN_A_STEP * LONG_TEXT);
  for (const texts of [Array<string>(2 * TEXTS_IN_A_STEP).fill(''), [long, '', long]]) {
    const done: string[] = [];
    const steps = [...withEach(texts, (text, index) => done.push(`${index} ${text}`))];
    expect(steps).toHaveLength(2);
    expect(done).toEqual(texts.map((text, index) => `${index} ${text}`));
  }
});

test('what a step throws is thrown', async () => {
  function* broken(): Steps<string> {
    yield 1;
    throw new Error('broken');
  }
  await expect(inSteps(broken())).rejects.toThrow('broken');
});
