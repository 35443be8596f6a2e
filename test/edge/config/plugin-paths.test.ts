import { expect, test } from 'vitest';
import { createApp } from '#edge/app.ts';
import { findPluginOfPath } from '#edge/config/plugin-paths.ts';
import { PLUGINS } from '#edge/plugins.ts';

test('each route of a plugin, and no route of the core, belongs to the plugin that provides it', () => {
  const paths = createApp({ plugins: PLUGINS }).routes.map(({ path }) => path);
  const routes = [...new Set(paths)].filter((path) => !path.endsWith('*'));
  const getProvider = (path: string) =>
    PLUGINS.find(({ routes = [] }) => routes.some(({ name }) => name.endsWith(` ${path}`)))?.name;
  expect(routes.length).toBeGreaterThan(40);
  expect(routes.map((path) => [path, findPluginOfPath(path)])).toEqual(routes.map((path) => [path, getProvider(path)]));
});
