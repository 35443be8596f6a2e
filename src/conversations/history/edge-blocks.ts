/**
 * Turns calls of the edge into the blocks that clients see, and back. Back for a history from elsewhere, such as an import.
 */

import type { JsonBody } from '../../http/body/json-body.ts';
import { withText } from '../../http/read-json.ts';
import { edit, itemTexts, memberTexts } from '../../json/edit.ts';
import { asText, isObject, type Json, parseObject } from '../../json/object.ts';
import { EDGE } from '../../tools/edge-server.ts';
import type { SentMessage } from './continuation.ts';
import { objectText } from './message-json.ts';
import { messageOf } from './shown-messages.ts';

const NO_RESULT = 'The result of this call is not known.';

/** @returns a call as it is shown. Clients lose an input that comes in deltas, so the block begins with the whole input. */
export function shownCall({ id, name, input }: Json): Json {
  return { type: 'mcp_tool_use', id, name, input, server_name: EDGE };
}

/** @returns the result of a call as it is shown: a list of texts, since some clients accept nothing else. */
export function shownResult(id: string, content: unknown, isError: boolean): Json {
  const blocks = Array.isArray(content) ? content.filter(isObject) : [{ text: content }];
  const texts = blocks.map(({ text, source }) => (isObject(source) ? shownImage(source) : text));
  const shown = texts.map((text) => ({ type: 'text', text: asText(text ?? '') }));
  return { type: 'mcp_tool_result', tool_use_id: id, is_error: isError, content: shown };
}

function shownImage({ media_type, data }: Json): string {
  return `[${asText(media_type)}, ${Math.ceil(bytesOfBase64(asText(data)) / 1_000)} kB]`;
}

/** @returns how many bytes a base64 text decodes to. */
export function bytesOfBase64(text: string): number {
  return (text.length / 4) * 3 - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0);
}

/**
 * Turns the blocks by which an edge has shown its calls back into calls and results, as the API accepts them. An answer
 * becomes the messages of its steps.
 */
export function withoutEdgeBlocks<Some extends { fresh: readonly SentMessage[]; news: readonly string[] }>(
  all: Some,
): Some {
  if (!all.fresh.some(hasEdgeCall)) return all;
  const news = replayable(all.news);
  return {
    ...all,
    news,
    fresh: news.map((text) => messageOf({ role: String(parseObject(text)?.role), text })),
  };
}

/** The same for a request without a conversation. @returns the body itself if it has no such blocks, as most do not */
export function withoutEdgeBlocksIn(body: JsonBody): JsonBody {
  const { messages } = body.json;
  if (!Array.isArray(messages) || !messages.some(hasEdgeCall)) return body;
  const texts = itemTexts(memberTexts(body.text).get('messages') ?? '[]');
  const replayed = `[${replayable(texts).join(',')}]`;
  return withText(body, edit(body.text, { messages: replayed }), { ...body.json, messages: JSON.parse(replayed) });
}

/** A block of a message, and its JSON text. */
interface TextBlock {
  block: Json;
  text: string;
}

/** @param texts messages as JSON texts. @returns messages as JSON texts, too */
function replayable(texts: readonly string[]): string[] {
  const messages = texts.map((text) => ({ text, role: parseObject(text)?.role, blocks: textBlocks(text) }));
  const calls = new Set(
    messages.flatMap(({ blocks }) => blocks.flatMap(({ block }) => (isEdgeCall(block) ? [asText(block.id)] : []))),
  );
  const isResult = ({ block: { type, tool_use_id } }: TextBlock) =>
    type === 'mcp_tool_result' && calls.has(asText(tool_use_id));
  // Some clients move results after the text that the model wrote about them, or into another message.
  const results = new Map(
    messages.flatMap(({ blocks }) => blocks.filter(isResult).map((one) => [asText(one.block.tool_use_id), one])),
  );
  const all: string[] = [];
  /** The results of the last step. The user's next message begins with them. */
  let owed: string[] = [];
  for (const { text, role, blocks } of messages) {
    if (owed.length > 0 && role === 'user' && hasContent(text)) {
      const said = blocks.filter((one) => !isResult(one)).map((one) => one.text);
      all.push(edit(text, { content: `[${[...owed, ...said].join(',')}]` }));
      owed = [];
    } else if (role === 'assistant' && blocks.some((one) => isEdgeCall(one.block) || isResult(one))) {
      for (const step of stepsOf(blocks, isResult)) {
        if (owed.length > 0) all.push(messageOfBlocks('user', owed));
        all.push(
          messageOfBlocks(
            'assistant',
            step.map(({ block, text }) => (isEdgeCall(block) ? callText(text) : text)),
          ),
        );
        owed = step.flatMap(({ block }) =>
          isEdgeCall(block) ? [resultText(asText(block.id), results.get(asText(block.id)))] : [],
        );
      }
    } else {
      if (owed.length > 0) all.push(messageOfBlocks('user', owed));
      owed = [];
      all.push(text);
    }
  }
  if (owed.length > 0) all.push(messageOfBlocks('user', owed));
  return all;
}

/** @returns whether blocks can be added to the content of a message. */
function hasContent(message: string): boolean {
  return /^["[]/.test(memberTexts(message).get('content') ?? '');
}

/** @returns the blocks of a message, without those that are not objects; a string is one text block */
function textBlocks(message: string): TextBlock[] {
  const content = memberTexts(message).get('content') ?? '[]';
  const texts = content.startsWith('"')
    ? [`{"type":"text","text":${content}}`]
    : content.startsWith('[')
      ? itemTexts(content)
      : [];
  return texts.flatMap((text) => {
    const block = parseObject(text);
    return block ? [{ block, text }] : [];
  });
}

/** @returns the blocks of each step of an answer, without the results. What follows results belongs to the next step. */
function stepsOf(blocks: readonly TextBlock[], isResult: (block: TextBlock) => boolean): TextBlock[][] {
  const steps: TextBlock[][] = [];
  let isOpen = false;
  for (const one of blocks) {
    if (isResult(one)) isOpen = false;
    else if (isOpen) steps.at(-1)?.push(one);
    else {
      steps.push([one]);
      isOpen = true;
    }
  }
  return steps;
}

function callText(text: string): string {
  const given = memberTexts(text);
  const member = (name: string) => given.get(name) ?? '{}';
  return objectText({ type: '"tool_use"', id: member('id'), name: member('name'), input: member('input') });
}

function resultText(id: string, result: TextBlock | undefined): string {
  const content = result ? (memberTexts(result.text).get('content') ?? '""') : JSON.stringify(NO_RESULT);
  const error = !result || result.block.is_error === true ? { is_error: 'true' } : {};
  return objectText({ type: '"tool_result"', tool_use_id: JSON.stringify(id), content, ...error });
}

function messageOfBlocks(role: string, blocks: readonly string[]): string {
  return objectText({ role: JSON.stringify(role), content: `[${blocks.join(',')}]` });
}

function hasEdgeCall(message: unknown): boolean {
  if (!isObject(message) || message.role !== 'assistant') return false;
  return Array.isArray(message.content) && message.content.some(isEdgeCall);
}

/** @returns whether a block is a call of the edge. A malformed block is not: the upstream judges it. */
function isEdgeCall(block: unknown): boolean {
  if (!isObject(block) || block.type !== 'mcp_tool_use' || block.server_name !== EDGE) return false;
  return typeof block.id === 'string' && typeof block.name === 'string';
}
