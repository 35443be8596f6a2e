import { batchExample, runningBatchExample } from '../../classify/classification.reference.ts';
import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse, describePageResponse } from '../../openapi/responses.ts';
import { BATCH_ROUTES } from './batches.route.ts';
import { createBatchRequest } from './batches.schema.ts';
import { batchEstimate, deletedBatch } from './batches-answers.schema.ts';

const { id } = runningBatchExample;
const example = {
  ...runningBatchExample,
  processing_status: 'ended',
  request_counts: { processing: 0, succeeded: 1, errored: 0, canceled: 0, expired: 0 },
  ended_at: '2026-11-20T10:31:02.000Z',
  results_url: `https://claude.example.com/v1/messages/batches/${id}/results`,
  cost_usd: 0.0001546,
};
const body = {
  requests: [
    {
      custom_id: 'ticket-1',
      params: {
        model: 'claude-haiku-5-5',
        max_tokens: 2_048,
        messages: [{ role: 'user', content: 'Where is my order?' }],
      },
    },
  ],
};

export const batches: ApiResource = {
  tag: 'Batches',
  description:
    'Many requests at half price, as the API has them. A batch belongs to the account that made it. Its end is told, signed after Standard Webhooks: `batch.ended`, under one id however often it is tried.',
  parameters: { id: { description: 'A batch’s id.', example: id } },
  routes: describeRoutes(BATCH_ROUTES, {
    'POST /v1/messages/batches': {
      operation: 'createBatch',
      summary: 'Create a batch, or estimate its cost',
      description:
        'At most MAX_BATCH_BYTES; an item has at most 16 MB, and may name a `prefix`. The whole is held at half price until it has ended. To send it again with the same `idempotency-key` answers the same batch.',
      body: { schema: createBatchRequest, example: body },
      answer: {
        description: 'The batch; with `dry_run=true` what it would cost.',
        content: [
          {
            schema: z.union([batchExample, z.addReferenceMeta(batchEstimate, { id: 'MessageBatchEstimate' })]),
            example: runningBatchExample,
          },
        ],
      },
      errors: [404, 429, 503, 504, 529],
    },
    'GET /v1/messages/batches': {
      operation: 'listBatches',
      summary: 'List batches, newest first',
      answer: describePageResponse(
        createNamedListSchema('MessageBatchList', batchExample),
        example,
        example.id,
        'A page of them.',
      ),
    },
    'GET /v1/messages/batches/:id': {
      operation: 'getBatch',
      summary: 'Retrieve a batch',
      answer: describeJsonResponse('The batch.', batchExample, example),
    },
    'DELETE /v1/messages/batches/:id': {
      operation: 'deleteBatch',
      summary: 'Delete an ended batch and its results',
      answer: describeJsonResponse('What is left of it.', deletedBatch, { id, type: 'message_batch_deleted' }),
      errors: [400, 503],
    },
    'POST /v1/messages/batches/:id/cancel': {
      operation: 'cancelBatch',
      summary: 'Cancel a batch',
      answer: describeJsonResponse('The batch.', batchExample, {
        ...runningBatchExample,
        processing_status: 'canceling',
        cancel_initiated_at: '2026-11-20T10:07:00.000Z',
      }),
    },
    'GET /v1/messages/batches/:id/results': {
      operation: 'getBatchResults',
      summary: 'Retrieve the results of a batch',
      answer: {
        description: 'One JSON object a line.',
        content: [
          {
            type: 'application/x-jsonl',
            schema: z.string(),
            example: '{"custom_id":"ticket-1","result":{"type":"expired"}}\n',
          },
        ],
      },
      errors: [503],
    },
  }),
};
