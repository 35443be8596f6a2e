import * as z from '../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../openapi/resource.ts';
import { describeJsonResponse } from '../openapi/responses.ts';
import { HEALTH_ROUTES } from './health.route.ts';
import { healthAnswer } from './health-answers.schema.ts';

const healthQuery = z.object({
  strict: z.createOptionalField(
    z.literal(''),
    'Answers 503 instead of 200 while the edge is degraded and no other upstream is left.',
  ),
  upstreams: z.createOptionalField(z.literal(''), 'Asks for the state of each upstream too; needs the scope `admin`.'),
});

export const health: ApiResource = {
  tag: 'Health',
  description: 'Whether the edge lives.',
  routes: describeRoutes(HEALTH_ROUTES, {
    'GET /health': {
      operation: 'health',
      summary: 'Check the health of the deployment',
      description:
        'With `?upstreams` an admin gets the state of each upstream. With `?strict` the status is 503 while every upstream refuses the deployment.',
      query: healthQuery,
      answer: describeJsonResponse('It lives.', healthAnswer, {
        status: 'ok',
        upstream: 'anthropic',
        plugins: ['agents', 'webhooks'],
      }),
    },
  }),
};
