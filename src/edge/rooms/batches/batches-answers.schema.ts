/** What the routes of batches answer. */

import { count, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { outcomeCounts } from '../../money/account/usage-answers.schema.ts';

export type OutcomeCounts = z.output<typeof outcomeCounts>;

/** A batch, as the API has it. */
export const messageBatch = z.object({
  id: z.string(),
  type: z.literal('message_batch'),
  processing_status: z.enum(['in_progress', 'canceling', 'ended']),
  request_counts: z.described(
    z.object({ processing: count, ...outcomeCounts.shape }),
    'Until the batch has ended all of them are `processing`.',
  ),
  created_at: time,
  expires_at: time,
  ended_at: z.nullable(time),
  cancel_initiated_at: z.nullable(time),
  archived_at: z.nullable(time),
  results_url: z.nullable(z.string()),
  cost_usd: z.described(z.nullable(usd), 'What all items have cost; null until the batch has ended.'),
  unknown: z.optionally(
    z.string(),
    'There while nobody knows whether the upstream has made the batch: what to do. It ends within about a day, without results.',
  ),
});
export type MessageBatch = z.output<typeof messageBatch>;

export const deletedBatch = z.object({ id: z.string(), type: z.literal('message_batch_deleted') });

/** The most that a batch would cost, and whether the budget has room for it. */
export const batchEstimate = z.object({
  type: z.literal('message_batch_estimate'),
  requests: z.described(count, 'How many items it has.'),
  cost_usd: z.described(usd, 'The most that it can cost, at half price.'),
  fits: z.boolean(),
  fitting: z.described(count, 'How many of its items, from the first one on, the budget has room for now.'),
});

/** What is delivered once a batch has ended. */
export const batchEnded = z.object({
  type: z.literal('batch.ended'),
  event_id: z.described(z.string(), 'The same however often it is delivered.'),
  created_at: time,
  batch: messageBatch,
});
