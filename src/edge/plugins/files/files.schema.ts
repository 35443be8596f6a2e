import { pageSchema } from '../../kit/http/page.ts';
import * as z from '../../kit/http/zod.ts';
import type { FileDescription } from '../../money/contracts/ownership.ts';

/** The fields of the upstream's file description that this edge reads. */
const describedFile = z.looseObject({
  id: z.string().check(z.minLength(1)),
  size_bytes: z.int().check(z.gte(0)),
  expires_at: z.optional(z.nullable(z.string())),
});

/** A list of such descriptions. */
export const describedFiles = z.looseObject({ data: z.array(describedFile) });

export const filesQuery = z.object({
  ...pageSchema.shape,
  page: z.createOptionalField(z.string().check(z.minLength(1)), 'The `next_page` of the previous page.'),
});

/** @returns a file as its account keeps it; undefined for what does not describe one */
export function parseFileDescription(answer: unknown): FileDescription | undefined {
  const { data: file } = describedFile.safeParse(answer);
  if (!file) return undefined;
  const at = Date.parse(file.expires_at ?? '');
  return { id: file.id, bytes: file.size_bytes, expiresAt: Number.isNaN(at) ? null : at, text: JSON.stringify(file) };
}
