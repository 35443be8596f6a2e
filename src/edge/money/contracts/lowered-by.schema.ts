/** Names the limit that has lowered `max_tokens` or `max_uses`. */

import * as z from '../../kit/http/zod.ts';

/** Whose limit has lowered a request, so that the budget can pay for it. Of a shared budget it contains no figure. */
export const loweredBySchema = z.object({
  by: z.addDescription(
    z.enum(['account', 'token', 'group', 'deployment', 'run']),
    'Whose limit it is: that of the account, token, group, deployment or run.',
  ),
  limit: z.addDescription(z.string(), 'The name of the limit, such as `usd_per_day`.'),
  resets_at: z.addDescription(
    z.nullable(z.iso.datetime()),
    'When the limit resets; ISO 8601, UTC. Null if the limit does not reset.',
  ),
  max_uses: z.createOptionalField(
    z.int(),
    'The `max_uses` that was set for the API’s own tools. Only if a request without it was lowered.',
  ),
});

export type LoweredBy = z.infer<typeof loweredBySchema>;
