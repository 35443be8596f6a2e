/** A batch of messages, as its account lists it and its routes answer it. */

import { count, createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** How many items of a batch have ended with each outcome. */
export const outcomeCounts = z.object({ succeeded: count, errored: count, canceled: count, expired: count });
export type BatchOutcomeCounts = z.output<typeof outcomeCounts>;

/** A batch, as the API has it. */
export const messageBatch = z.object({
  id: z.string(),
  type: createObjectTypeSchema('message_batch'),
  processing_status: z.enum(['in_progress', 'canceling', 'ended']),
  request_counts: z.addDescription(
    z.object({ processing: count, ...outcomeCounts.shape }),
    'Until the batch has ended all of them are `processing`.',
  ),
  created_at: time,
  expires_at: time,
  ended_at: z.nullable(time),
  cancel_initiated_at: z.nullable(time),
  archived_at: z.nullable(time),
  results_url: z.nullable(z.string()),
  cost_usd: z.addDescription(z.nullable(usd), 'What all items have cost; null until the batch has ended.'),
  unknown: z.createOptionalField(
    z.string(),
    'There while nobody knows whether the upstream has made the batch: what to do. It ends within about a day, without results.',
  ),
});
export type MessageBatch = z.output<typeof messageBatch>;
