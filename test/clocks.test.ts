import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root } from './support/root.ts';

/** What reads a clock that measures. */
const CLOCK = /performance\.now|hrtime|cpuUsage|cpuMs|leastCpu|longestTask/;
/** The rows of a turn are counted for each second that it takes: that needs the seconds. */
const NEEDS_SECONDS = 'test/edge/conversations/object/conversation-scale.test.ts';

test('tests that measure time, except conversation-scale.test.ts, are in files of the timing project', () => {
  const files = globSync('test/**/*.test.ts', { cwd: root }).filter(
    (file) => !/\.timing(\.night)?\.test\.ts$/.test(file) && ![NEEDS_SECONDS, 'test/clocks.test.ts'].includes(file),
  );
  expect(files.length).toBeGreaterThan(200);
  expect(files.filter((file) => CLOCK.test(readFileSync(join(root, file), 'utf8')))).toEqual([]);
});

/** A wait for a time of the machine's clock. None at all only lets others go on: `rounds` of test/support/rounds.ts. */
const SLEEP = /scheduler\.wait\((?!0\))|new Promise[^;]{0,80}setTimeout\(\s*\w+,(?!\s*0\))/;
/** Who sets its timers itself moves them, too. */
const OWN_TIMERS = /useFakeTimers|fake-edge/;
/** Where such a wait is right, and why. */
const SLEEPS: Readonly<Record<string, string>> = {
  'test/bench/': 'what is measured waits as a deployed Worker does',
  'test/simulation/': 'a world has a clock of its own',
  'test/support/edge.ts': 'a process is stopped for a time, as a busy machine does',
  'test/support/http-audit.ts':
    'a fake upstream has its pace, and the edge measures silences by the clock of a process',
  'test/support/isolate-heap.ts': 'the runtime evicts idle objects by the clock of its process',
  'test/e2e/cuts.test.ts': 'so a process that is stopped comes to run in between',
  'test/e2e/ridden.test.ts': 'an answer has its pace, and a gateway gives up by the clock of a process',
  'test/e2e/unsent.test.ts': 'how late a connection breaks is told by the clock of a process',
};

describe('a test that sleeps for a fixed time', () => {
  const sleeping = globSync('test/**/*.{ts,tsx}', { cwd: root }).filter((file) => {
    if (/\.(timing|night)\.test\.ts$/.test(file) || file === 'test/clocks.test.ts') return false;
    const text = readFileSync(join(root, file), 'utf8');
    return SLEEP.test(text) && !OWN_TIMERS.test(text);
  });

  test('is listed in SLEEPS', () => {
    const isListed = (file: string) => Object.keys(SLEEPS).some((listed) => file.startsWith(listed));
    expect(sleeping.filter((file) => !isListed(file))).toEqual([]);
  });

  test('exists for each entry of SLEEPS', () => {
    expect(Object.keys(SLEEPS).filter((listed) => !sleeping.some((file) => file.startsWith(listed)))).toEqual([]);
  });

  test.each([
    'await scheduler.wait(5);',
    'await scheduler.wait(LATE_MS);',
    'await new Promise((resolve) => setTimeout(resolve, 50));',
    'await new Promise<void>((resolve) => {\n  setTimeout(resolve, everyMs);\n});',
  ])('is found by its code: %s', (line) => {
    expect(line).toMatch(SLEEP);
  });
});
