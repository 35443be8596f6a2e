import { count, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { classifyUsage } from './classify-answers.schema.ts';

/** A classification by batch, and how far it has come. */
export const classificationReport = z.object({
  id: z.string(),
  type: z.literal('classification_batch'),
  status: z.enum(['in_progress', 'canceling', 'ended']),
  classifier: z.described(z.nullable(z.string()), 'name@version of a stored one.'),
  model: z.string(),
  counts: z.object({
    inputs: count,
    cached: z.described(count, 'Whose answer was known already: free.'),
    repeated: z.described(count, 'Equal to another one, whose answer they share.'),
    requests: z.described(count, 'What went into the batch: one for each vote of each other input.'),
    processing: z.described(count, 'Inputs without a result; none once it has ended.'),
    labelled: z.described(count, '0 until it has ended.'),
    failed: z.described(count, 'Inputs with an error of their own; 0 until it has ended.'),
  }),
  batch: z.described(z.nullable(z.string()), 'The message batch; null where every answer was known.'),
  usage: z.nullable(classifyUsage),
  cost_usd: z.described(z.nullable(usd), 'Null until it has ended.'),
  created_at: time,
  ended_at: z.nullable(time),
  results_url: z.described(z.nullable(z.string()), 'Null until it has ended.'),
});

export type ClassificationReport = z.output<typeof classificationReport>;

/** What is delivered once a classification has ended. */
const classificationEnded = z.object({
  type: z.literal('classification.ended'),
  event_id: z.described(z.string(), 'The same however often it is delivered.'),
  created_at: time,
  classification: classificationReport,
});
export type ClassificationEnded = z.output<typeof classificationEnded>;
