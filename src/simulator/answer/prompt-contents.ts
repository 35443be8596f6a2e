import { isJsonObject, type JsonObject, jsonToText } from '../../api-rules/json.ts';
import { findLeadingSummary } from '../request/compaction-blocks.ts';
import { getBlockText } from '../request/content-blocks.ts';
import { readImageBlockSize } from '../request/image-size.ts';
import type { MessageRequest, RequestMessage } from '../request/message-request.ts';
import { countPdfPages } from '../request/pdf-pages.ts';

export interface PromptContents {
  /**
   * The text of the last user turn, without the notes that an agent adds. If that turn has only tool results or notes, the text
   * of the last turn that has any.
   */
  text: string;
  /** Whether a tool's result follows that text. */
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
  listToolResults: ToolResultText[];
  /** The server tool calls of a paused turn that have no result yet. */
  findOpenServerTools: JsonObject[];
  /** The summary that stands for what was said before; empty without one. */
  summary: string;
}

interface ToolResultText {
  tool: string;
  text: string;
  isError: boolean;
}

/** The tags by which Claude Code marks text that it adds to its user's messages. */
const AGENT_NOTE_TAGS = ['system-reminder', 'task-notification'];

/** @returns a user's text without the notes of their agent */
function removeAgentNotes(text: string): string {
  return AGENT_NOTE_TAGS.reduce((rest, tag) => removeDelimitedParts(rest, `<${tag}>`, `</${tag}>`), text);
}

/** @returns a text without the tags that stand around all of it: they mark where it begins and ends, and are not said */
function removeEnclosingTags(text: string): string {
  const [, name = ''] = /^<([\w-]{1,100})>\n/.exec(text) ?? [];
  const end = `\n</${name}>`;
  return name !== '' && text.endsWith(end) ? text.slice(name.length + 3, -end.length) : text;
}

function removeDelimitedParts(text: string, start: string, end: string): string {
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
function listBlocksOfLastUserTurn(messages: readonly RequestMessage[]): JsonObject[] {
  const conversation = messages.filter(({ role }) => role !== 'system');
  const last = conversation.findLastIndex(({ role }) => role === 'user');
  const before = conversation.findLastIndex(({ role }, index) => role !== 'user' && index < last);
  return conversation.slice(before + 1, last + 1).flatMap(({ blocks }) => blocks);
}

function describeImage(block: JsonObject): string {
  const size = readImageBlockSize(block);
  if (size === undefined) return 'an image that is not fetched';
  return `${size.mediaType.slice('image/'.length).toUpperCase()} ${size.width}×${size.height}`;
}

function describeDocument({ title, source }: JsonObject): string {
  const data = isJsonObject(source) && source.type === 'base64' ? source.data : undefined;
  const pages = typeof data === 'string' ? countPdfPages(data) : 0;
  const length = pages === 0 ? '' : ` (${pages} ${pages === 1 ? 'page' : 'pages'})`;
  return `${typeof title === 'string' && title !== '' ? `“${title.slice(0, 80)}”` : 'an untitled document'}${length}`;
}

function collectToolResults(turn: JsonObject[], messages: readonly RequestMessage[]): ToolResultText[] {
  const names = new Map<string, string>();
  for (const block of messages.flatMap(({ blocks }) => blocks)) {
    if (block.type === 'tool_use') names.set(jsonToText(block.id), jsonToText(block.name));
  }
  return turn
    .filter(({ type }) => type === 'tool_result')
    .map((block) => ({
      tool: names.get(jsonToText(block.tool_use_id)) ?? 'a tool',
      text: getBlockText(block),
      isError: block.is_error === true,
    }));
}

function listUnansweredServerToolCalls(messages: readonly RequestMessage[]): JsonObject[] {
  const last = messages.at(-1);
  if (last?.role !== 'assistant') return [];
  const answered = new Set(last.blocks.map((block) => block.tool_use_id));
  return last.blocks.filter(({ type, id }) => type === 'server_tool_use' && !answered.has(id ?? null));
}

/** Reads the parts of a request that the answer depends on. */
export function extractPromptContents({ messages, system }: MessageRequest): PromptContents {
  const summary = findLeadingSummary(messages);
  const turn = listBlocksOfLastUserTurn(messages);
  const ofUser = messages.filter(({ role }) => role === 'user');
  const joinTexts = (blocks: JsonObject[]): string =>
    blocks
      .filter(({ type }) => type === 'text')
      .map((block) => removeEnclosingTags(removeAgentNotes(getBlockText(block))))
      .filter((text) => text.trim() !== '')
      .join('\n');
  const turns = ofUser.filter(({ blocks }) => blocks.some(({ type }) => type !== 'tool_result'));
  const inSystem = messages.filter(({ role }) => role === 'system').flatMap(({ blocks }) => blocks);
  const saidAt = messages.findLastIndex(({ role, blocks }) => role === 'user' && joinTexts(blocks) !== '');
  const since = [...turn, ...messages.slice(saidAt + 1).flatMap(({ blocks }) => blocks)];
  return {
    text: joinTexts(turn) || joinTexts(messages[saidAt]?.blocks ?? []),
    isAnswered: since.some(({ type }) => type === 'tool_result'),
    turns: turns.length,
    system: [...system, ...inSystem].map(getBlockText).join('\n'),
    images: turn.filter(({ type }) => type === 'image').map(describeImage),
    documents: turn
      .filter((block) => block.type === 'document' || block.type === 'search_result')
      .map(describeDocument),
    listToolResults: collectToolResults(turn, messages),
    findOpenServerTools: listUnansweredServerToolCalls(messages),
    summary: summary === undefined ? '' : getBlockText(summary),
  };
}
