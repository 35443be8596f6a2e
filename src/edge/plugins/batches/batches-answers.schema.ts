/** What the routes of batches answer, beside batches. */

import { count, createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { messageBatch } from '../../money/lists/batches-answers.schema.ts';

export const deletedBatch = z.object({ id: z.string(), type: createObjectTypeSchema('message_batch_deleted') });

/** The maximum cost of a batch, and whether the budget covers it. */
export const batchEstimate = z.object({
  type: createObjectTypeSchema('message_batch_estimate'),
  requests: z.addDescription(count, 'How many items it has.'),
  cost_usd: z.addDescription(usd, 'The most that it can cost, at half price.'),
  fits: z.boolean(),
  fitting: z.addDescription(count, 'How many of its items, from the first one on, the budget covers now.'),
});

/** What is delivered once a batch has ended. */
export const batchEnded = z.object({
  type: createObjectTypeSchema('batch.ended'),
  event_id: z.addDescription(z.string(), 'The same however often it is delivered.'),
  created_at: time,
  batch: messageBatch,
});
