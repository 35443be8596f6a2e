/** The responses of the batch routes, except for batches themselves. */

import { count, createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { messageBatch } from '../../money/lists/batches-answers.schema.ts';

export const deletedBatch = z.object({
  id: z.addDescription(z.string(), 'The id of the deleted batch.'),
  type: createObjectTypeSchema('message_batch_deleted'),
});

/** The maximum cost of a batch, and whether the budget covers it. */
export const batchEstimate = z.object({
  type: createObjectTypeSchema('message_batch_estimate'),
  requests: z.addDescription(count, 'The number of requests in the batch.'),
  cost_usd: z.addDescription(usd, 'The maximum cost of the batch at half price, in US dollars.'),
  fits: z.addDescription(z.boolean(), 'Whether the budget covers the whole batch now.'),
  fitting: z.addDescription(count, 'How many requests, from the first one on, the budget covers now.'),
});

/** The event that is delivered once a batch has ended. */
export const batchEnded = z.object({
  type: createObjectTypeSchema('batch.ended'),
  event_id: z.addDescription(z.string(), 'The same however often it is delivered.'),
  created_at: time,
  batch: messageBatch,
});
