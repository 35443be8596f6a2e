import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { METRICS_ROUTES } from './metrics.route.ts';

const example = `# TYPE sluice_requests counter
sluice_requests_total{model="claude-haiku-5-5"} 12
# EOF
`;

const TEXT_EXAMPLE = `# TYPE sluice_requests_total counter
sluice_requests_total{model="claude-haiku-5-5"} 12
`;

export const metrics: ApiResource = {
  tag: 'Metrics',
  description: 'Metrics for Prometheus, of all accounts and of the responding isolate.',
  routes: describeRoutes(METRICS_ROUTES, {
    'GET /metrics': {
      operation: 'metrics',
      summary: 'Retrieve metrics as OpenMetrics text',
      description:
        'The metrics describe all accounts. Counters count the current day (UTC), so they are reset at midnight. With `?isolate`, metrics named `sluice_isolate_…` describe the responding isolate since its start, which the label `isolate` identifies. `Accept` chooses the format: OpenMetrics 1.0.0, or Prometheus text 0.0.4 (default). `docs/grafana.json` is a dashboard, and `docs/alerts.yml` contains alert rules.',
      answer: {
        description: 'The metrics.',
        content: [
          { type: 'application/openmetrics-text', schema: z.string(), example },
          { type: 'text/plain', schema: z.string(), example: TEXT_EXAMPLE },
        ],
      },
    },
  }),
};
