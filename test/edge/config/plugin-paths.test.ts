import { expect, test } from 'vitest';
import { createApp } from '#edge/app.ts';
import { findPluginOfPath } from '#edge/config/plugin-paths.ts';
import { PLUGINS } from '#edge/plugins.ts';

test('findPluginOfPath finds the plugin of each plugin route, and none for routes of the core', () => {
  const paths = createApp({ plugins: PLUGINS }).routes.map(({ path }) => path);
  const routes = [...new Set(paths)].filter((path) => !path.endsWith('*'));
  const getProvider = (path: string) =>
    PLUGINS.find(({ routes = [] }) => routes.some(({ name }) => name.endsWith(` ${path}`)))?.name;
  expect(routes.length).toBeGreaterThan(40);
  expect(routes.map((path) => [path, findPluginOfPath(path)])).toEqual(routes.map((path) => [path, getProvider(path)]));
});
