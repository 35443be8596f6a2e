import { afterAll, beforeEach, expect, test, vi } from 'vitest';
import type { Plugin } from '#edge/plugins/plugin.ts';

// Registered plugins are state of the isolate: each test loads the module again.
let kit: typeof import('#edge/kit/plugins/plugins.ts');
beforeEach(async () => {
  vi.resetModules();
  kit = await import('#edge/kit/plugins/plugins.ts');
});
// The next file registers all plugins.
afterAll(() => void vi.resetModules());

const A: Plugin = { name: 'a', headers: ['sluice-a'] };
const B: Plugin = { name: 'b', headers: ['sluice-b'] };
const consume = () => async () => undefined;

test('contributions are read in the order of the list', () => {
  expect(kit.getPluginMembers('headers')).toEqual([]);
  const list = [A, { name: 'silent' }, B];
  kit.registerPlugins(list);
  kit.registerPlugins([...list]);
  expect(kit.getPluginMembers('headers')).toEqual([['sluice-a'], ['sluice-b']]);
  expect(['a', 'silent', 'none'].map((plugin) => kit.getPluginMembers('headers', plugin))).toEqual([
    [['sluice-a']],
    [],
    [],
  ]);
  expect(kit.getPluginMembersWithNames('headers')).toEqual([
    ['a', ['sluice-a']],
    ['b', ['sluice-b']],
  ]);
});

test('a different list, a repeated name and a missing dependency are rejected', () => {
  const tower = { name: 'tower' };
  expect(() => kit.registerPlugins([{ name: 'clock', needs: [tower] }])).toThrow('clock requires tower');
  expect(() => kit.registerPlugins([tower, { name: 'tower' }])).toThrow('two plugins have the name tower');
  kit.registerPlugins([{ name: 'clock', needs: [tower] }, tower]);
  expect(() => kit.registerPlugins([tower])).toThrow('different `plugins`');
});

test('a member that only one plugin may have is read, and a second plugin that has it is rejected', () => {
  const tower: Plugin = { name: 'tower', queue: consume };
  expect(() => kit.registerPlugins([tower, { name: 'clock' }, { name: 'church', queue: consume }])).toThrow(
    'tower and church both provide `queue`. Remove one of them.',
  );
  expect(kit.getSinglePluginMember('queue')).toBeUndefined();
  kit.registerPlugins([tower, { name: 'clock' }]);
  expect(kit.getSinglePluginMember('queue')).toBe(consume);
});

test('a memoized value is computed once for each list', () => {
  const compute = vi.fn(() => kit.getPluginMembers('headers').flat().join());
  const headers = kit.memoizeFromPlugins(compute);
  expect(headers()).toBe('');
  kit.registerPlugins([A]);
  expect([headers(), headers()]).toEqual(['sluice-a', 'sluice-a']);
  expect(compute).toHaveBeenCalledTimes(2);
});

test('mutating the registered list has no effect, and registering it again throws', () => {
  const list = [A];
  kit.registerPlugins(list);
  list.push(B);
  expect(kit.getPluginMembers('headers')).toEqual([['sluice-a']]);
  expect(() => kit.registerPlugins(list)).toThrow('different `plugins`');
});

const SINGLES = [
  'queue',
  'classifyByBatch',
  'agents',
  'guard',
  'sharedBudgets',
  'allAccounts',
  'alertInbox',
  'failingTasks',
];

test.each(SINGLES)('a custom plugin cannot replace the `%s` of a built-in one', async (member) => {
  const { PLUGINS } = await import('#edge/plugins.ts');
  const own = { name: 'own', [member]: {} };
  for (const list of [
    [own, ...PLUGINS],
    [...PLUGINS, own],
  ])
    expect(() => kit.registerPlugins(list)).toThrow(`both provide \`${member}\`. Remove one of them.`);
});
