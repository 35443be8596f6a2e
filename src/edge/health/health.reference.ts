import * as z from '../kit/http/zod.ts';
import { errorSchema } from '../openapi/errors.ts';
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
      answers: {
        503: describeJsonResponse(
          'With `strict`: the health while every upstream rejects the deployment. With `upstreams`: an error if the account of the credential cannot be reached.',
          z.union([healthAnswer, errorSchema]),
          {
            status: 'degraded',
            upstream: 'anthropic',
            plugins: ['agents', 'webhooks'],
            since: '2026-11-20T10:06:16.310Z',
            todo: 'Replace the key: npx wrangler secret put ANTHROPIC_API_KEY',
          },
        ),
      },
    },
  }),
};
