import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { METRICS_ROUTES } from './metrics.route.ts';

const example = `# TYPE sluice_requests counter
sluice_requests_total{model="claude-haiku-5-5"} 12
# EOF
`;

export const metrics: ApiResource = {
  tag: 'Metrics',
  description: 'Metrics for Prometheus, of all accounts and of the responding isolate.',
  routes: describeRoutes(METRICS_ROUTES, {
    'GET /metrics': {
      operation: 'metrics',
      summary: 'Retrieve metrics as OpenMetrics text',
      description:
        'Metrics named `sluice_isolate_…` describe the responding isolate since its start, which the label `isolate` identifies. All other metrics describe all accounts. They count the current day (UTC), so they are reset at midnight. `docs/grafana.json` is a dashboard for these metrics.',
      answer: {
        description: 'The metrics.',
        content: [{ type: 'application/openmetrics-text', schema: z.string(), example }],
      },
    },
  }),
};
