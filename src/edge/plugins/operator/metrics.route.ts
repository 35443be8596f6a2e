import { defineRoute } from '../../auth/route.ts';
import { getUpstreamOfContext } from '../../claude/upstream.ts';
import type { MetricFamily } from '../../health/plugin-hooks.ts';
import { getPluginMembers } from '../../kit/plugins/plugins.ts';
import { createIsolateMetricFamilies } from './isolate-families.ts';

/** Metrics for Prometheus: what plugins tell, such as the sums of the deployment's pool, and the counts of this isolate. */
export const METRICS_ROUTES = [
  defineRoute('GET /metrics', { needs: 'admin:metrics' }, async (c) => {
    const { pool } = getUpstreamOfContext(c);
    const families = await Promise.all(getPluginMembers('metrics').map((tell) => tell(c, pool)));
    return c.text(formatMetrics([...families.flat(), ...createIsolateMetricFamilies(pool, Date.now())]), 200, {
      'content-type': OPEN_METRICS,
    });
  }),
];

const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** @returns the text of these metrics, each name of which must be there once */
function formatMetrics(families: readonly MetricFamily[]): string {
  const lines = families.flatMap(({ name, type, help, samples }) => [
    `# HELP ${name} ${escapeLabel(help)}`,
    `# TYPE ${name} ${type}`,
    ...samples.map(({ suffix = '', labels = {}, value }) => `${name}${suffix}${formatLabels(labels)} ${value}`),
  ]);
  return `${lines.join('\n')}\n# EOF\n`;
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeLabel(text: string): string {
  return text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n');
}
