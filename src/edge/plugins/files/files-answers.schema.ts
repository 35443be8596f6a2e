import { createObjectTypeSchema } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** A file, as the Claude API describes it. */
export const fileAnswer = z.looseObject({
  type: createObjectTypeSchema('file'),
  id: z.addDescription(z.string(), 'The id of the file, such as `file_011CNha8iCJcU1wXNR6q4V8w`.'),
  filename: z.addDescription(z.string(), 'The name of the file, such as `report.pdf`.'),
  mime_type: z.addDescription(z.string(), 'The media type, such as `application/pdf`.'),
  size_bytes: z.addDescription(z.number(), 'The size in bytes.'),
  created_at: z.addDescription(z.string(), 'When the file was created; ISO 8601, UTC.'),
  downloadable: z.createOptionalField(
    z.boolean(),
    'Whether `GET /v1/files/{id}/content` can return the content, which is possible only for files that a tool created.',
  ),
  expires_at: z.createOptionalField(
    z.nullable(z.string()),
    'When the file is deleted; ISO 8601, UTC. Null if the file does not expire.',
  ),
});

/** A page of files, for clients that page by ids and for those that page by `next_page`. */
export const fileListAnswer = z.object({
  data: z.addDescription(z.array(fileAnswer), 'The files of the page.'),
  has_more: z.addDescription(z.boolean(), 'Whether more files follow.'),
  first_id: z.addDescription(
    z.nullable(z.string()),
    'The id of the first file of the page. Null if the page is empty.',
  ),
  last_id: z.addDescription(
    z.nullable(z.string()),
    'The id of the last file of the page, for `after_id`. Null if the page is empty.',
  ),
  next_page: z.addDescription(
    z.nullable(z.string()),
    'The query parameter `page` of the next page. Null if this is the last page.',
  ),
});

export const deletedFileAnswer = z.object({
  type: createObjectTypeSchema('file_deleted'),
  id: z.addDescription(z.string(), 'The id of the deleted file.'),
});
