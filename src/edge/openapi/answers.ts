/** Describes the shapes of answers that many routes have. */
import { listSchema } from '../kit/http/page.ts';
import * as z from '../kit/http/zod.ts';
import type { Answer, Content } from './resource.ts';

export function jsonAnswer(description: string, schema: z.ZodMiniType, example: unknown): Answer {
  return { description, content: [{ schema, example }] };
}

/** Names the schema of a page of rows. */
export function namedList(id: string, row: z.ZodMiniType): z.ZodMiniType {
  return z.withMeta(listSchema(row), { id });
}

/** Describes a page of a list. @param row the only row of the example, whose id is `rowId` */
export function pageAnswer(list: z.ZodMiniType, row: object, rowId: string, description = 'A page of them.'): Answer {
  return jsonAnswer(description, list, { data: [row], has_more: false, first_id: rowId, last_id: rowId });
}

/** Describes a body of JSON lines. */
export function linesContent(lines: readonly object[]): Content {
  const example = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  return { type: 'application/jsonl', schema: z.string(), example };
}
