import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..');
/** What reads a clock that measures. */
const CLOCK = /performance\.now|hrtime|cpuUsage|cpuMs|leastCpu|longestTask/;
/** The rows of a turn are counted for each second that it takes: that needs the seconds. */
const NEEDS_SECONDS = 'test/conversations/conversation-scale.test.ts';

test('what measures time is in the project for it, which runs alone: elsewhere a busy machine would fail it', () => {
  const files = globSync('test/**/*.test.ts', { cwd: root }).filter(
    (file) => !file.endsWith('.timing.test.ts') && ![NEEDS_SECONDS, 'test/clocks.test.ts'].includes(file),
  );
  expect(files.length).toBeGreaterThan(200);
  expect(files.filter((file) => CLOCK.test(readFileSync(join(root, file), 'utf8')))).toEqual([]);
});
