import * as z from '../http/zod.ts';

export const usageGroupSchema = z.enum(['day', 'model', 'conversation', 'prefix', 'upstream']);

const day = z.iso.date({ error: 'Input should be a day, YYYY-MM-DD' });

/** Which days are asked for: from the first, before the second. */
export const daysQuery = z.object({
  from: z.described(z.optional(day), 'The first day, YYYY-MM-DD (UTC).'),
  to: z.described(z.optional(day), 'The day after the last.'),
});

/** The query of an admin who asks for another account's. */
export const accountQuery = z.object({
  account: z.described(z.optional(z.string()), 'An admin’s may be any account.'),
});

export const usageQuery = z.extend(daysQuery, { group_by: z._default(usageGroupSchema, 'day'), ...accountQuery.shape });

export type UsageGroup = z.output<typeof usageGroupSchema>;
