/** Leaves out the blocks of an answer that a client cannot read which was made before the API had them. */

import { isObject, type Json } from '../../../kit/json/object.ts';

/** What clients have always read. */
const READ_BY_ALL = /^((redacted_)?thinking|text|tool_use|(text|thinking|signature|input_json)_delta)$/;
const CITATIONS_READ_BY_ALL = /^(page|char|web_search_result)_location$/;

/** @returns whether every client reads a block, or a delta, of this type. To others one alone may break the whole answer */
export function isReadable({ type, citation }: Json): boolean {
  return type === 'citations_delta' ? isReadableCitation(citation) : READ_BY_ALL.test(String(type));
}

/** @returns the blocks that every client reads, with the citations that every client reads. */
export function readableBlocks(content: readonly Json[]): Json[] {
  return content
    .filter(isReadable)
    .map(({ citations, ...block }) =>
      Array.isArray(citations) ? { ...block, citations: citations.filter(isReadableCitation) } : block,
    );
}

function isReadableCitation(citation: unknown): boolean {
  return isObject(citation) && CITATIONS_READ_BY_ALL.test(String(citation.type)) && citation.title !== null;
}
