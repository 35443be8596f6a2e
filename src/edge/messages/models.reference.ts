import { pageSchema } from '../kit/http/page.ts';
import * as z from '../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse, describePageResponse } from '../openapi/responses.ts';
import { MODEL_ROUTES } from './models.route.ts';
import { modelAnswer } from './models-answers.schema.ts';

const schema = z.addReferenceMeta(modelAnswer, { id: 'Model' });
const example = {
  type: 'model',
  id: 'claude-haiku-5-5',
  display_name: 'Claude Haiku 5.5',
  created_at: '2026-10-01T00:00:00Z',
  max_input_tokens: 1_000_000,
  max_tokens: 128_000,
  lifecycle: 'active',
  retires_at: null,
  line: 'haiku',
  thinking: { default: 'adaptive', types: ['adaptive', 'disabled'], off_efforts: ['low', 'medium', 'high'] },
  efforts: ['low', 'medium', 'high', 'xhigh', 'max'],
  default_effort: 'medium',
  fast_until: null,
  minimum_cacheable_tokens: 512,
  replacement: null,
  prices: {
    input: 0.1,
    output: 0.5,
    cache_write_5m: 0.125,
    cache_write_1h: 0.2,
    cache_read: 0.01,
    batch: { input: 0.05, output: 0.25, cache_write_5m: 0.0625, cache_write_1h: 0.1, cache_read: 0.005 },
  },
};

const list = {
  summary: 'List models',
  query: pageSchema,
  answer: describePageResponse(
    createNamedListSchema('ModelList', schema),
    example,
    example.id,
    'The upstream’s models that the account can use.',
  ),
  errors: [429, 504, 529],
} as const;

const one = {
  summary: 'Retrieve a model',
  answer: describeJsonResponse('The model.', schema, example),
  errors: [404, 429, 504, 529],
} as const;

export const models: ApiResource = {
  tag: 'Models',
  description: 'The available models, with their limits, prices, features and retirement dates.',
  parameters: { id: { description: 'A model’s id, or an alias of this deployment.', example: 'claude-haiku-5-5' } },
  routes: describeRoutes(MODEL_ROUTES, {
    'GET /models': { ...list, operation: 'listModels' },
    'GET /v1/models': { ...list, operation: 'listModelsV1' },
    'GET /models/:id': { ...one, operation: 'getModel' },
    'GET /v1/models/:id': { ...one, operation: 'getModelV1' },
  }),
};
