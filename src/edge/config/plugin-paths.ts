/**
 * The plugin that provides the routes at each path. A bundle does not contain the route tables of plugins that it does not include,
 * so the paths are listed here. A test compares them with those tables.
 */
const PLUGIN_BY_PATH: readonly (readonly [paths: RegExp, plugin: string])[] = [
  [/^\/tokens\/visitor$/, 'visitors'],
  [/^\/agents(\/|$)/, 'agents'],
  [/^\/conversations\/[^/]+\/approvals(\/|$)/, 'runs'],
  [/^\/conversations\/[^/]+\/(export|fork)$/, 'transfer'],
  [/^\/accounts\/[^/]+\/(backup|conversations)(\/|$)/, 'transfer'],
  [/^\/versions\//, 'transfer'],
  [/^\/(webhooks|alerts)(\/|$)/, 'webhooks'],
  [/^\/(v1\/messages\/batches|classifications)(\/|$)/, 'batches'],
  [/^\/v1\/files(\/|$)/, 'files'],
  [/^\/classifiers\/[^/]+\/evaluate$/, 'evaluation'],
  [/^\/(accounts$|groups(\/|$)|pools\/)/, 'pools'],
  [/^\/(metrics|overview|changes)$/, 'operator'],
];

/** @returns the name of the plugin that provides the routes at a path; undefined if no plugin does */
export function findPluginOfPath(path: string): string | undefined {
  return PLUGIN_BY_PATH.find(([paths]) => paths.test(path))?.[1];
}
