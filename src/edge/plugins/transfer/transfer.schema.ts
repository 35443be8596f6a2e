import { ownConversationId, view } from '../../conversations/object/conversations.schema.ts';
import * as z from '../../kit/http/zod.ts';

export const forkRequest = z.strictObject({
  at: z.createOptionalField(
    z.string().check(z.minLength(1), z.maxLength(256)),
    'The id of the last message to copy, with its whole turn. Default: the latest message.',
  ),
  id: z.createOptionalField(
    ownConversationId,
    'The id of the copy: 1 to 128 letters, digits, hyphens or underscores. Default: a generated id.',
  ),
});

/** The query parameters of `GET …/export`. */
export const exportQuery = z.object({ view });
