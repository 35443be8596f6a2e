import * as z from 'zod';
import { classifierContent, classifierDeleted, putClassifier } from '../schemas/classifiers.ts';
import { classifyAnswer, classifyRequest, classifyResults } from '../schemas/classify.ts';
import { evaluateRequest, evaluation } from '../schemas/evaluation.ts';
import { pageSchema } from '../schemas/page.ts';
import type { Content, Resource } from './route.ts';
import { namesAnswer, versionsAnswer } from './versions.ts';

const version = 'tickets@5d1d04b14e4cd0cc3a5e3c62b2c3f0a1';
const stored = { type: 'classifier', name: 'tickets', version, description: 'What a ticket is about', bytes: 214 };
const fields = {
  labels: [{ name: 'bug', description: 'Something does not work' }, { name: 'question' }],
  multi: false,
  allow_none: false,
  description: 'What a ticket is about',
};
const usage = {
  input_tokens: 180,
  output_tokens: 12,
  cache_read_input_tokens: 0,
  cache_creation_input_tokens: 0,
};
const answered = { label: 'bug', confidence: null, fields: null, cached: false };
const spent = { usage, cost_usd: 0.000024, model: 'claude-haiku-5-5' };
const content = {
  schema: classifierContent.meta({ id: 'Classifier' }),
  example: { type: 'classifier', name: 'tickets', version, owner: 'account', ...fields },
};

const results = [
  { type: 'result', id: 'a', ...answered, error: null },
  { type: 'summary', ...spent },
];
const events: Content = {
  type: 'text/event-stream',
  schema: z.string().meta({
    id: 'ResultEvents',
    description:
      'Events `result`, in the order of the inputs, and at the end `summary`; without it the stream was cut.',
  }),
  example: results.map((result) => `event: ${result.type}\ndata: ${JSON.stringify(result)}\n\n`).join(''),
};
const lines: Content = {
  type: 'application/jsonl',
  schema: z.string().meta({ id: 'ResultLines', description: 'The same as JSON lines, where `accept` asks for them.' }),
  example: results.map((result) => `${JSON.stringify(result)}\n`).join(''),
};

const candidate = {
  version,
  model: 'claude-haiku-5-5',
  examples: 2,
  accuracy: 0.5,
  macro_f1: 0.333333333,
  labels: [
    {
      label: 'bug',
      support: 1,
      true_positives: 1,
      false_positives: 1,
      false_negatives: 0,
      precision: 0.5,
      recall: 1,
      f1: 0.666666667,
    },
    {
      label: 'question',
      support: 1,
      true_positives: 0,
      false_positives: 0,
      false_negatives: 1,
      precision: null,
      recall: 0,
      f1: 0,
    },
  ],
  confusion: [
    { expected: 'bug', given: [{ label: 'bug', count: 1 }], unanswered: 0 },
    { expected: 'question', given: [{ label: 'bug', count: 1 }], unanswered: 0 },
  ],
  mistakes: [{ id: '1', input: 'How do I sign in?', expected: ['question'], given: ['bug'], confidence: null }],
  skipped: [],
  usage,
  cost_usd: 0.000024,
  cost_per_thousand_usd: 0.012,
};

export const classification: Resource = {
  tag: 'Classification',
  description: 'Labels for texts: always one of those given. Classifiers are stored by version, and can be evaluated.',
  parameters: { name: { description: 'Its name; where it is read, `name@version` too.', example: 'tickets' } },
  routes: {
    'POST /classify': {
      operation: 'classify',
      summary: 'Label one text or many',
      description: 'Each input is admitted, paid for and answered by itself: what fails with one is its own error.',
      needs: 'classify',
      body: {
        schema: classifyRequest.meta({ id: 'ClassifyRequest' }),
        example: { input: 'The page stays empty after I sign in.', labels: ['bug', 'question'] },
      },
      answers: {
        200: {
          description: 'Of one input its label; of several their results, in their order.',
          content: [
            {
              schema: z
                .union([classifyAnswer.meta({ id: 'ClassifyAnswer' }), classifyResults.meta({ id: 'ClassifyResults' })])
                .meta({ id: 'Classification' }),
              example: { ...answered, ...spent },
            },
            events,
            lines,
          ],
          headers: ['sluice-cost-usd', 'sluice-upstream'],
        },
      },
      errors: [404, 429, 503, 504, 529],
    },
    'GET /classifiers': {
      operation: 'listClassifiers',
      summary: 'List the classifiers that one can use',
      needs: 'classify',
      query: pageSchema,
      answers: { 200: namesAnswer(stored) },
    },
    'PUT /classifiers/:name': {
      operation: 'putClassifier',
      summary: 'Store a version, or point the name at one',
      description: 'What an admin stores is the deployment’s, for every account.',
      needs: 'prefixes',
      body: {
        schema: z
          .union([
            putClassifier.fields.meta({ id: 'ClassifierFields' }),
            putClassifier.pointer.meta({ id: 'ClassifierPointer' }),
          ])
          .meta({ id: 'ClassifierRequest' }),
        example: fields,
      },
      answers: { 200: { description: 'The version that the name points to now.', content: [content] } },
      errors: [503],
    },
    'GET /classifiers/:name': {
      operation: 'getClassifier',
      summary: 'Read a version',
      needs: 'classify',
      answers: { 200: { description: 'All that it is made of.', content: [content] } },
      errors: [503],
    },
    'GET /classifiers/:name/versions': {
      operation: 'listClassifierVersions',
      summary: 'Page through its versions, newest first',
      needs: 'classify',
      query: pageSchema,
      answers: { 200: versionsAnswer(stored) },
    },
    'POST /classifiers/:name/evaluate': {
      operation: 'evaluateClassifier',
      summary: 'Measure it on labelled examples',
      description: 'Over one or several versions and models side by side. Each example is paid for.',
      needs: 'classify',
      body: {
        schema: evaluateRequest.meta({ id: 'EvaluateRequest' }),
        example: {
          examples: [
            { input: 'The page stays empty.', label: 'bug' },
            { input: 'How do I sign in?', label: 'question' },
          ],
        },
      },
      answers: {
        200: {
          description: 'A report for each candidate.',
          content: [
            {
              schema: evaluation.meta({ id: 'Evaluation' }),
              example: { type: 'evaluation', name: 'tickets', candidates: [candidate], usage, cost_usd: 0.000024 },
            },
            {
              type: 'text/event-stream',
              schema: z.string().meta({
                id: 'EvaluationEvents',
                description: 'Events `progress`, `candidate` for each, and at the end `summary`.',
              }),
              example: `event: candidate\ndata: ${JSON.stringify({ type: 'candidate', ...candidate })}\n\n`,
            },
          ],
          headers: ['sluice-cost-usd', 'sluice-upstream'],
        },
      },
      errors: [429],
    },
    'DELETE /classifiers/:name': {
      operation: 'deleteClassifier',
      summary: 'Delete a classifier',
      description: 'Its versions stay for those who name them: `name@version`.',
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
