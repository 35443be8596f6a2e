import { jsonAnswer, linesContent } from '../../kit/reference/answers.ts';
import { type Resource, words } from '../../kit/reference/resource.ts';
import { classificationBatch, runningClassification } from '../../named/classify/classification.reference.ts';
import { CLASSIFICATION_ROUTES } from './classifications.route.ts';

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
