/** Calls of the edge as clients see them, and back: in a history that is not known here, as an import or of another edge. */

import { isObject, type Json } from '../../json/object.ts';
import type { SentMessage } from './continuation.ts';
import { messageOf } from './shown-messages.ts';

/** The name of the server that the edge's tools are shown to be of. */
export const EDGE = 'edge';
const NO_RESULT = 'The result of this call is not known.';

/** @returns a call as it is shown. Clients lose an input that comes in deltas, so it is whole from the beginning. */
export function shownCall({ id, name, input }: Json): Json {
  return { type: 'mcp_tool_use', id, name, input, server_name: EDGE };
}

/** @returns what a call has given as it is shown: a list of texts, since some clients take nothing else. */
export function shownResult(id: string, content: unknown, isError: boolean): Json {
  const blocks = Array.isArray(content) ? content.filter(isObject) : [{ text: content }];
  const texts = blocks.map(({ text, source }) => (isObject(source) ? shownImage(source) : text));
  const shown = texts.map((text) => ({ type: 'text', text: String(text ?? '') }));
  return { type: 'mcp_tool_result', tool_use_id: id, is_error: isError, content: shown };
}

function shownImage({ media_type, data }: Json): string {
  return `[${media_type}, ${Math.ceil(bytesOfBase64(String(data)) / 1_000)} kB]`;
}

/** @returns how many bytes a text in base64 stands for. */
export function bytesOfBase64(text: string): number {
  return (text.length / 4) * 3 - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0);
}

/**
 * Turns the blocks by which an edge has shown its calls back into calls and their results, as the API takes them: an
 * answer becomes the messages of its steps.
 */
export function withoutEdgeBlocks<Some extends { fresh: readonly SentMessage[]; news: readonly string[] }>(
  all: Some,
): Some {
  // In a JSON text its quotes would be escaped in a string.
  if (!all.news.some((text) => text.includes('"mcp_tool_use"'))) return all;
  const news = all.news.flatMap((text, index) => {
    const { role, content } = all.fresh[index] ?? {};
    if (role !== 'assistant' || !Array.isArray(content) || !content.some(isEdgeCall)) return [text];
    return stepsOf(content.filter(isObject)).map((message) => JSON.stringify(message));
  });
  return {
    ...all,
    news,
    fresh: news.map((text) => messageOf({ role: String((JSON.parse(text) as Json).role), text })),
  };
}

function stepsOf(blocks: readonly Json[]): SentMessage[] {
  const messages: SentMessage[] = [];
  const own = new Set(blocks.filter(isEdgeCall).map(({ id }) => String(id)));
  let answer: Json[] = [];
  let results = new Map<string, Json>();
  const endStep = () => {
    const calls = answer
      .filter(({ type, id }) => type === 'tool_use' && own.has(String(id)))
      .map(({ id }) => String(id));
    if (answer.length > 0) messages.push({ role: 'assistant', content: answer });
    const unknown = (id: string) => ({ type: 'tool_result', tool_use_id: id, content: NO_RESULT, is_error: true });
    if (calls.length > 0) messages.push({ role: 'user', content: calls.map((id) => results.get(id) ?? unknown(id)) });
    answer = [];
    results = new Map();
  };
  for (const block of blocks) {
    const { type, tool_use_id, content, is_error, id, name, input } = block;
    if (type === 'mcp_tool_result' && own.has(String(tool_use_id))) {
      const told = { type: 'tool_result', tool_use_id, content, ...(is_error === true ? { is_error } : {}) };
      results.set(String(tool_use_id), told);
      continue;
    }
    // What comes behind results is of the next step.
    if (results.size > 0) endStep();
    answer.push(isEdgeCall(block) ? { type: 'tool_use', id, name, input } : block);
  }
  endStep();
  return messages;
}

function isEdgeCall(block: unknown): boolean {
  return isObject(block) && block.type === 'mcp_tool_use' && block.server_name === EDGE;
}
