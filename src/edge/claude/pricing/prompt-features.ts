/** Finds, in one walk over a request's body, everything that makes its input cost more or less than its bytes. */

import { getMember, isObject, type JsonObject, toStringOrUndefined } from '../../kit/json/object.ts';
import { expandModelUses, findModelsOutsideTools } from './referenced-models.ts';

const TOKENS_PER_MESSAGE = 16;
/** Tokens that are added for all custom tools together, for an output format, and for a list of MCP tools. */
const TOKENS_PER_SCHEMA = 1_024;
/** Tokens of a tool that the API defines: its schema is not in the body. A toolset has many such schemas. */
const TOKENS_PER_NATIVE_TOOL = 2_048;
const TOKENS_PER_TOOLSET = 8_192;
/**
 * An image costs ⌈width/28⌉ × ⌈height/28⌉ tokens after it was scaled to the model's maximum, which is 4,784 tokens for the
 * newest models and 1,568 for older ones (https://platform.claude.com/docs/en/build-with-claude/vision.md). The rest is for
 * what the API puts around it.
 */
export const TOKENS_PER_IMAGE = 5_000;
/**
 * The steps of the API's own tool loop if no `max_uses` limits it
 * (https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons), and the assumed searches in each step.
 */
export const UNLIMITED_USES = 10;
/** How deep content is read. The API accepts a nesting of at most four. */
const MAX_CONTENT_DEPTH = 32;
/** Tokens of a fetched page's address, title and time. */
const TOKENS_PER_PAGE = 1_000;

/** Blocks that cost at most their bytes. */
const LEAF_BLOCKS = new Set([
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
/** Blocks whose `content` is a list of blocks, one block, or text. */
const CONTAINER_BLOCKS = new Set([
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
/** Blocks that refer to something long at the API: a tool's definition, or a file that cannot change. */
const REFERENCE_BLOCKS = new Set(['tool_reference', 'tool_search_tool_search_result', 'container_upload']);
/** Tools that the API itself calls and whose definition is short. */
const SERVER_TOOLS = /^(web_search|web_fetch|code_execution|advisor|tool_search)_/;
/** Of these, the ones whose uses `max_uses` limits. */
const MAX_USES_TOOLS = /^(web_search|web_fetch|advisor)_/;
const CLIENT_TOOLS = /^(bash|text_editor|computer|memory)_\d/;
const CLIENT_TOOLSETS = /^(browser|computer)_toolset_\d/;

/** The features that were found in a body. */
export interface PromptFeatures {
  /** Tokens to add to the bytes of the body. Base64 of images is subtracted. */
  extra: number;
  /** The bound of the input: the bytes of the body, a count of its tokens, or only the context window. */
  by: 'bytes' | 'count' | 'window';
  /** The longest cache lifetime asked for. */
  cache: 'none' | '5m' | '1h';
  /** The ids of the files that images, documents and uploads to a container are. */
  files: string[];
  /** How many images are given by URL. An image may change after it was counted. */
  linkedImages: number;
  /** The length of images in base64, which their tokens do not depend on. */
  encoded: number;
  /** The length of what earlier answers have thought. It is billed again, but the API does not count it. */
  thought: number;
  /** The length of the signatures and the redacted data of that, in base64. */
  signed: number;
  /** Whether something else may grow after it was counted. */
  changes: boolean;
  /** Why only the context window limits the input, in words for the caller. */
  because: string | undefined;
  /** The tools that the API itself calls, added up. After each use it reads the whole prompt again. */
  serverTools: ServerToolSums;
  /** The most web searches that may be billed. */
  searches: number;
  /** Tools that ask for another model, at most `MAX_ADVISORS` + 1 of them. */
  advisors: readonly JsonObject[];
}

/** Sums over the tools that the API itself calls. (A list of them could be as long as the body.) */
interface ServerToolSums {
  tools: number;
  /** The name of the first one. */
  name: string;
  /** The sum of `max_uses` over those that have it. */
  uses: number;
  /** How many have no `max_uses`, and how many of these take it. */
  unlimited: number;
  lackMaxUses: number;
  /** The most tokens that all uses add to the prompt, and that one does; infinite if nothing limits them. */
  growth: number;
  result: number;
  /** Whether the prompt has definitions that are not in the body. */
  hidden: boolean;
}

type ServerTool = Pick<ServerToolSums, 'name' | 'growth' | 'result' | 'hidden'> & {
  uses: number | undefined;
  lacksMaxUses: boolean;
};

/** A member that makes the API call tools which the body does not list. */
const HIDDEN_TOOLS_FIELD = {
  uses: undefined,
  lacksMaxUses: false,
  growth: Number.POSITIVE_INFINITY,
  result: Number.POSITIVE_INFINITY,
  hidden: true,
};
const NO_SERVER_TOOLS: ServerToolSums = {
  tools: 0,
  name: '',
  uses: 0,
  unlimited: 0,
  lackMaxUses: 0,
  growth: 0,
  result: 0,
  hidden: false,
};
/** The most advisors that a maximum cost adds up. No budget pays for a request with more of them. */
export const MAX_ADVISORS = 64;

/** The features of an empty list of messages. */
export const NO_FEATURES: PromptFeatures = {
  extra: 0,
  by: 'bytes',
  cache: 'none',
  files: [],
  linkedImages: 0,
  encoded: 0,
  thought: 0,
  signed: 0,
  changes: false,
  because: undefined,
  serverTools: NO_SERVER_TOOLS,
  searches: 0,
  advisors: [],
};

/** @returns the features of messages, added to those of the messages before them. */
export function findFeaturesOfMessages(
  messages: readonly unknown[],
  before: PromptFeatures = NO_FEATURES,
): PromptFeatures {
  const found = { ...before, files: [...before.files] };
  collectMessageFeatures(messages, found);
  return found;
}

/** @returns the features of so many messages whose content is a text without a breakpoint, and of what comes before them. */
export function addPlainMessages(messages: number, before: PromptFeatures): PromptFeatures {
  return { ...before, extra: before.extra + messages * TOKENS_PER_MESSAGE };
}

/**
 * @param lengthOf returns the length of a string. Needed if strings of the body stand for longer ones
 * @returns the features of a whole body, added to those of the messages before it
 */
export function findFeaturesOfBody(
  body: JsonObject,
  before: PromptFeatures = NO_FEATURES,
  lengthOf?: StringLengthFunction,
): PromptFeatures {
  const found = { ...before, files: [...before.files] };
  collectBodyFeatures(body, found, lengthOf);
  return found;
}

/** Returns how long a string of a body is. */
type StringLengthFunction = (value: string) => number;

const getStringLength: StringLengthFunction = (value) => value.length;

function collectBodyFeatures(body: JsonObject, features: PromptFeatures, lengthOf?: StringLengthFunction): void {
  extendCacheLifetime(body.cache_control, features);
  collectBlockFeatures(body.system, features, lengthOf);
  if (Array.isArray(body.messages)) collectMessageFeatures(body.messages, features, lengthOf);
  if (Array.isArray(body.tools) && body.tools.length > 0) {
    features.extra += TOKENS_PER_SCHEMA;
    for (const tool of body.tools) if (isObject(tool)) collectToolFeatures(tool, features);
  }
  addModels(findModelsOutsideTools(body), features);
  if (isObject(body.output_config) && body.output_config.format) features.extra += TOKENS_PER_SCHEMA;
  if (body.output_format) features.extra += TOKENS_PER_SCHEMA;
  if (Array.isArray(body.mcp_servers) && body.mcp_servers.length > 0) {
    addServerTool({ ...HIDDEN_TOOLS_FIELD, name: 'mcp_servers' }, features);
  }
  if (isObject(body.container) && Array.isArray(body.container.skills) && body.container.skills.length > 0) {
    addServerTool({ ...HIDDEN_TOOLS_FIELD, name: 'skills' }, features);
  }
  // The API adds the stored earlier messages of a continued thread to the prompt. The body contains only the new ones, so its
  // size does not bound the prompt. Assume the whole context window.
  if (body.thread && !(isObject(body.thread) && body.thread.type === 'create'))
    setBoundToContextWindow('a thread', features);
}

function collectMessageFeatures(
  messages: readonly unknown[],
  features: PromptFeatures,
  lengthOf?: StringLengthFunction,
): void {
  features.extra += messages.length * TOKENS_PER_MESSAGE;
  for (const message of messages) {
    const content = isObject(message) ? message.content : undefined;
    if (typeof content !== 'string') collectBlockFeatures(content, features, lengthOf);
  }
}

/** Reads blocks level by level. It does not recurse, because a hostile body may nest very deep. */
function collectBlockFeatures(
  content: unknown,
  features: PromptFeatures,
  lengthOf: StringLengthFunction = getStringLength,
): void {
  if (typeof content !== 'object' || content === null) return;
  let level: unknown[] = [content];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_CONTENT_DEPTH) {
      setBoundToContextWindow('content that is nested too deeply', features);
      return;
    }
    const next: unknown[] = [];
    for (const node of level) {
      if (Array.isArray(node)) for (const item of node) collectNodeFeatures(item, features, next, lengthOf);
      else collectNodeFeatures(node, features, next, lengthOf);
    }
    level = next;
  }
}

function collectNodeFeatures(
  node: unknown,
  features: PromptFeatures,
  next: unknown[],
  lengthOf: StringLengthFunction,
): void {
  if (Array.isArray(node)) {
    next.push(node);
    return;
  }
  if (!isObject(node)) return;
  extendCacheLifetime(node.cache_control, features);
  const type = toStringOrUndefined(node.type) ?? 'unknown';
  if (type === 'compaction') collectSummaryToolFeatures(node.tool_changes, features);
  // A signature contains the whole thinking in encrypted form, however little of its text is shown, so count its length:
  // https://docs.claude.com/en/docs/build-with-claude/extended-thinking
  if (type === 'thinking' || type === 'redacted_thinking') {
    if (typeof node.thinking === 'string') features.thought += lengthOf(node.thinking);
    for (const text of [node.signature, node.data]) if (typeof text === 'string') features.signed += lengthOf(text);
  }
  if (LEAF_BLOCKS.has(type) || type.endsWith('_tool_result_error')) return;
  if (type === 'image' || type === 'document') collectSourceFeatures(type, node.source, features, next, lengthOf);
  else if (CONTAINER_BLOCKS.has(type)) {
    if (typeof node.content === 'object' && node.content !== null) next.push(node.content);
  } else if (REFERENCE_BLOCKS.has(type)) {
    addFile(node, features);
    setBoundToTokenCount(features);
  } else if (type === 'mcp_tool_listing') features.extra += TOKENS_PER_SCHEMA;
  else if (type === 'tool_addition') collectAddedToolFeatures(node, features);
  else setBoundToContextWindow(`a block of the type ${type.slice(0, 64)}`, features);
}

function collectSourceFeatures(
  type: 'image' | 'document',
  source: unknown,
  features: PromptFeatures,
  next: unknown[],
  lengthOf: StringLengthFunction,
): void {
  const kind = isObject(source) ? source.type : undefined;
  addFile(source, features);
  if (type === 'image') {
    // The API scales large images down, so an image has a maximum cost even if only its URL is known:
    // https://platform.claude.com/docs/en/build-with-claude/vision.md
    if (kind === 'url') features.linkedImages += 1;
    const inBody = isObject(source) && kind === 'base64' && typeof source.data === 'string' ? lengthOf(source.data) : 0;
    features.extra += TOKENS_PER_IMAGE - inBody;
    features.encoded += inBody;
  } else if (!isObject(source) || typeof kind !== 'string')
    setBoundToContextWindow('a document without a source', features);
  else if (kind === 'base64') {
    // A PDF is compressed, so its size in bytes does not bound its number of pages or its text.
    setBoundToTokenCount(features);
  } else if (kind === 'text') {
    // The text is part of the body, whose bytes are already counted.
  } else if (kind === 'content') {
    if (typeof source.content === 'object' && source.content !== null) next.push(source.content);
  } else if (kind === 'file') setBoundToTokenCount(features);
  else {
    // The document behind a URL may change after it was counted, so assume the whole context window.
    features.changes = true;
    setBoundToContextWindow('a document by URL', features);
  }
}

function addFile(holder: unknown, { files }: PromptFeatures): void {
  const id = getMember(holder, 'file_id');
  if (typeof id === 'string') files.push(id);
}

/** Reads a tool that a message adds: its definition is in the block, or the block refers to one. */
function collectAddedToolFeatures({ tool }: JsonObject, features: PromptFeatures): void {
  if (isObject(tool) && tool.type === 'tool_definition') {
    features.extra += TOKENS_PER_SCHEMA;
    if (isObject(tool.definition)) collectToolFeatures(tool.definition, features);
    return;
  }
  setBoundToTokenCount(features);
  if (isObject(tool)) collectToolFeatures(tool, features);
}

/** Reads the tools that a summary carries on by their definitions. What it refers to is in `tools`. */
function collectSummaryToolFeatures(changes: unknown, features: PromptFeatures): void {
  for (const change of Array.isArray(changes) ? changes : []) {
    const tool = getMember(change, 'tool');
    if (getMember(tool, 'type') === 'tool_definition') collectAddedToolFeatures({ tool }, features);
  }
}

function collectToolFeatures(tool: JsonObject, features: PromptFeatures): void {
  extendCacheLifetime(tool.cache_control, features);
  const type = typeof tool.type === 'string' ? tool.type : 'custom';
  addModels(expandModelUses(tool, type), features);
  if (type === 'custom' || type === 'tool_reference') return;
  if (CLIENT_TOOLS.test(type)) features.extra += TOKENS_PER_NATIVE_TOOL;
  else if (CLIENT_TOOLSETS.test(type)) features.extra += TOKENS_PER_TOOLSET;
  else {
    features.extra += TOKENS_PER_NATIVE_TOOL;
    addServerTool(createServerTool(type, tool), features);
    const uses = toWholeNumber(tool.max_uses);
    if (type.startsWith('web_search')) features.searches += Math.min(uses ?? UNLIMITED_USES ** 2, 1_000_000);
  }
}

function createServerTool(type: string, tool: JsonObject): ServerTool {
  const uses = toWholeNumber(tool.max_uses);
  const content = toWholeNumber(tool.max_content_tokens);
  const isFetch = type.startsWith('web_fetch');
  const result = isFetch && content !== undefined ? content + TOKENS_PER_PAGE : Number.POSITIVE_INFINITY;
  return {
    name: type.replace(/_\d+$/, '').slice(0, 64),
    uses,
    lacksMaxUses: isToolWithoutMaxUses(tool),
    growth: uses === 0 ? 0 : (uses ?? Number.POSITIVE_INFINITY) * result,
    result,
    hidden: !SERVER_TOOLS.test(type),
  };
}

/** @returns whether a tool takes `max_uses` and has none. */
export function isToolWithoutMaxUses({ type, max_uses }: JsonObject): boolean {
  return typeof type === 'string' && MAX_USES_TOOLS.test(type) && toWholeNumber(max_uses) === undefined;
}

/** Adds models that a request may use beside its own. Each is given in the form of a tool that names it. */
export function addModels(advisors: readonly JsonObject[], features: PromptFeatures): void {
  // Keep one advisor more than the maximum, so that a later check can tell that there are too many.
  if (features.advisors.length <= MAX_ADVISORS)
    features.advisors = [...features.advisors, ...advisors].slice(0, MAX_ADVISORS + 1);
}

function addServerTool(tool: ServerTool, features: PromptFeatures): void {
  const { tools, name, uses, unlimited, lackMaxUses, growth, result, hidden } = features.serverTools;
  features.serverTools = {
    tools: tools + 1,
    name: name || tool.name,
    uses: uses + (tool.uses ?? 0),
    unlimited: unlimited + Number(tool.uses === undefined),
    lackMaxUses: lackMaxUses + Number(tool.lacksMaxUses),
    growth: growth + tool.growth,
    result: Math.max(result, tool.result),
    hidden: hidden || tool.hidden,
  };
}

function setBoundToContextWindow(because: string, features: PromptFeatures): void {
  features.by = 'window';
  features.because ??= because;
}

function setBoundToTokenCount(features: PromptFeatures): void {
  if (features.by === 'bytes') features.by = 'count';
}

/** Keeps the longest cache lifetime that was asked for. */
export function extendCacheLifetime(control: unknown, features: PromptFeatures): void {
  if (control === undefined || control === null) return;
  const ttl = isObject(control) ? control.ttl : undefined;
  if (ttl !== undefined && ttl !== null && ttl !== '5m') features.cache = '1h';
  else if (features.cache === 'none') features.cache = '5m';
}

/** @returns a whole number that is not negative; undefined for anything else. */
export function toWholeNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
}
