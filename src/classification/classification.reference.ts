import { pageSchema } from '../http/page.ts';
import * as z from '../http/zod.ts';
import type { Content, Resource } from '../reference/resource.ts';
import { nameList, versionList } from '../versions/versions.reference.ts';
import { putClassifier } from './classifiers.schema.ts';
import { classifierContent, classifierDeleted } from './classifiers-answers.schema.ts';
import { classifyRequest } from './classify.schema.ts';
import { classifyAnswer, classifyResults } from './classify-answers.schema.ts';
import { evaluateRequest } from './evaluation.schema.ts';
import { evaluation } from './evaluation-answers.schema.ts';

const version = 'tickets@de2c16f90b30cb81a5d9fa6ff0b5cb2e';
const labels = [{ name: 'billing', description: 'charges, invoices, refunds' }, { name: 'bug' }, { name: 'other' }];
const row = {
  type: 'classifier',
  name: 'tickets',
  version,
  owner: 'account',
  description: null,
  bytes: 141,
  created_at: '2026-11-20T10:06:16.310Z',
  updated_at: '2026-11-20T10:06:16.310Z',
};
const stored = {
  type: 'classifier',
  name: 'tickets',
  version,
  owner: 'account',
  labels,
  multi: false,
  allow_none: false,
};
const usage = {
  input_tokens: 259,
  output_tokens: 9,
  cache_read_input_tokens: 0,
  cache_creation_input_tokens: 0,
};
const askOnce = { label: 'billing', confidence: null, fields: null, cached: false };
const spent = { usage, cost_usd: 0.0000304, model: 'claude-haiku-5-5' };
const headers = ['sluice-cost-usd', 'sluice-upstream', 'anthropic-ratelimit-requests-remaining'] as const;

const lines = [
  { type: 'result', id: 'a', ...askOnce, error: null },
  { type: 'summary', ...spent },
];
const jsonLines: Content = {
  type: 'application/jsonl',
  schema: z.string(),
  example: lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
};
const events: Content = {
  type: 'text/event-stream',
  schema: z.string(),
  example: lines.map((line) => `event: ${line.type}\ndata: ${JSON.stringify(line)}\n\n`).join(''),
};
const STREAMS =
  'With `stream: true` each result is a server-sent event; with `accept: application/jsonl` a line of JSON. The last one has the type `summary`: without it the stream was cut.';

const perLabel = {
  support: 1,
  true_positives: 1,
  false_positives: 0,
  false_negatives: 0,
  precision: 1,
  recall: 1,
  f1: 1,
};
const never = {
  support: 0,
  true_positives: 0,
  false_positives: 0,
  false_negatives: 0,
  precision: null,
  recall: null,
  f1: null,
};

const evaluationContent: Content = {
  schema: z.union([
    z.withMeta(classifyResults, { id: 'Classifications' }),
    z.withMeta(classifyAnswer, { id: 'Classification' }),
  ]),
  example: { ...askOnce, ...spent },
};

const classifier = z.withMeta(classifierContent, { id: 'Classifier' });

export const classification: Resource = {
  tag: 'Classification',
  description: 'Labels for texts, always of those that were given, and how good they are.',
  parameters: { name: { description: 'Its name; where it is read, `name@version` too.', example: 'tickets' } },
  routes: {
    'POST /classify': {
      operation: 'classify',
      summary: 'Label a text, or up to 256 of them',
      description: `Several are answered in their order, each admitted and paid for by itself: one that is refused has an error of its own. An answer that is kept is free, and says so.\n\n${STREAMS}`,
      needs: 'classify',
      body: {
        schema: z.withMeta(classifyRequest, { id: 'ClassifyRequest' }),
        example: { input: 'I was charged twice', labels },
      },
      answers: {
        200: {
          description: 'One answer for `input`; `results` and their sum for `inputs`.',
          content: [evaluationContent, events, jsonLines],
          headers,
        },
      },
      errors: [404, 429, 503, 504, 529],
    },
    'GET /classifiers': {
      operation: 'listClassifiers',
      summary: 'List the classifiers that one can use',
      needs: 'classify',
      query: pageSchema,
      answers: {
        200: {
          description: 'A page of them, in the order of their names.',
          content: [
            {
              schema: nameList,
              example: { data: [row], has_more: false, first_id: 'tickets', last_id: 'tickets' },
            },
          ],
        },
      },
    },
    'PUT /classifiers/:name': {
      operation: 'putClassifier',
      summary: 'Store a version, or point the name at one',
      description: 'What an admin stores is the deployment’s, for every account.',
      needs: 'prefixes',
      body: {
        schema: z.withMeta(
          z.union([
            z.withMeta(putClassifier.fields, { id: 'ClassifierFields' }),
            z.withMeta(putClassifier.pointer, { id: 'ClassifierPointer' }),
          ]),
          { id: 'ClassifierRequest' },
        ),
        example: { labels },
      },
      answers: {
        200: {
          description: 'The version that the name points to now.',
          content: [{ schema: classifier, example: stored }],
        },
      },
      errors: [429, 503],
    },
    'GET /classifiers/:name': {
      operation: 'getClassifier',
      summary: 'Read a version',
      needs: 'classify',
      answers: {
        200: {
          description: 'All that it is made of.',
          content: [{ schema: classifier, example: stored }],
        },
      },
      errors: [503],
    },
    'GET /classifiers/:name/versions': {
      operation: 'listClassifierVersions',
      summary: 'Page through its versions, newest first',
      needs: 'classify',
      query: pageSchema,
      answers: {
        200: {
          description: 'A page of them.',
          content: [
            {
              schema: versionList,
              example: {
                data: [
                  {
                    type: 'classifier_version',
                    version,
                    current: true,
                    description: null,
                    bytes: 141,
                    created_at: '2026-11-20T10:06:16.310Z',
                  },
                ],
                has_more: false,
                first_id: version,
                last_id: version,
              },
            },
          ],
        },
      },
    },
    'POST /classifiers/:name/evaluate': {
      operation: 'evaluateClassifier',
      summary: 'Try it on labelled examples',
      description: `Several versions and models side by side: accuracy, F1, precision and recall of each label, the confusion matrix, the cost of a thousand, the mistakes themselves. Nothing comes from the cache.\n\n${STREAMS} Progress is told after each example.`,
      needs: 'classify',
      body: {
        schema: z.withMeta(evaluateRequest, { id: 'EvaluateRequest' }),
        example: { examples: [{ input: 'I was charged twice', label: 'billing' }] },
      },
      answers: {
        200: {
          description: 'A report for each version and model.',
          content: [
            {
              schema: z.withMeta(evaluation, { id: 'Evaluation' }),
              example: {
                type: 'evaluation',
                name: 'tickets',
                candidates: [
                  {
                    version,
                    model: 'claude-haiku-5-5',
                    examples: 1,
                    accuracy: 1,
                    macro_f1: 1,
                    labels: [
                      { label: 'billing', ...perLabel },
                      { label: 'bug', ...never },
                      { label: 'other', ...never },
                    ],
                    confusion: null,
                    mistakes: [],
                    skipped: [],
                    usage,
                    cost_usd: 0.0000304,
                    cost_per_thousand_usd: 0.0304,
                  },
                ],
                usage,
                cost_usd: 0.0000304,
              },
            },
            events,
            jsonLines,
          ],
          headers,
        },
      },
      errors: [503],
    },
    'DELETE /classifiers/:name': {
      operation: 'deleteClassifier',
      summary: 'Take the name away',
      needs: 'prefixes',
      answers: {
        200: {
          description: 'It is gone.',
          content: [{ schema: classifierDeleted, example: { type: 'classifier_deleted', name: 'tickets' } }],
        },
      },
      errors: [503],
    },
  },
};
