import { batchExample, runningBatchExample } from '../../classify/classification.reference.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { describeJsonLinesContent, describeJsonResponse } from '../../openapi/responses.ts';
import { CLASSIFICATION_ROUTES } from './batches.route.ts';

const usage = { input_tokens: 259, output_tokens: 9, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
const ended = {
  ...runningBatchExample,
  processing_status: 'ended',
  request_counts: { processing: 0, succeeded: 1, errored: 0, canceled: 0, expired: 0 },
  cost_usd: 0.0000152,
  ended_at: '2026-11-20T10:31:02.000Z',
  results_url: `https://claude.example.com/classifications/${runningBatchExample.id}/results`,
};
const label = { type: 'result', id: 'a', label: 'billing', cached: false, error: null };
const summary = { type: 'summary', usage, cost_usd: ended.cost_usd, model: 'claude-haiku-5-5' };

export const classifications: ApiResource = {
  tag: 'Classifications',
  description:
    'Classifies up to 100,000 texts at half price, with `POST /classify` and `batch: true`. Each classification batch is also a message batch with the same id. When it ends, Sluice sends the event `batch.ended`.',
  parameters: { id: { description: 'The id of the classification batch.', example: runningBatchExample.id } },
  errors: [404, 503],
  routes: describeRoutes(CLASSIFICATION_ROUTES, {
    'GET /classifications/:id': {
      operation: 'getClassification',
      summary: 'Retrieve the progress and cost of a classification batch',
      answer: describeJsonResponse('The batch.', batchExample, ended),
    },
    'GET /classifications/:id/results': {
      operation: 'getClassificationResults',
      summary: 'Retrieve the results of a classification batch',
      description:
        'Returns a JSON line for each input, like a result of `POST /classify` with the input’s id, in the order of the upstream. The last line is a `summary`. If it is missing, the stream was interrupted. Results are stored for 29 days.',
      answer: { description: 'The results.', content: [describeJsonLinesContent([label, summary])] },
    },
    'POST /classifications/:id/cancel': {
      operation: 'cancelClassification',
      summary: 'Cancel a classification batch',
      description: 'The batch ends some time later. Finished results are kept, and the other inputs have an error.',
      answer: describeJsonResponse('The batch.', batchExample, {
        ...runningBatchExample,
        processing_status: 'canceling',
        cancel_initiated_at: '2026-11-20T10:07:00.000Z',
      }),
    },
  }),
};
