/** Describes the shapes of answers that many routes have. */
import { createListResponseSchema } from '../kit/http/page.ts';
import * as z from '../kit/http/zod.ts';
import type { BodyContent, DescribedResponse } from './resource.ts';

export function describeJsonResponse(description: string, schema: z.ZodMiniType, example: unknown): DescribedResponse {
  return { description, content: [{ schema, example }] };
}

/** Names the schema of a page of rows. */
export function createNamedListSchema(id: string, row: z.ZodMiniType): z.ZodMiniType {
  return z.addReferenceMeta(createListResponseSchema(row), { id });
}

/** Describes a page of a list. @param row the only row of the example, whose id is `rowId` */
export function describePageResponse(
  list: z.ZodMiniType,
  row: object,
  rowId: string,
  description = 'A page of the list.',
): DescribedResponse {
  return describeJsonResponse(description, list, { data: [row], has_more: false, first_id: rowId, last_id: rowId });
}

/** Describes a body of JSON lines. */
export function describeJsonLinesContent(lines: readonly object[]): BodyContent {
  const example = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  return { type: 'application/jsonl', schema: z.string(), example };
}
