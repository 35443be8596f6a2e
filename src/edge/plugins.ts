import { agents } from './plugins/agents/plugin.ts';
import { batches } from './plugins/batches/plugin.ts';
import { clouds } from './plugins/clouds/plugin.ts';
import { evaluation } from './plugins/evaluation/plugin.ts';
import { files } from './plugins/files/plugin.ts';
import { operator } from './plugins/operator/plugin.ts';
import type { Plugin } from './plugins/plugin.ts';
import { pools } from './plugins/pools/plugin.ts';
import { runs } from './plugins/runs/plugin.ts';
import type { ToolsOptions } from './plugins/runs/tools/worker-tools.ts';
import { summaries } from './plugins/summaries/plugin.ts';
import { transfer } from './plugins/transfer/plugin.ts';
import { visitors } from './plugins/visitors/plugin.ts';
import { webhooks } from './plugins/webhooks/plugin.ts';
import type { WebhooksOptions } from './plugins/webhooks/webhooks.route.ts';

/** All plugins, in the one order in which the core asks them. A new feature is a new line. */
export const PLUGINS: readonly Plugin[] = [
  visitors,
  agents,
  summaries,
  runs,
  transfer,
  webhooks,
  batches,
  files,
  evaluation,
  clouds,
  pools,
  operator,
];

/** What a Worker decides in its own code for plugins. */
export interface PluginOptions<Inputs extends object = Record<string, unknown>>
  extends WebhooksOptions,
    ToolsOptions<Inputs> {}
