import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { METRICS_ROUTES } from './metrics.route.ts';

const example = `# TYPE sluice_requests counter
sluice_requests_total{model="claude-haiku-5-5"} 12
# EOF
`;

export const metrics: ApiResource = {
  tag: 'Metrics',
  description: 'What Prometheus reads: of all accounts, and of the isolate that answers.',
  routes: describeRoutes(METRICS_ROUTES, {
    'GET /metrics': {
      operation: 'metrics',
      summary: 'Retrieve metrics as OpenMetrics text',
      description:
        '`sluice_isolate_…` is of the isolate that answers, since its start; its label `isolate` tells it apart. All others are of all accounts: counters of this day in UTC, so they begin anew at midnight. `docs/grafana.json` is a dashboard of them.',
      answer: {
        description: 'The metrics.',
        content: [{ type: 'application/openmetrics-text', schema: z.string(), example }],
      },
    },
  }),
};
