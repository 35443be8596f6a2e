import * as z from '../../kit/http/zod.ts';

/** Whose limit has lowered a request, so that the budget can pay for it. Of a shared budget it contains no figure. */
export const loweredBySchema = z.object({
  by: z.enum(['account', 'token', 'group', 'deployment', 'run']),
  limit: z.addDescription(z.string(), 'Its name, such as `usd_per_day`.'),
  resets_at: z.addDescription(z.nullable(z.iso.datetime()), 'When it is free again; null where it does not reset.'),
  max_uses: z.createOptionalField(
    z.int(),
    'What `max_uses` of the API’s own tools was set to; only where a request without it was lowered.',
  ),
});

export type LoweredBy = z.infer<typeof loweredBySchema>;
