import { ownConversationId, view } from '../../conversations/object/conversations.schema.ts';
import * as z from '../../kit/http/zod.ts';

export const forkRequest = z.strictObject({
  at: z.optional(z.string().check(z.minLength(1), z.maxLength(256))),
  id: z.optional(ownConversationId),
});

/** The query parameters of `GET …/export`. */
export const exportQuery = z.object({ view });
