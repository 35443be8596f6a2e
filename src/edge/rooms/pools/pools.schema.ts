import * as z from '../../kit/http/zod.ts';

/** The accounts of a group, by what they have spent in a window. */
export const membersQuery = z.object({
  period: z.described(z._default(z.enum(['day', 'week', 'month']), 'month'), 'The window that they are sorted by.'),
});
