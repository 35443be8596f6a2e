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
    'Many requests at half price, as in the Claude API. A batch belongs to the account that created it. When it ends, Sluice sends the signed event `batch.ended` (Standard Webhooks), with the same id in each attempt.',
  parameters: { id: { description: 'The id of the batch.', example: id } },
  routes: describeRoutes(BATCH_ROUTES, {
    'POST /v1/messages/batches': {
      operation: 'createBatch',
      summary: 'Create a batch, or estimate its cost',
      description:
        'The body can have at most `MAX_BATCH_BYTES`, and each item at most 16 MB. Items can use a `prefix`. The maximum cost of all items, at half price, is held until the batch ends. A repeated request with the same `idempotency-key` returns the same batch.',
      body: { schema: createBatchRequest, example: body },
      answer: {
        description: 'The batch. With `dry_run=true`: the estimate of its cost.',
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
        'A page of the list.',
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
      answer: describeJsonResponse('Confirms the deletion.', deletedBatch, { id, type: 'message_batch_deleted' }),
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
        description: 'The results, one JSON object per line.',
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
