import { type ApiResource, describeRoutes } from '../openapi/resource.ts';
import { describeJsonResponse } from '../openapi/responses.ts';
import { HEALTH_ROUTES } from './health.route.ts';
import { healthAnswer } from './health-answers.schema.ts';

export const health: ApiResource = {
  tag: 'Health',
  description: 'The health of the deployment.',
  routes: describeRoutes(HEALTH_ROUTES, {
    'GET /health': {
      operation: 'health',
      summary: 'Check the health of the deployment',
      description:
        'With `?upstreams` and the scope `admin:metrics`, the response contains the state of each upstream. With `?strict`, the status is 503 while every upstream rejects the deployment.',
      errors: [401, 403, 429],
      answer: describeJsonResponse('The health of the deployment.', healthAnswer, {
        status: 'ok',
        upstream: 'anthropic',
        plugins: ['agents', 'webhooks'],
      }),
    },
  }),
};
