import { gzipSync } from 'node:zlib';
import { expect, inject, test } from 'vitest';

const LIMIT_BYTES = 150_000;

test('the built Worker is at most 150 kB, compressed', () => {
  expect(gzipSync(inject('worker'), { level: 9 }).length).toBeLessThanOrEqual(LIMIT_BYTES);
});
