/** A batch of messages, as its account lists it and its routes answer it. */

import { count, createObjectTypeSchema, time, usd } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** How many items of a batch have ended with each outcome. */
export const outcomeCounts = z.object({
  succeeded: z.addDescription(count, 'Requests that got a response.'),
  errored: z.addDescription(count, 'Requests that failed.'),
  canceled: z.addDescription(count, 'Requests that were cancelled before they began.'),
  expired: z.addDescription(count, 'Requests that had not begun when the batch expired.'),
});
export type BatchOutcomeCounts = z.output<typeof outcomeCounts>;

/** A batch, as the API has it. */
export const messageBatch = z.object({
  id: z.addDescription(z.string(), 'The id of the batch, such as `msgbatch_01m7w6qgcqbcyj201bk2gjctdn`.'),
  type: createObjectTypeSchema('message_batch'),
  processing_status: z.addDescription(
    z.enum(['in_progress', 'canceling', 'ended']),
    '`in_progress`, `canceling` while a cancellation takes effect, or `ended`.',
  ),
  request_counts: z.addDescription(
    z.object({ processing: z.addDescription(count, 'Requests that have not ended.'), ...outcomeCounts.shape }),
    'The number of requests by state. All are `processing` until the batch has ended.',
  ),
  created_at: z.addDescription(time, 'When the batch was created; ISO 8601, UTC.'),
  expires_at: z.addDescription(time, 'When the upstream stops processing the batch; ISO 8601, UTC.'),
  ended_at: z.addDescription(
    z.nullable(time),
    'When processing ended; ISO 8601, UTC. Null if processing has not ended.',
  ),
  cancel_initiated_at: z.addDescription(
    z.nullable(time),
    'When the cancellation was requested; ISO 8601, UTC. Null if no cancellation was requested.',
  ),
  archived_at: z.addDescription(
    z.nullable(time),
    'When the results were deleted; ISO 8601, UTC. Null if the results are not deleted.',
  ),
  results_url: z.addDescription(z.nullable(z.string()), 'The URL of the results. Null if the batch has not ended.'),
  cost_usd: z.addDescription(
    z.nullable(usd),
    'The cost of all requests, in US dollars. Null if the batch has not ended.',
  ),
  unknown: z.createOptionalField(
    z.string(),
    'What to do if it is unknown whether the upstream created the batch. The batch ends within about a day, without results.',
  ),
});
export type MessageBatch = z.output<typeof messageBatch>;
