import * as z from '../../kit/http/zod.ts';
import { jsonAnswer, linesContent } from '../../kit/reference/answers.ts';
import { type Resource, words } from '../../kit/reference/resource.ts';
import { CLASSIFICATION_ROUTES } from './classifications.route.ts';
import { classificationReport } from './classifications-answers.schema.ts';

const classificationBatch = z.withMeta(classificationReport, { id: 'ClassificationBatch' });

/** A classification that runs. */
const runningClassification = {
  id: 'clsbatch_01m7w6qgcqbcyj201bk2gjctdn',
  type: 'classification_batch',
  status: 'in_progress',
  classifier: 'tickets@de2c16f90b30cb81a5d9fa6ff0b5cb2e',
  model: 'claude-haiku-5-5',
  counts: { inputs: 3, cached: 1, repeated: 1, requests: 1, processing: 3, labelled: 0, failed: 0 },
  batch: 'msgbatch_01m7w6qgcqbcyj201bk2gjctdn',
  usage: null,
  cost_usd: null,
  created_at: '2026-11-20T10:06:14.000Z',
  ended_at: null,
  results_url: null,
};

/** What `POST /classify` answers with `batch`. */
export const classifiedLater = {
  202: jsonAnswer('With `batch`: how the classification stands.', classificationBatch, runningClassification),
};

const usage = { input_tokens: 259, output_tokens: 9, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
const ended = {
  ...runningClassification,
  status: 'ended',
  counts: { ...runningClassification.counts, processing: 0, labelled: 3 },
  usage,
  cost_usd: 0.0000152,
  ended_at: '2026-11-20T10:31:02.000Z',
  results_url: `https://claude.example.com/classifications/${runningClassification.id}/results`,
};
const label = { type: 'result', id: 'a', label: 'billing', confidence: null, fields: null, cached: false, error: null };

export const classifications: Resource = {
  tag: 'Classifications',
  description:
    'Labels for up to 100,000 texts at half price: `POST /classify` with `batch: true`. The end is told, signed after Standard Webhooks: `classification.ended`, under one id however often it is tried.',
  parameters: { id: { description: 'Its id.', example: runningClassification.id } },
  errors: [404, 503],
  routes: words(CLASSIFICATION_ROUTES, {
    'GET /classifications/:id': {
      operation: 'getClassification',
      summary: 'How far it is, and what it has cost',
      answer: jsonAnswer('The classification.', classificationBatch, ended),
    },
    'GET /classifications/:id/results': {
      operation: 'getClassificationResults',
      summary: 'Its results',
      description:
        'JSON lines in the order of the inputs, each as `/classify` says it, and at the end a `summary`: without it the stream was cut. Kept for 29 days.',
      answer: {
        description: 'The results.',
        content: [linesContent([label, { type: 'summary', usage, cost_usd: ended.cost_usd, model: ended.model }])],
      },
    },
    'POST /classifications/:id/cancel': {
      operation: 'cancelClassification',
      summary: 'Cancel what no model has begun to label',
      description: 'It still has to end. What was labelled until then stays, and what was not says so.',
      answer: jsonAnswer('The classification.', classificationBatch, { ...runningClassification, status: 'canceling' }),
    },
  }),
};
