import { beforeEach, expect, test, vi } from 'vitest';
import * as z from 'zod';

/** What an app shares holds for the whole isolate: each test has the package anew. */
let sluice: typeof import('#edge/toolkit/worker.ts');
let kit: typeof import('#edge/kit/plugins/plugins.ts');
beforeEach(async () => {
  vi.resetModules();
  sluice = await import('#edge/toolkit/worker.ts');
  kit = await import('#edge/kit/plugins/plugins.ts');
});

const namesInUse = () => kit.getPluginNames();

test('registered plugins have the same order, however they are listed', () => {
  sluice.createApp({ plugins: sluice.allPlugins.toReversed() });
  expect(namesInUse()).toEqual(sluice.allPlugins.map(({ name }) => name));
  sluice.createApp({ plugins: sluice.allPlugins });
  sluice.createApp();
});

test('the package exports each plugin by its name, and the class of each object that a plugin needs', () => {
  const exported = new Map<string, unknown>(Object.entries(sluice));
  const plugins = sluice.allPlugins.map(
    ({ name }) => `${name.replaceAll(/-\w/g, ([, letter = '']) => letter.toUpperCase())}`,
  );
  expect(plugins.map((name) => exported.get(name))).toEqual(sluice.allPlugins);
  const classes = sluice.allPlugins.flatMap(({ bindings = {} }) => Object.values(bindings).filter((of) => of !== null));
  expect(classes.length).toBeGreaterThan(2);
  expect(classes.filter((name) => typeof exported.get(name) !== 'function')).toEqual([]);
});

test('an option without its plugin is rejected with an error that names the plugin to add', () => {
  const tool = { description: 'Tells the time.', schema: z.object({}), run: () => 'noon' };
  expect(() => sluice.createApp({ tools: { tool } })).toThrow(
    'createApp: tools requires the plugin runs. Add `runs` to `plugins`.',
  );
  expect(() => sluice.createApp({ webhooks: [] })).toThrow('Add `webhooks` to `plugins`.');
  expect(() => sluice.createApp({ plugins: [sluice.runs] })).toThrow(
    'plugins: runs requires agents. Add it to the list.',
  );
  sluice.createApp({ plugins: [sluice.agents, sluice.runs, sluice.webhooks], tools: { tool }, webhooks: [] });
  sluice.createApp({ webhooks: [] });
  expect(() => sluice.createApp({ plugins: sluice.allPlugins })).toThrow('different `plugins`');
});
