import { pdfPages } from '../prompt/prompt-blocks.ts';
import { summaryIn } from '../request/compaction-blocks.ts';
import { textOf } from '../request/content-blocks.ts';
import { sizeOfImage } from '../request/image-size.ts';
import { asText, isObject, type JsonObject } from '../request/json.ts';
import type { MessageRequest, RequestMessage } from '../request/message-request.ts';

export interface WhatWasSaid {
  /**
   * The text of the last user turn, without the notes that an agent adds. If that turn has only tool results or notes, the text
   * of the last turn that has any.
   */
  text: string;
  /** Whether a tool's result has come since that text. */
  isAnswered: boolean;
  /** How many user turns there are, tool results aside. */
  turns: number;
  /** The system prompt's text, mid-conversation system messages included. */
  system: string;
  /** Images of the last user turn, as `PNG 640×480`. */
  images: string[];
  /** Documents and search results of the last user turn, as `“Title” (3 pages)`. */
  documents: string[];
  /** The tool results in the last user turn. */
  toolResults: ToolResult[];
  /** The server tool calls of a paused turn that have no result yet. */
  openServerTools: JsonObject[];
  /** The summary that stands for what was said before; empty without one. */
  summary: string;
}

interface ToolResult {
  tool: string;
  text: string;
  isError: boolean;
}

/** What an agent writes into its user's messages beside what the user says. Claude Code marks it by these tags. */
const NOTES = ['system-reminder', 'task-notification'];

/** @returns a user's text without the notes of their agent */
function withoutNotes(text: string): string {
  return NOTES.reduce((rest, tag) => withoutParts(rest, `<${tag}>`, `</${tag}>`), text);
}

/** @returns a text without the tags that stand around all of it: they mark where it begins and ends, and are not said */
function withoutDelimiters(text: string): string {
  const [, name = ''] = /^<([\w-]{1,100})>\n/.exec(text) ?? [];
  const end = `\n</${name}>`;
  return name !== '' && text.endsWith(end) ? text.slice(name.length + 3, -end.length) : text;
}

function withoutParts(text: string, start: string, end: string): string {
  let rest = '';
  let from = 0;
  for (let at = text.indexOf(start); at !== -1; at = text.indexOf(start, from)) {
    const endsAt = text.indexOf(end, at);
    if (endsAt === -1) break;
    rest += text.slice(from, at);
    from = endsAt + end.length;
  }
  return rest + text.slice(from);
}

/** @returns the blocks of the last user turn; consecutive user messages are one turn */
function lastUserTurn(messages: readonly RequestMessage[]): JsonObject[] {
  const conversation = messages.filter(({ role }) => role !== 'system');
  const last = conversation.findLastIndex(({ role }) => role === 'user');
  const before = conversation.findLastIndex(({ role }, index) => role !== 'user' && index < last);
  return conversation.slice(before + 1, last + 1).flatMap(({ blocks }) => blocks);
}

function describeImage(block: JsonObject): string {
  const size = sizeOfImage(block);
  if (size === undefined) return 'an image that is not fetched';
  return `${size.mediaType.slice('image/'.length).toUpperCase()} ${size.width}×${size.height}`;
}

function describeDocument({ title, source }: JsonObject): string {
  const data = isObject(source) && source.type === 'base64' ? source.data : undefined;
  const pages = typeof data === 'string' ? pdfPages(data) : 0;
  const length = pages === 0 ? '' : ` (${pages} ${pages === 1 ? 'page' : 'pages'})`;
  return `${typeof title === 'string' && title !== '' ? `“${title.slice(0, 80)}”` : 'an untitled document'}${length}`;
}

function toolResults(turn: JsonObject[], messages: readonly RequestMessage[]): ToolResult[] {
  const names = new Map<string, string>();
  for (const block of messages.flatMap(({ blocks }) => blocks)) {
    if (block.type === 'tool_use') names.set(asText(block.id), asText(block.name));
  }
  return turn
    .filter(({ type }) => type === 'tool_result')
    .map((block) => ({
      tool: names.get(asText(block.tool_use_id)) ?? 'a tool',
      text: textOf(block),
      isError: block.is_error === true,
    }));
}

function openServerTools(messages: readonly RequestMessage[]): JsonObject[] {
  const last = messages.at(-1);
  if (last?.role !== 'assistant') return [];
  const answered = new Set(last.blocks.map((block) => block.tool_use_id));
  return last.blocks.filter(({ type, id }) => type === 'server_tool_use' && !answered.has(id ?? null));
}

/** Reads the parts of a request that the answer depends on. */
export function whatWasSaid({ messages, system }: MessageRequest): WhatWasSaid {
  const summary = summaryIn(messages);
  const turn = lastUserTurn(messages);
  const ofUser = messages.filter(({ role }) => role === 'user');
  const textIn = (blocks: JsonObject[]): string =>
    blocks
      .filter(({ type }) => type === 'text')
      .map((block) => withoutDelimiters(withoutNotes(textOf(block))))
      .filter((text) => text.trim() !== '')
      .join('\n');
  const turns = ofUser.filter(({ blocks }) => blocks.some(({ type }) => type !== 'tool_result'));
  const inSystem = messages.filter(({ role }) => role === 'system').flatMap(({ blocks }) => blocks);
  const saidAt = messages.findLastIndex(({ role, blocks }) => role === 'user' && textIn(blocks) !== '');
  const since = [...turn, ...messages.slice(saidAt + 1).flatMap(({ blocks }) => blocks)];
  return {
    text: textIn(turn) || textIn(messages[saidAt]?.blocks ?? []),
    isAnswered: since.some(({ type }) => type === 'tool_result'),
    turns: turns.length,
    system: [...system, ...inSystem].map(textOf).join('\n'),
    images: turn.filter(({ type }) => type === 'image').map(describeImage),
    documents: turn
      .filter((block) => block.type === 'document' || block.type === 'search_result')
      .map(describeDocument),
    toolResults: toolResults(turn, messages),
    openServerTools: openServerTools(messages),
    summary: summary === undefined ? '' : textOf(summary),
  };
}
