import * as z from '../kit/http/zod.ts';
import { messageBatch } from '../money/lists/batches-answers.schema.ts';
import { type ApiResource, type BodyContent, describeRoutes } from '../openapi/resource.ts';
import { describeJsonLinesContent, describeJsonResponse } from '../openapi/responses.ts';
import {
  createParameterDescriptions,
  createVersionedRoutesReference,
} from '../registry/versions/versions.reference.ts';
import { CLASSIFIER_ROUTES } from './classifiers.route.ts';
import { putClassifier } from './classifiers.schema.ts';
import { classifierContent, classifierDeleted } from './classifiers-answers.schema.ts';
import { CLASSIFY_ROUTES } from './classify.route.ts';
import { classifyAnswer, classifyResults } from './classify-answers.schema.ts';

const version = 'tickets@de2c16f90b30cb81a5d9fa6ff0b5cb2e';
const labels = [{ name: 'billing', description: 'charges, invoices, refunds' }, { name: 'bug' }, { name: 'other' }];
const schema = {
  type: 'object',
  properties: {
    priority: { type: 'string', enum: ['low', 'medium', 'high'] },
    category: { type: 'string', enum: ['billing', 'bug', 'other'] },
    requires_human: { type: 'boolean' },
  },
  required: ['priority', 'category', 'requires_human'],
};
const named = { type: 'classifier', name: 'tickets', version, owner: 'account' };
const stored = { ...named, labels, multi: false, allow_none: false };
const usage = { input_tokens: 259, output_tokens: 9, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
const singleRequest = { label: 'billing', cached: false };
const spent = { usage, cost_usd: 0.0000304, model: 'claude-haiku-5-5' };
export const batchExample = z.addReferenceMeta(messageBatch, { id: 'MessageBatch' });

/** A batch that runs; the answer to `POST /classify` with `batch`. */
export const runningBatchExample = {
  id: 'msgbatch_01m7w6qgcqbcyj201bk2gjctdn',
  type: 'message_batch',
  processing_status: 'in_progress',
  request_counts: { processing: 1, succeeded: 0, errored: 0, canceled: 0, expired: 0 },
  created_at: '2026-11-20T10:06:14.000Z',
  expires_at: '2026-11-21T10:06:14.000Z',
  ended_at: null,
  cancel_initiated_at: null,
  archived_at: null,
  results_url: null,
  cost_usd: null,
};
const headers = ['sluice-cost-usd', 'sluice-upstream', 'anthropic-ratelimit-requests-remaining'] as const;

const lines = [
  { type: 'result', id: 'a', ...singleRequest, error: null },
  { type: 'summary', ...spent },
];
const jsonLines = describeJsonLinesContent(lines);
const events: BodyContent = {
  type: 'text/event-stream',
  schema: z.string(),
  example: lines.map((line) => `event: ${line.type}\ndata: ${JSON.stringify(line)}\n\n`).join(''),
};
const STREAMS =
  'With `stream: true`, each result is a server-sent event, or a line of JSON with `accept: application/jsonl`. The last one has the type `summary`. If it is missing, the stream was interrupted.';

const evaluationContent: BodyContent = {
  schema: z.union([
    z.addReferenceMeta(classifyResults, { id: 'Classifications' }),
    z.addReferenceMeta(classifyAnswer, { id: 'Classification' }),
  ]),
  example: {
    label: 'billing',
    cached: false,
    output: { priority: 'high', category: 'billing', requires_human: true },
    ...spent,
  },
};

const classifier = z.addReferenceMeta(classifierContent, { id: 'Classifier' });

/** The fields of every response with several labels. */
export const severalLabels = { version, usage, headers, streams: STREAMS, contents: [events, jsonLines] };

export const classification: ApiResource = {
  tag: 'Classification',
  description: 'Assigns labels to texts, always from the given labels, and evaluates how accurate they are.',
  parameters: createParameterDescriptions('tickets'),
  routes: {
    ...describeRoutes(CLASSIFY_ROUTES, {
      'POST /classify': {
        operation: 'classify',
        summary: 'Classify texts',
        description: `Results are in the order of the \`inputs\`. Each input is admitted and paid for separately, and has its own error if it is rejected. Cached results are free and marked as \`cached\`.\n\n${STREAMS}`,
        body: {
          id: 'ClassifyRequest',
          example: { input: 'I was charged twice', schema },
        },
        answers: {
          200: {
            description: 'The result for `input`. For `inputs`: `results`, and their total usage and cost.',
            content: [evaluationContent, ...severalLabels.contents],
            headers,
          },
          202: describeJsonResponse('The classification batch, if `batch` is true.', batchExample, runningBatchExample),
        },
        errors: [404, 429, 503, 504, 529],
      },
    }),
    ...createVersionedRoutesReference(CLASSIFIER_ROUTES, {
      kind: 'classifier',
      title: 'Classifier',
      plural: 'classifiers',
      example: { name: 'tickets', version, description: null, bytes: 141 },
      put: {
        schemas: putClassifier,
        example: { labels },
        answer: describeJsonResponse('The current version of the name.', classifier, stored),
        errors: [429, 503],
      },
      content: { schema: classifier, example: stored },
      deleted: classifierDeleted,
      remove: { summary: 'Delete a classifier' },
    }),
  },
};
