import { createObjectTypeSchema } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** A file, as the Claude API describes it. */
export const fileAnswer = z.looseObject({
  type: createObjectTypeSchema('file'),
  id: z.string(),
  filename: z.string(),
  mime_type: z.string(),
  size_bytes: z.number(),
  created_at: z.string(),
  downloadable: z.optional(z.boolean()),
  expires_at: z.optional(z.nullable(z.string())),
});

/** A page of files, for clients that page by ids and for those that page by `next_page`. */
export const fileListAnswer = z.object({
  data: z.array(fileAnswer),
  has_more: z.boolean(),
  first_id: z.nullable(z.string()),
  last_id: z.nullable(z.string()),
  next_page: z.addDescription(z.nullable(z.string()), 'The query `page` of the page that follows; null at the end.'),
});

export const deletedFileAnswer = z.object({ type: createObjectTypeSchema('file_deleted'), id: z.string() });
