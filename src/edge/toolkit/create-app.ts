import type { Hono } from 'hono';
import { develop } from '#development';
import { type AppOptions, createApp as createEdge } from '../app.ts';
import type { AppEnv } from '../auth/context.ts';
import type { QueueHandler } from '../kit/delivery/queue.ts';
import { getPluginMembers } from '../kit/plugins/plugins.ts';
import type { PluginOptions } from '../plugins.ts';

/** The plugin that reads each of the options that a Worker passes to plugins. */
const PLUGIN_BY_OPTION: Readonly<Record<keyof PluginOptions, string>> = { webhooks: 'webhooks', tools: 'runs' };

/** The order of all plugins by their names alone: a bundler keeps the plugins that a Worker imports. */
const PLUGIN_ORDER = [
  'visitors',
  'agents',
  'summaries',
  'runs',
  'transfer',
  'webhooks',
  'batches',
  'files',
  'evaluation',
  'clouds',
  'pools',
  'operator',
];

develop();

/**
 * Makes the edge as `app.ts` does, with its plugins in whatever order they are listed.
 *
 * @throws Error as that does, and for an option whose plugin is not there
 * @example
 * const edge = createApp({ plugins: [webhooks], publicPaths: ['/status'] });
 * edge.get('/status', (c) => c.text('up'));
 * export default edge;
 */
export function createApp<Inputs extends object = Record<string, unknown>>(
  options: AppOptions<Inputs> = {},
): Hono<AppEnv> & QueueHandler {
  const plugins = options.plugins?.toSorted(
    (left, right) => PLUGIN_ORDER.indexOf(left.name) - PLUGIN_ORDER.indexOf(right.name),
  );
  const app = createEdge(plugins ? { ...options, plugins } : options);
  for (const [option, plugin] of Object.entries(PLUGIN_BY_OPTION)) {
    if (!(option in options) || getPluginMembers('options', plugin).length > 0) continue;
    throw new Error(`createApp: ${option} requires the plugin ${plugin}. Add \`${plugin}\` to \`plugins\`.`);
  }
  return app;
}
