import * as z from '../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../openapi/resource.ts';
import { describeJsonResponse } from '../openapi/responses.ts';
import { HEALTH_ROUTES } from './health.route.ts';
import { healthAnswer } from './health-answers.schema.ts';

const healthQuery = z.object({
  strict: z.createOptionalField(
    z.literal(''),
    'Returns 503 instead of 200 while the deployment is degraded and no other upstream is available.',
  ),
  upstreams: z.createOptionalField(
    z.literal(''),
    'Includes the state of each upstream. Requires the scope `admin:metrics`.',
  ),
});

export const health: ApiResource = {
  tag: 'Health',
  description: 'The health of the deployment.',
  routes: describeRoutes(HEALTH_ROUTES, {
    'GET /health': {
      operation: 'health',
      summary: 'Check the health of the deployment',
      description:
        'With `?upstreams` and the scope `admin:metrics`, the response contains the state of each upstream. With `?strict`, the status is 503 while every upstream rejects the deployment.',
      query: healthQuery,
      answer: describeJsonResponse('The health of the deployment.', healthAnswer, {
        status: 'ok',
        upstream: 'anthropic',
        plugins: ['agents', 'webhooks'],
      }),
    },
  }),
};
