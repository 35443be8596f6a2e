import { MOST_VOTES } from './classifiers.ts';
import { classifyUsage } from './classify.ts';
import { messagesRequest } from './messages.ts';
import * as z from './zod.ts';

export const MOST_EXAMPLES = 256;
/** Versions times models of one evaluation. */
export const MOST_CANDIDATES = 6;

const usd = z.described(z.number(), 'US dollars, at most nine decimals.');
const version = z.string({ error: 'Input should be a string' }).check(z.minLength(1), z.maxLength(256));
const model = messagesRequest.shape.model.check(z.maxLength(256));

const example = z.strictObject({
  id: z.described(
    z.optional(z.string().check(z.minLength(1), z.maxLength(256))),
    'Default: its place in the list, from 0.',
  ),
  input: z.string({ error: 'Input should be a valid string' }),
  label: z.described(z.optional(z.nullable(z.string())), 'What it should be; null is none of the labels.'),
  labels: z.described(z.optional(z.array(z.string())), 'In place of `label`, for a classifier with `multi`.'),
});

/** What `POST /classifiers/:name/evaluate` takes. */
export const evaluateRequest = z.strictObject({
  examples: z
    .array(example, { error: 'Input should be a valid list' })
    .check(
      z.minLength(1, 'Input should have at least one example'),
      z.maxLength(MOST_EXAMPLES, `Input should have at most ${MOST_EXAMPLES} examples`),
    ),
  models: z.described(
    z.optional(z.array(model).check(z.minLength(1), z.maxLength(MOST_CANDIDATES))),
    'Side by side. Default: the classifier’s.',
  ),
  versions: z.described(
    z.optional(z.array(version).check(z.minLength(1), z.maxLength(MOST_CANDIDATES))),
    'Side by side, each as name@version or its part behind the @. Default: what the name points to.',
  ),
  votes: z.optional(z.int().check(z.gte(1), z.lte(MOST_VOTES))),
  stream: z.optional(z.boolean({ error: 'Input should be a valid boolean' })),
});

const share = z.nullable(z.number().check(z.gte(0), z.lte(1)));
const count = z.int().check(z.gte(0));

const mistake = z.object({
  id: z.string(),
  input: z.string(),
  expected: z.array(z.string()),
  given: z.described(z.nullable(z.array(z.string())), 'null: no valid answer.'),
  confidence: z.nullable(z.number()),
});

/** What one version did with one model. */
export const candidateReport = z.object({
  version: z.string(),
  model: z.string(),
  examples: z.described(count, 'Examples that were judged: those that were not asked at all stand in `skipped`.'),
  accuracy: z.described(share, 'Exactly the labels expected; no valid answer is wrong.'),
  macro_f1: share,
  labels: z.array(
    z.object({
      label: z.string(),
      support: count,
      true_positives: count,
      false_positives: count,
      false_negatives: count,
      precision: z.described(share, 'null: never given.'),
      recall: z.described(share, 'null: no example has it.'),
      f1: share,
    }),
  ),
  confusion: z.described(
    z.nullable(
      z.array(
        z.object({
          expected: z.nullable(z.string()),
          given: z.array(z.object({ label: z.nullable(z.string()), count })),
          unanswered: count,
        }),
      ),
    ),
    'null with `multi`.',
  ),
  mistakes: z.array(mistake),
  skipped: z.described(
    z.array(z.object({ id: z.string(), error: z.object({ type: z.string(), message: z.string() }) })),
    'Not judged: a limit, or an upstream that could not answer, says nothing of the classifier.',
  ),
  usage: classifyUsage,
  cost_usd: usd,
  cost_per_thousand_usd: z.described(
    z.nullable(usd),
    'What a thousand such examples cost; null where none was judged.',
  ),
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
