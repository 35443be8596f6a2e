import { accepts } from 'hono/accepts';
import { defineRoute } from '../../auth/route.ts';
import { getUpstreamOfContext } from '../../claude/upstream.ts';
import type { MetricFamily } from '../../health/plugin-hooks.ts';
import { flagSchema } from '../../kit/http/page.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { getPluginMembers } from '../../kit/plugins/plugins.ts';
import { createIsolateMetricFamilies } from './isolate-families.ts';

const metricsQuery = z.object({
  isolate: z.createOptionalField(
    flagSchema,
    'Includes metrics of the responding isolate. A scrape reaches only one of many isolates, so these metrics are samples.',
  ),
});

/**
 * Metrics for Prometheus: those of plugins, such as the sums of the deployment's pool; with `?isolate` also the counts of this
 * isolate.
 */
export const METRICS_ROUTES = [
  defineRoute('GET /metrics', { needs: 'admin:metrics', query: metricsQuery }, async (c, { query }) => {
    const { isolate } = validateBySchema(query, c.req.query());
    const { pool } = getUpstreamOfContext(c);
    const families = await Promise.all(getPluginMembers('metrics').map((tell) => tell(c, pool)));
    const ofIsolate = isolate === undefined ? [] : createIsolateMetricFamilies(pool, Date.now());
    const all = [createVersionFamily(c.env.CF_VERSION_METADATA?.id), ...families.flat(), ...ofIsolate];
    const isOpenMetrics = accepts(c, ACCEPTED) === OPEN_METRICS;
    return c.text(formatMetrics(all, isOpenMetrics), 200, {
      'content-type': isOpenMetrics ? OPEN_METRICS_TYPE : TEXT_TYPE,
    });
  }),
];

const OPEN_METRICS = 'application/openmetrics-text';
const OPEN_METRICS_TYPE = `${OPEN_METRICS}; version=1.0.0; charset=utf-8`;
/** The older format, which every version of Prometheus and `promtool check metrics` read. */
const TEXT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';
const ACCEPTED = { header: 'Accept' as const, supports: [OPEN_METRICS, 'text/plain'], default: 'text/plain' };

/** @returns which version answers */
function createVersionFamily(version = ''): MetricFamily {
  return {
    name: 'sluice_build_info',
    type: 'gauge',
    help: 'The id of the deployed version that has responded, as in `wrangler deployments list`; empty without its binding.',
    samples: [{ labels: { version }, value: 1 }],
  };
}

/** @returns the text of these metrics, each name of which must be there once */
function formatMetrics(families: readonly MetricFamily[], isOpenMetrics: boolean): string {
  const lines = families.flatMap(({ name, type, help, samples }) => {
    // In the Prometheus text format, the `HELP` and `TYPE` lines name a counter with its suffix `_total`, and in OpenMetrics
    // without it: https://github.com/OpenObservability/OpenMetrics/blob/main/specification/OpenMetrics.md#counter-1
    const family = type === 'counter' && !isOpenMetrics ? `${name}_total` : name;
    return [
      `# HELP ${family} ${isOpenMetrics ? escapeLabel(help) : escapeHelp(help)}`,
      `# TYPE ${family} ${type}`,
      ...samples.map(({ suffix = '', labels = {}, value }) => `${name}${suffix}${formatLabels(labels)} ${value}`),
    ];
  });
  return `${lines.join('\n')}\n${isOpenMetrics ? '# EOF\n' : ''}`;
}

/** Escapes as the older format does, which keeps quotation marks. */
function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeLabel(text: string): string {
  return text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n');
}
