import * as z from '../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../openapi/resource.ts';
import { describeJsonResponse } from '../openapi/responses.ts';
import { OPENAPI_ROUTES } from './openapi.route.ts';

export const reference: ApiResource = {
  tag: 'Reference',
  description: 'The API of the deployment, for tools.',
  errors: [404],
  routes: describeRoutes(OPENAPI_ROUTES, {
    'GET /openapi.json': {
      operation: 'getOpenApiDocument',
      summary: 'Get the OpenAPI document',
      description: 'The document contains only the routes of plugins that this deployment includes.',
      answer: describeJsonResponse(
        'The OpenAPI document.',
        z.looseObject({
          openapi: z.addDescription(z.string(), 'The version of the OpenAPI specification.'),
          paths: z.addDescription(z.looseObject({}), 'The operations by path and method.'),
        }),
        { openapi: '3.1.1', paths: { '/health': { get: { operationId: 'health' } } } },
      ),
    },
  }),
};
