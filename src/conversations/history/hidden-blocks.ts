/**
 * Hides blocks of an answer, or what is in them. Most bound tokens only see that a tool was called. A client that was made before
 * the API had such blocks sees none of them.
 */

import { isObject, type Json, parseObject } from '../../json/object.ts';

/** What the model wrote for whoever asks. A `tool_use` is a call that the page itself answers. */
const OF_MODEL = /^(text|(redacted_)?thinking|tool_use|fallback)$/;
/** Members of a block that say which call it is, and whether it failed. */
const TOLD = /^(type|id|name|server_name|tool_use_id|is_error|caller)$/;
/** Members by which clients know the form of a result. The API says them, never a tool. */
const FORM = /^(type|media_type|error_code)$/;

/** @returns whether a block shows what a tool of the edge or of the API was given, or what came back. */
export function isHiddenBlock({ type }: Json): boolean {
  return !OF_MODEL.test(String(type));
}

/** @returns a block without what a tool was given and gave back. It keeps its type and its form, so that clients accept it. */
export function hiddenBlock(block: Json): Json | undefined {
  // A citation quotes what a tool has found.
  if (!isHiddenBlock(block)) return block.citations ? { ...block, citations: [] } : block;
  const text = JSON.stringify(block, function blank(this: unknown, name, value) {
    if ((this === block ? TOLD : FORM).test(name)) return value;
    if (Array.isArray(value)) return [];
    if (typeof value === 'string') return '';
    // Whether a program failed, but not how.
    if (typeof value === 'number') return Number(name === 'return_code' && value !== 0);
    return name === 'input' ? {} : value === true ? false : value;
  });
  return parseObject(text);
}

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
