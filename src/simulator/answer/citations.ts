import { isJsonObject, type Json, type JsonObject } from '../../api-rules/json.ts';
import type { RequestMessage } from '../request/message-request.ts';
import { splitSentences } from '../text/sentences.ts';
import { listContentStems } from '../text/words.ts';

/** A part of a source, and its citation in the API's form. */
export interface Quotation {
  text: string;
  citation: JsonObject;
}

/** The text that replaces the text of a PDF. */
const PDF_PLACEHOLDER = 'The simulator counts the pages of a PDF, and does not read them.';

/**
 * Finds the part of the cited documents and search results that shares most words with a question, of equal ones the first.
 *
 * @returns undefined if no source of the request has citations enabled
 */
export function findQuotation(messages: readonly RequestMessage[], question: string): Quotation | undefined {
  const stems = listContentStems(question);
  let best: Quotation | undefined;
  let most = -1;
  for (const quotation of generateQuotations(messages)) {
    const shared = [...listContentStems(quotation.text)].filter((word) => stems.has(word)).length;
    if (shared <= most) continue;
    best = quotation;
    most = shared;
  }
  return best;
}

function* generateQuotations(messages: readonly RequestMessage[]): Generator<Quotation> {
  let documents = 0;
  let searchResults = 0;
  for (const block of messages.flatMap(({ blocks }) => blocks.flatMap(unwrapToolResult))) {
    if (block.type === 'document') {
      if (hasCitationsEnabled(block)) yield* generateDocumentQuotations(block, documents);
      documents += 1;
    } else if (block.type === 'search_result') {
      if (hasCitationsEnabled(block)) yield* generateSearchResultQuotations(block, searchResults);
      searchResults += 1;
    }
  }
}

/** @returns a block, or the blocks of a tool's result */
function unwrapToolResult(block: JsonObject): JsonObject[] {
  return block.type === 'tool_result' && Array.isArray(block.content) ? block.content.filter(isJsonObject) : [block];
}

function hasCitationsEnabled({ citations }: JsonObject): boolean {
  return isJsonObject(citations) && citations.enabled === true;
}

function* generateDocumentQuotations({ source, title = null }: JsonObject, index: number): Generator<Quotation> {
  if (!isJsonObject(source)) return;
  const about = { document_index: index, document_title: title, file_id: null };
  if (source.type === 'text' && typeof source.data === 'string') {
    let from = 0;
    for (const text of splitSentences(source.data)) {
      const start = source.data.indexOf(text, from);
      from = start + text.length;
      const place = { start_char_index: start, end_char_index: from };
      yield { text, citation: { type: 'char_location', cited_text: text, ...about, ...place } };
    }
  } else if (source.type === 'content') {
    for (const [at, text] of listBlockTexts(source.content).entries()) {
      const place = { start_block_index: at, end_block_index: at + 1 };
      yield { text, citation: { type: 'content_block_location', cited_text: text, ...about, ...place } };
    }
  } else {
    const place = { start_page_number: 1, end_page_number: 2 };
    yield {
      text: PDF_PLACEHOLDER,
      citation: { type: 'page_location', cited_text: PDF_PLACEHOLDER, ...about, ...place },
    };
  }
}

function* generateSearchResultQuotations(
  { source, title = null, content }: JsonObject,
  index: number,
): Generator<Quotation> {
  for (const [at, text] of listBlockTexts(content).entries()) {
    const place = { search_result_index: index, start_block_index: at, end_block_index: at + 1 };
    const about = { source: source ?? null, title };
    yield { text, citation: { type: 'search_result_location', cited_text: text, ...about, ...place } };
  }
}

/** @returns the texts of a content, by the index of their blocks; an image has an empty one */
function listBlockTexts(content: Json | undefined): string[] {
  if (typeof content === 'string') return [content];
  if (!Array.isArray(content)) return [];
  return content.map((block) => (isJsonObject(block) && typeof block.text === 'string' ? block.text : ''));
}
