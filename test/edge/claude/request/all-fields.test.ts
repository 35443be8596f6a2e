import { afterAll, beforeEach, expect, test, vi } from 'vitest';
import * as z from '#edge/kit/http/zod.ts';
import type { Plugin } from '#edge/plugins/plugin.ts';

// The plugins hold for the whole isolate: each test has the modules anew.
let members: typeof import('#edge/claude/request/all-fields.ts');
let plugins: readonly Plugin[];
let use: (plugins: readonly Plugin[]) => void;
beforeEach(async () => {
  vi.resetModules();
  ({ PLUGINS: plugins } = await import('#edge/plugins.ts'));
  ({ registerPlugins: use } = await import('#edge/kit/plugins/plugins.ts'));
  members = await import('#edge/claude/request/all-fields.ts');
});
// The next file has all plugins.
afterAll(() => void vi.resetModules());

test('rejects a sluice- header that no registered plugin reads, and accepts all other headers', () => {
  use(plugins.filter(({ name, needs = [] }) => name !== 'agents' && !needs.some((one) => one.name === 'agents')));
  const read = ['sluice-conversation', 'sluice-prefix', 'sluice-show', 'sluice-tags', 'sluice-simulate', 'x-own'];
  members.rejectUnknownHeaders(new Headers(read.map((name) => [name, 'x'])));
  for (const name of ['sluice-agent', 'Sluice-Model', 'sluice-turn', 'sluice-x']) {
    const refused = expect.objectContaining({
      status: 400,
      message: `${name.toLowerCase()}: no plugin of this deployment supports this header. Remove it.`,
    });
    expect(() => members.rejectUnknownHeaders(new Headers({ [name]: 'x' }))).toThrow(refused);
  }
});

test('includes a new plugin’s field in validation, lists and removals because of its declaration', () => {
  const mood = {
    schema: z.string(),
    header: 'sluice-mood',
    open: ['bound'],
  } as const;
  use([...plugins, { name: 'moods', members: { mood } }]);
  members.rejectUnknownHeaders(new Headers({ 'sluice-mood': 'good' }));
  expect(members.listFieldNames(members.createFieldOpenToTest('bound'))).toContain('mood');
  expect(members.listFieldHeaders(members.createFieldOpenToTest('bound'))).toContain('sluice-mood');
  expect(members.listFieldNames(members.createFieldOpenToTest('item'))).toEqual(['prefix']);
  expect(members.fieldRemovals().ofTurn).toHaveProperty('mood', undefined);
  expect(members.fieldRemovals().ofTurn).not.toHaveProperty('max_turns');
  const json = { mood: 'good', max_turns: 3, model: 'claude-haiku-5-5' };
  expect(members.fieldRemovals().ofMessage).toHaveProperty('mood', undefined);
  expect(Object.keys(members.fieldRemovals().ofMessage)).not.toContain('max_turns');
  members.checkRequestFields(new Headers({ 'sluice-mood': 'good' }), json);
  expect(() => members.checkRequestFields(new Headers(), { mood: 7 })).toThrow(/^mood: /);
  expect(() => members.checkRequestFields(new Headers({ 'sluice-mood': 'bad' }), json)).toThrow(
    'mood: the body and the header',
  );
  // What the body never says is the API's there.
  expect(members.fieldRemovals().all).not.toHaveProperty('model');
});
