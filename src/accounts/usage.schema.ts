import * as z from '../http/zod.ts';

export const usageGroupSchema = z.enum(['day', 'model', 'conversation', 'prefix', 'upstream']);

const DAY_FAULT = 'Input should be a day, YYYY-MM-DD';
const day = z
  .string({ error: DAY_FAULT })
  .check(z.regex(/^\d{4}-\d\d-\d\d$/, { error: DAY_FAULT, abort: true }), z.refine(isInCalendar, DAY_FAULT));

/** Which days are asked for: from the first, before the second. */
export const daysQuery = z.object({
  from: z.described(z.optional(day), 'The first day, YYYY-MM-DD (UTC).'),
  to: z.described(z.optional(day), 'The day after the last.'),
});

/** The query of an admin who asks for another account's. */
export const accountQuery = z.object({
  account: z.described(z.optional(z.string()), 'An admin’s may be any account.'),
});

export const usageQuery = z.object({
  ...daysQuery.shape,
  group_by: z._default(usageGroupSchema, 'day'),
  ...accountQuery.shape,
});

export type UsageGroup = z.output<typeof usageGroupSchema>;

function isInCalendar(day: string): boolean {
  const date = new Date(day);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day);
}
