/** What `wrangler deploy` would upload. By night `e2e/init` reads the same of an edge that `sluice init` makes. */
import { expect, inject, test } from 'vitest';

const { code, files } = inject('deployed');

test('nothing of the simulator, and of what is for development alone, is deployed', () => {
  expect(files).toContain('src/edge/claude/upstream.ts');
  expect(files.filter((file) => file.includes('simulator') || /\bdevelopment\.ts$/.test(file))).toEqual([]);
  for (const words of ['built-in simulator, not Claude', 'edge_rollback']) {
    expect(inject('worker')).toContain(words);
    expect(code).not.toContain(words);
  }
});

test('what only the reference and types are made of is not deployed', () => {
  expect(files).toContain('src/edge/claude/messages.schema.ts');
  expect(files.filter((file) => /-answers\.schema\.ts$|\.reference\.ts$|^src\/reference\//.test(file))).toEqual([]);
});

test('of the official SDK its strict schemas alone are deployed, and not its client', () => {
  const ofSdk = files.filter((file) => file.includes('/@anthropic-ai/sdk/'));
  expect(ofSdk.map((file) => file.split('/sdk/')[1]).toSorted()).toEqual([
    'src/internal/utils/values.ts',
    'src/lib/transform-json-schema.ts',
  ]);
});
