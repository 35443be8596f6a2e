/** Describes the shapes of answers that many routes have. */
import { createListSchema } from '../kit/http/page.ts';
import * as z from '../kit/http/zod.ts';
import type { Content, DescribedResponse } from './resource.ts';

export function jsonResponse(description: string, schema: z.ZodMiniType, example: unknown): DescribedResponse {
  return { description, content: [{ schema, example }] };
}

/** Names the schema of a page of rows. */
export function nameListSchema(id: string, row: z.ZodMiniType): z.ZodMiniType {
  return z.withMeta(createListSchema(row), { id });
}

/** Describes a page of a list. @param row the only row of the example, whose id is `rowId` */
export function pageResponse(
  list: z.ZodMiniType,
  row: object,
  rowId: string,
  description = 'A page of them.',
): DescribedResponse {
  return jsonResponse(description, list, { data: [row], has_more: false, first_id: rowId, last_id: rowId });
}

/** Describes a body of JSON lines. */
export function jsonLinesContent(lines: readonly object[]): Content {
  const example = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  return { type: 'application/jsonl', schema: z.string(), example };
}
