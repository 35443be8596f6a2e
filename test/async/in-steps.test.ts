import { expect, test, vi } from 'vitest';
import { inSteps, type Steps, withEach } from '../../src/async/in-steps.ts';

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

test('a stretch ends behind 50 units or 64 kB, and each text is a unit', async () => {
  for (const texts of [Array<string>(120).fill(''), Array<string>(3).fill('a'.repeat(40_000))]) {
    const done: string[] = [];
    const others: number[] = [];
    const timer = setInterval(() => others.push(done.length), 0);
    await inSteps(withEach(texts, (text, index) => done.push(`${index} ${text}`)));
    clearInterval(timer);
    expect(done).toEqual(texts.map((text, index) => `${index} ${text}`));
    expect(others).toEqual(texts.length === 120 ? [50, 100] : [1, 2]);
  }
});

test('what a step throws is thrown', async () => {
  function* broken(): Steps<string> {
    yield 1;
    throw new Error('broken');
  }
  await expect(inSteps(broken())).rejects.toThrow('broken');
});
