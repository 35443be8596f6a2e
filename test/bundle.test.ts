import { gzipSync } from 'node:zlib';
import { expect, inject, test } from 'vitest';

/** What settles interrupted answers, and what keeps attacks off, came on top of 150 kB. */
const LIMIT_BYTES = 165_000;

test('the deployed Worker is at most 165 kB, compressed', () => {
  expect(gzipSync(inject('deployed').code, { level: 9 }).length).toBeLessThanOrEqual(LIMIT_BYTES);
});

test('what only the reference and types are made of is not deployed', () => {
  const { files } = inject('deployed');
  expect(files).toContain('src/schemas/messages.ts');
  expect(files.filter((file) => file.startsWith('src/schemas/answers/') || file.startsWith('src/reference/'))).toEqual(
    [],
  );
});

test('nothing of the simulator is deployed', () => {
  const { files } = inject('deployed');
  expect(files).toContain('src/claude/upstream.ts');
  expect(files.filter((file) => file.includes('simulator'))).toEqual([]);
});
