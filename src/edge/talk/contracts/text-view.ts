/**
 * What `show: "text"` shows of an answer: the blocks that every client reads. Some clients were made before the API had the
 * others.
 */

import type { RequestMember } from '../../claude/request/member.ts';
import * as z from '../../kit/http/zod.ts';
import { isObject, type Json } from '../../kit/json/object.ts';

export const SHOW_MEMBER: RequestMember<string> = {
  schema: z.optionally(
    z.enum(['all', 'text'], { error: 'Input should be all or text' }),
    'In a conversation, `text` hides from the answer what some clients cannot read; also as the header `sluice-show`. Text, thinking and calls of your own tools stay. What is hidden is kept, and a history that comes back without it is the same history. Default `all`.',
  ),
  header: 'sluice-show',
  mayBeNull: true,
  open: ['bound'],
  // Nobody else would have the hidden blocks, which the API needs in the next request.
  keeps: 'what is hidden',
};

const TEXT_TURN = 'turn_text_';

/**
 * @returns how the id of a turn begins. It says how the turn is shown, so whoever resumes it sees the same as before, and nothing
 *   more is stored
 */
export function turnPrefix(show: string | undefined): string {
  return show === 'text' ? TEXT_TURN : 'turn_';
}

/** @returns whether a listener gets only what every client reads. @param show how it wants to see the turn; default: as it was begun */
export function isTextOnly(turn: string, show?: string): boolean {
  return show === undefined ? turn.startsWith(TEXT_TURN) : show === 'text';
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
