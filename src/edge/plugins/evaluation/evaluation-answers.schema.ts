import { classifyUsage } from '../../classify/classify-answers.schema.ts';
import { count, createObjectTypeSchema, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

const share = z.nullable(z.number().check(z.gte(0), z.lte(1)));

const mistake = z.object({
  id: z.string(),
  input: z.string(),
  expected: z.array(z.string()),
  given: z.addDescription(z.nullable(z.array(z.string())), 'null: no valid answer.'),
  confidence: z.nullable(z.number()),
});

/** The report on one version with one model. */
export const evaluationReport = z.object({
  type: createObjectTypeSchema('evaluation'),
  name: z.string(),
  version: z.string(),
  model: z.string(),
  examples: z.addDescription(count, 'Examples that were judged: those that were not asked at all stand in `skipped`.'),
  accuracy: z.addDescription(share, 'Exactly the labels expected; no valid answer is wrong.'),
  macro_f1: share,
  labels: z.array(
    z.object({
      label: z.string(),
      support: count,
      true_positives: count,
      false_positives: count,
      false_negatives: count,
      precision: z.addDescription(share, 'null: never given.'),
      recall: z.addDescription(share, 'null: no example has it.'),
      f1: share,
    }),
  ),
  confusion: z.addDescription(
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
  skipped: z.addDescription(
    z.array(z.object({ id: z.string(), error: z.object({ type: z.string(), message: z.string() }) })),
    'Not judged: a limit, or an upstream that could not answer, says nothing of the classifier.',
  ),
  usage: classifyUsage,
  cost_usd: usd,
  cost_per_thousand_usd: z.addDescription(
    z.nullable(usd),
    'What a thousand such examples cost; null where none was judged.',
  ),
});

export type EvaluationReport = z.output<typeof evaluationReport>;
