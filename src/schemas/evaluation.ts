import * as z from 'zod';
import { count, usd } from '../http/fields.ts';
import { MOST_VOTES } from './classifiers.ts';
import { classifyUsage } from './classify.ts';
import { messagesRequest } from './messages.ts';

export const MOST_EXAMPLES = 256;
/** Versions times models of one evaluation. */
export const MOST_CANDIDATES = 6;

const version = z.string({ error: 'Input should be a string' }).min(1).max(256);
const model = messagesRequest.shape.model.max(256);

const example = z.strictObject({
  id: z.string().min(1).max(256).optional().describe('Default: its place in the list, from 0.'),
  input: z.string({ error: 'Input should be a valid string' }),
  label: z.string().nullable().optional().describe('What it should be; null is none of the labels.'),
  labels: z.array(z.string()).optional().describe('In place of `label`, for a classifier with `multi`.'),
});

/** What `POST /classifiers/:name/evaluate` takes. */
export const evaluateRequest = z.strictObject({
  examples: z
    .array(example, { error: 'Input should be a valid list' })
    .min(1, 'Input should have at least one example')
    .max(MOST_EXAMPLES, `Input should have at most ${MOST_EXAMPLES} examples`),
  models: z.array(model).min(1).max(MOST_CANDIDATES).optional().describe('Side by side. Default: the classifier’s.'),
  versions: z
    .array(version)
    .min(1)
    .max(MOST_CANDIDATES)
    .optional()
    .describe('Side by side, each as name@version or its part behind the @. Default: what the name points to.'),
  votes: z.int().min(1).max(MOST_VOTES).optional(),
  stream: z.boolean({ error: 'Input should be a valid boolean' }).optional(),
});

const share = z.number().min(0).max(1).nullable();

const mistake = z.object({
  id: z.string(),
  input: z.string(),
  expected: z.array(z.string()),
  given: z.array(z.string()).nullable().describe('null: no valid answer.'),
  confidence: z.number().nullable(),
});

/** What one version did with one model. */
export const candidateReport = z.object({
  version: z.string(),
  model: z.string(),
  examples: count.describe('Examples that were judged: those that were not asked at all stand in `skipped`.'),
  accuracy: share.describe('Exactly the labels expected; no valid answer is wrong.'),
  macro_f1: share,
  labels: z.array(
    z.object({
      label: z.string(),
      support: count,
      true_positives: count,
      false_positives: count,
      false_negatives: count,
      precision: share.describe('null: never given.'),
      recall: share.describe('null: no example has it.'),
      f1: share,
    }),
  ),
  confusion: z
    .array(
      z.object({
        expected: z.string().nullable(),
        given: z.array(z.object({ label: z.string().nullable(), count })),
        unanswered: count,
      }),
    )
    .nullable()
    .describe('null with `multi`.'),
  mistakes: z.array(mistake),
  skipped: z
    .array(z.object({ id: z.string(), error: z.object({ type: z.string(), message: z.string() }) }))
    .describe('Not judged: a limit, or an upstream that could not answer, says nothing of the classifier.'),
  usage: classifyUsage,
  cost_usd: usd,
  cost_per_thousand_usd: usd.nullable().describe('What a thousand such examples cost; null where none was judged.'),
});

export const evaluation = z.object({
  type: z.literal('evaluation'),
  name: z.string(),
  candidates: z.array(candidateReport),
  usage: classifyUsage,
  cost_usd: usd,
});

export type EvaluateRequest = z.output<typeof evaluateRequest>;
export type CandidateReport = z.output<typeof candidateReport>;
