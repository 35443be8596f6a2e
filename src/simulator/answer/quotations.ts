import { textOf } from '../request/content-blocks.ts';
import { isObject, type Json, type JsonObject, objectsIn } from '../request/json.ts';
import type { RequestMessage } from '../request/message-request.ts';
import { contentStems } from '../text/words.ts';

/** A passage of a document, with the citation that says where it is. */
export interface Quotation {
  title: string;
  text: string;
  citation: JsonObject;
}

/** How much of a document is read for a passage, in UTF-16 units. */
const LONGEST_QUOTATION = 100_000;

interface Passage {
  text: string;
  start: number;
}

/** @returns the sentence of a text that has most words in common with the question; of equal ones the first */
function bestSentence(text: string, asked: Set<string>): Passage {
  let best: Passage = { text: '', start: 0 };
  let bestScore = -1;
  for (const match of text.slice(0, LONGEST_QUOTATION).matchAll(/[^\s.!?][^.!?\n]{0,400}[.!?]?/g)) {
    const score = [...contentStems(match[0])].filter((word) => asked.has(word)).length;
    if (score <= bestScore) continue;
    best = { text: match[0], start: match.index };
    bestScore = score;
  }
  return best;
}

function isEnabled({ citations }: JsonObject): boolean {
  return isObject(citations) && citations.enabled === true;
}

function titleOf(block: JsonObject): string | null {
  return typeof block.title === 'string' ? block.title : null;
}

function quoteDocument(block: JsonObject, index: number, asked: Set<string>): Quotation | undefined {
  const source = block.source;
  if (!isObject(source)) return undefined;
  const common = { document_index: index, document_title: titleOf(block) };
  const title = titleOf(block) ?? 'the document';
  const { data, type } = source;
  if (type === 'text' && typeof data === 'string') {
    const { text, start } = bestSentence(data, asked);
    if (text === '') return undefined;
    const range = { start_char_index: start, end_char_index: start + text.length, file_id: null };
    return { title, text, citation: { type: 'char_location', cited_text: text, ...common, ...range } };
  }
  if (type === 'content') {
    const content = source.content;
    const texts = typeof content === 'string' ? [content] : objectsIn(content).map(textOf);
    const first = texts.findIndex((entry) => entry.trim() !== '');
    if (first === -1) return undefined;
    const text = texts[first] ?? '';
    const blocks = { start_block_index: first, end_block_index: first + 1, file_id: null };
    return { title, text, citation: { type: 'content_block_location', cited_text: text, ...common, ...blocks } };
  }
  const text = 'The simulator does not read PDFs.';
  const pages = { start_page_number: 1, end_page_number: 2, file_id: null };
  return { title, text, citation: { type: 'page_location', cited_text: text, ...common, ...pages } };
}

function quoteSearchResult(block: JsonObject, index: number, asked: Set<string>): Quotation | undefined {
  const texts = objectsIn(block.content).map(textOf);
  const first = texts.findIndex((entry) => [...contentStems(entry)].some((word) => asked.has(word)));
  const at = Math.max(0, first);
  const text = texts[at];
  if (text === undefined) return undefined;
  const source: Json = block.source ?? '';
  const blocks = { start_block_index: at, end_block_index: at + 1 };
  const title = titleOf(block);
  return {
    title: title ?? 'the search result',
    text,
    citation: {
      type: 'search_result_location',
      cited_text: text,
      source,
      title,
      search_result_index: index,
      ...blocks,
    },
  };
}

/** @returns the documents and search results of a conversation in order, also those within tool results */
function citable(messages: readonly RequestMessage[]): JsonObject[] {
  return messages
    .filter(({ role }) => role === 'user')
    .flatMap(({ blocks }) => blocks)
    .flatMap((block) => (block.type === 'tool_result' ? objectsIn(block.content) : [block]));
}

/** @returns at most three passages, one for each document with citations enabled: the one closest to the question */
export function quotations(messages: readonly RequestMessage[], asked: string): Quotation[] {
  const stems = contentStems(asked);
  const blocks = citable(messages);
  const documents = blocks.filter((block) => block.type === 'document');
  const results = blocks.filter((block) => block.type === 'search_result');
  const quoted = [
    ...documents.map((block, index) => (isEnabled(block) ? quoteDocument(block, index, stems) : undefined)),
    ...results.map((block, index) => (isEnabled(block) ? quoteSearchResult(block, index, stems) : undefined)),
  ];
  return quoted.filter((quotation) => quotation !== undefined).slice(0, 3);
}
