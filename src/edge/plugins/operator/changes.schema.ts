import * as z from '../../kit/http/zod.ts';
import { dayOrTime } from '../../money/account/usage.schema.ts';
import { CHANGE_KINDS } from '../../money/changes/change-kinds.ts';

/** The query of the list of changes. */
export const changesQuery = z.object({
  account: z.createOptionalField(z.string(), 'Only changes of this account, its tokens, and what it has stored.'),
  group: z.createOptionalField(z.string(), 'Only changes of this group and its members.'),
  actor: z.createOptionalField(z.string(), 'Only changes that this account has made.'),
  kind: z.createOptionalField(z.enum(CHANGE_KINDS), 'Only changes of this kind.'),
  from: z.createOptionalField(dayOrTime, 'Only changes from this day, YYYY-MM-DD (UTC), or time on.'),
  to: z.createOptionalField(dayOrTime, 'Only changes before this day or time.'),
});
