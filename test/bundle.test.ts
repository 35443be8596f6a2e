import { gzipSync } from 'node:zlib';
import { expect, inject, test } from 'vitest';

const LIMIT_BYTES = 150_000;

test('the deployed Worker is at most 150 kB, compressed', () => {
  expect(gzipSync(inject('deployed').code, { level: 9 }).length).toBeLessThanOrEqual(LIMIT_BYTES);
});

test('nothing of the simulator is deployed', () => {
  const { files } = inject('deployed');
  expect(files).toContain('src/claude/upstream.ts');
  expect(files.filter((file) => file.includes('simulator'))).toEqual([]);
});
