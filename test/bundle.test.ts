/** What `wrangler deploy` would upload. By night `e2e/init` reads the same of an edge that `sluice init` makes. */
import { expect, inject, test } from 'vitest';

const { code, files } = inject('deployed');

test('the deployed bundle excludes the simulator and development-only code', () => {
  expect(files).toContain('src/edge/claude/upstream.ts');
  expect(files.filter((file) => file.includes('simulator') || /\bdevelopment\.ts$/.test(file))).toEqual([]);
  for (const words of ['built-in simulator, not Claude', 'edge_rollback']) {
    expect(inject('worker')).toContain(words);
    expect(code).not.toContain(words);
  }
});

test('the deployed bundle excludes files that are only for the reference and types', () => {
  expect(files).toContain('src/edge/claude/messages.schema.ts');
  expect(files.filter((file) => /-answers\.schema\.ts$|\.reference\.ts$|^src\/reference\//.test(file))).toEqual([]);
});

test('the deployed bundle includes no part of the official SDK except the code for strict schemas', () => {
  const ofSdk = files.filter((file) => file.includes('/@anthropic-ai/sdk/'));
  expect(ofSdk.map((file) => file.split('/sdk/')[1]).toSorted()).toEqual([
    'src/internal/utils/values.ts',
    'src/lib/transform-json-schema.ts',
  ]);
});

test('the deployed bundle includes no locale of zod except English', () => {
  const locales = files.filter((file) => file.includes('/zod/v4/locales/'));
  expect(locales.map((file) => file.split('/locales/')[1])).toEqual(['en.js']);
});
