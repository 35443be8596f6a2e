/**
 * What bounds a request's input beside its bytes: found by one walk over its body.
 *
 * Only what costs more, or less, than its bytes is looked for, block by block.
 */

import { isObject, type Json } from '../json/object.ts';
import { furtherModels, usesOfModels } from './further-models.ts';

const PER_MESSAGE = 16;
/** For tools as a whole, for an output format, for a listing of MCP tools. */
const PER_SCHEMA = 1_024;
/** A tool that the API defines is a short name for a schema that is not in the body; a toolset for many. */
const PER_NATIVE_TOOL = 2_048;
const PER_TOOLSET = 8_192;
/**
 * An image costs ⌈width/28⌉ × ⌈height/28⌉ tokens after it was scaled to the model's maximum, which is 4,784 tokens for
 * the newest models and 1,568 for older ones (platform.claude.com/docs, "Vision", November 2026); the rest is for what
 * frames it.
 */
export const PER_IMAGE = 5_000;
/** Steps of the API's own tool loop where no `max_uses` limits it, and searches in each of them. */
export const UNLIMITED_USES = 10;
/** Content nests four deep at most in anything the API accepts. */
const DEEPEST_CONTENT = 32;
/** What frames the content of a page that was fetched: its address, title and time. */
const PER_PAGE = 1_000;

/** Blocks whose cost is in their bytes. */
const LEAVES = new Set([
  'text',
  'thinking',
  'redacted_thinking',
  'tool_use',
  'server_tool_use',
  'mcp_tool_use',
  'compaction',
  'fallback',
  'tool_removal',
  'browser_state',
  'web_search_result',
  'advisor_result',
  'advisor_redacted_result',
  'code_execution_result',
  'encrypted_code_execution_result',
  'bash_code_execution_result',
  'text_editor_code_execution_view_result',
  'text_editor_code_execution_create_result',
  'text_editor_code_execution_str_replace_result',
]);
/** Blocks whose `content` is blocks, one block, or text. */
const CONTAINERS = new Set([
  'tool_result',
  'search_result',
  'mcp_tool_result',
  'web_search_tool_result',
  'web_fetch_tool_result',
  'web_fetch_result',
  'advisor_tool_result',
  'code_execution_tool_result',
  'bash_code_execution_tool_result',
  'text_editor_code_execution_tool_result',
  'tool_search_tool_result',
]);
/** A few bytes stand for much that the API holds, and counts: a tool's definition, a file that cannot change. */
const REFERENCES = new Set(['tool_reference', 'tool_search_tool_search_result', 'container_upload']);
/** Tools that the API itself calls, and whose definition is short. */
const SERVED_TOOLS = /^(web_search|web_fetch|code_execution|advisor|tool_search)_/;
const CLIENT_TOOLS = /^(bash|text_editor|computer|memory)_\d/;
const CLIENT_TOOLSETS = /^(browser|computer)_toolset_\d/;

/** What a walk over a body finds. */
export interface PromptFeatures {
  /** Tokens beyond bytes, less the bytes that are no text (base64 of images). */
  extra: number;
  /** By what the input is bounded: its bytes, a count of its tokens, the context window alone. */
  by: 'bytes' | 'count' | 'window';
  /** The longest cache lifetime asked for. */
  cache: 'none' | '5m' | '1h';
  /** Images by URL: each may be another one after it was counted. */
  linkedImages: number;
  /** Whether anything else in it may grow after it was counted. */
  changes: boolean;
  /** Why it is the window, in words for the caller. */
  because: string | undefined;
  /** The tools that the API itself calls, all together: after each use it reads the whole prompt again. */
  served: Served;
  searches: number;
  /** At most `MOST_ADVISORS` of them. */
  advisors: readonly Json[];
}

/** Tools that the API itself calls. Sums, since a body may have as many of them as it has room for. */
export interface Served {
  tools: number;
  /** Of the first one. */
  name: string;
  /** Of those that are limited. */
  uses: number;
  unlimited: boolean;
  /** The most tokens that all their uses bring into the prompt; infinite where nothing limits them. */
  growth: number;
  /** Whether definitions are in the prompt that are not in the body. */
  hidden: boolean;
}

type ServedTool = Pick<Served, 'name' | 'growth' | 'hidden'> & { uses: number | undefined };

/** What makes the API call tools of which the body does not tell. */
const HIDDEN = { uses: undefined, growth: Number.POSITIVE_INFINITY, hidden: true };
const NONE_SERVED: Served = { tools: 0, name: '', uses: 0, unlimited: false, growth: 0, hidden: false };
/** More advisors than anybody has: a request with more of them is one that no budget pays. */
export const MOST_ADVISORS = 64;

/** Of no messages at all. */
export const NO_FEATURES: PromptFeatures = {
  extra: 0,
  by: 'bytes',
  cache: 'none',
  linkedImages: 0,
  changes: false,
  because: undefined,
  served: NONE_SERVED,
  searches: 0,
  advisors: [],
};

/** @returns what bounds messages beside their bytes, together with what was found in those before them. */
export function featuresOf(messages: readonly unknown[], before: PromptFeatures = NO_FEATURES): PromptFeatures {
  const found = { ...before };
  readMessages(messages, found);
  return found;
}

/**
 * @param lengthOf tells how long a string is, where those of the body may stand for longer ones
 * @returns the findings of a whole body, together with what was found in messages before its own
 */
export function featuresOfBody(body: Json, before: PromptFeatures = NO_FEATURES, lengthOf?: LengthOf): PromptFeatures {
  const found = { ...before };
  readBody(body, found, lengthOf);
  return found;
}

/** Tells how long a string of a body is. */
type LengthOf = (value: string) => number;

const ownLength: LengthOf = (value) => value.length;

function readBody(body: Json, found: PromptFeatures, lengthOf?: LengthOf): void {
  noteCache(body.cache_control, found);
  readBlocks(body.system, found, lengthOf);
  if (Array.isArray(body.messages)) readMessages(body.messages, found, lengthOf);
  if (Array.isArray(body.tools) && body.tools.length > 0) {
    found.extra += PER_SCHEMA;
    for (const tool of body.tools) if (isObject(tool)) readTool(tool, found);
  }
  noteModels(furtherModels(body), found);
  if (isObject(body.output_config) && body.output_config.format) found.extra += PER_SCHEMA;
  if (body.output_format) found.extra += PER_SCHEMA;
  if (Array.isArray(body.mcp_servers) && body.mcp_servers.length > 0) {
    serve({ ...HIDDEN, name: 'mcp_servers' }, found);
  }
  if (isObject(body.container) && Array.isArray(body.container.skills) && body.container.skills.length > 0) {
    serve({ ...HIDDEN, name: 'skills' }, found);
  }
  // The conversation lies at the API; the body has only what is new in it.
  if (body.thread) byWindow('thread', found);
}

function readMessages(messages: readonly unknown[], found: PromptFeatures, lengthOf?: LengthOf): void {
  found.extra += messages.length * PER_MESSAGE;
  for (const message of messages) {
    const content = isObject(message) ? message.content : undefined;
    if (typeof content !== 'string') readBlocks(content, found, lengthOf);
  }
}

/** Walks with a stack of its own: a body may nest as deep as it is long. */
function readBlocks(content: unknown, found: PromptFeatures, lengthOf: LengthOf = ownLength): void {
  if (typeof content !== 'object' || content === null) return;
  let level: unknown[] = [content];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST_CONTENT) {
      byWindow('content that is nested too deep', found);
      return;
    }
    const next: unknown[] = [];
    for (const node of level) {
      if (Array.isArray(node)) for (const item of node) readNode(item, found, next, lengthOf);
      else readNode(node, found, next, lengthOf);
    }
    level = next;
  }
}

function readNode(node: unknown, found: PromptFeatures, next: unknown[], lengthOf: LengthOf): void {
  if (Array.isArray(node)) {
    next.push(node);
    return;
  }
  if (!isObject(node)) return;
  noteCache(node.cache_control, found);
  const type = String(node.type);
  if (LEAVES.has(type) || type.endsWith('_tool_result_error')) return;
  if (type === 'image' || type === 'document') readSource(type, node.source, found, next, lengthOf);
  else if (CONTAINERS.has(type)) {
    if (typeof node.content === 'object' && node.content !== null) next.push(node.content);
  } else if (REFERENCES.has(type)) byCount(found);
  else if (type === 'mcp_tool_listing') found.extra += PER_SCHEMA;
  else if (type === 'tool_addition') {
    byCount(found);
    if (isObject(node.tool)) readTool(node.tool, found);
  } else byWindow(`a block of the type ${type.slice(0, 64)}`, found);
}

function readSource(
  type: 'image' | 'document',
  source: unknown,
  found: PromptFeatures,
  next: unknown[],
  lengthOf: LengthOf,
): void {
  const kind = isObject(source) ? source.type : undefined;
  if (type === 'image') {
    // The API scales an image down, wherever it comes from.
    if (kind === 'url') found.linkedImages += 1;
    const inBody = isObject(source) && kind === 'base64' && typeof source.data === 'string' ? lengthOf(source.data) : 0;
    found.extra += PER_IMAGE - inBody;
  } else if (!isObject(source) || typeof kind !== 'string') byWindow('a document without a source', found);
  else if (kind === 'base64') {
    // Pages and text lie compressed in a PDF: neither can be counted from its bytes, nor is a page's text limited.
    byCount(found);
  } else if (kind === 'text') {
    // In its bytes.
  } else if (kind === 'content') {
    if (typeof source.content === 'object' && source.content !== null) next.push(source.content);
  } else if (kind === 'file') byCount(found);
  else {
    // What stands behind a URL may be another thing after it was counted.
    found.changes = true;
    byWindow('a document by URL', found);
  }
}

function readTool(tool: Json, found: PromptFeatures): void {
  noteCache(tool.cache_control, found);
  const type = typeof tool.type === 'string' ? tool.type : 'custom';
  noteModels(usesOfModels(tool, type), found);
  if (type === 'custom' || type === 'tool_reference') return;
  if (CLIENT_TOOLS.test(type)) found.extra += PER_NATIVE_TOOL;
  else if (CLIENT_TOOLSETS.test(type)) found.extra += PER_TOOLSET;
  else {
    found.extra += PER_NATIVE_TOOL;
    serve(servedTool(type, tool), found);
    const uses = wholeNumber(tool.max_uses);
    if (type.startsWith('web_search')) found.searches += Math.min(uses ?? UNLIMITED_USES ** 2, 1_000_000);
  }
}

function servedTool(type: string, tool: Json): ServedTool {
  const uses = wholeNumber(tool.max_uses);
  const content = wholeNumber(tool.max_content_tokens);
  const isFetch = type.startsWith('web_fetch');
  const growth =
    isFetch && uses !== undefined && content !== undefined ? uses * (content + PER_PAGE) : Number.POSITIVE_INFINITY;
  return {
    name: type.replace(/_\d+$/, '').slice(0, 64),
    uses,
    growth,
    hidden: !SERVED_TOOLS.test(type),
  };
}

/** Notes models that a request may use beside its own: each as a tool that asks for one. */
export function noteModels(advisors: readonly Json[], found: PromptFeatures): void {
  // One more than are looked at says that there are too many.
  if (found.advisors.length <= MOST_ADVISORS)
    found.advisors = [...found.advisors, ...advisors].slice(0, MOST_ADVISORS + 1);
}

function serve(tool: ServedTool, found: PromptFeatures): void {
  const { tools, name, uses, unlimited, growth, hidden } = found.served;
  found.served = {
    tools: tools + 1,
    name: name || tool.name,
    uses: uses + (tool.uses ?? 0),
    unlimited: unlimited || tool.uses === undefined,
    growth: growth + tool.growth,
    hidden: hidden || tool.hidden,
  };
}

function byWindow(because: string, found: PromptFeatures): void {
  found.by = 'window';
  found.because ??= because;
}

function byCount(found: PromptFeatures): void {
  if (found.by === 'bytes') found.by = 'count';
}

/** Notes the cache lifetime that something asks for, if it is the longest. */
export function noteCache(control: unknown, found: PromptFeatures): void {
  if (control === undefined || control === null) return;
  const ttl = isObject(control) ? control.ttl : undefined;
  if (ttl !== undefined && ttl !== null && ttl !== '5m') found.cache = '1h';
  else if (found.cache === 'none') found.cache = '5m';
}

/** @returns a whole number that is not negative; undefined for anything else. */
export function wholeNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
}
