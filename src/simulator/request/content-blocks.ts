import { invalid } from './errors.ts';
import {
  listed,
  optionalBoolean,
  optionalChoice,
  optionalString,
  refuseExtras,
  requiredList,
  requiredObject,
  requiredString,
  requiredTag,
} from './fields.ts';
import { base64Bytes, imageSize, isBase64 } from './image-size.ts';
import { isObject, type Json, type JsonObject, member } from './json.ts';
import type { CacheLifetime, Protocol, RequestMessage } from './message-request.ts';

/** The keys of the blocks whose extra keys are refused when no beta is asked for. */
const keysOf = new Map<string, ReadonlySet<string>>([
  ['text', new Set(['type', 'text', 'cache_control', 'citations'])],
  ['image', new Set(['type', 'source', 'cache_control', 'transformations'])],
  ['document', new Set(['type', 'source', 'cache_control', 'citations', 'context', 'title'])],
  ['search_result', new Set(['type', 'content', 'source', 'title', 'cache_control', 'citations'])],
  ['thinking', new Set(['type', 'thinking', 'signature'])],
  ['redacted_thinking', new Set(['type', 'data'])],
  ['tool_use', new Set(['type', 'id', 'name', 'input', 'cache_control', 'caller', 'toolset_name'])],
  ['tool_result', new Set(['type', 'tool_use_id', 'content', 'is_error', 'cache_control', 'toolset_name'])],
]);

const knownTypes = [
  ...keysOf.keys(),
  'server_tool_use',
  'web_search_tool_result',
  'web_fetch_tool_result',
  'code_execution_tool_result',
  'bash_code_execution_tool_result',
  'text_editor_code_execution_tool_result',
  'tool_search_tool_result',
  'container_upload',
];

const inToolResults = ['text', 'image', 'search_result', 'document', 'tool_reference', 'browser_state'];

/** Blocks that stand in results alone, and of which nothing is checked. */
const onlyWithin = new Set(['tool_reference', 'browser_state']);

const imageTypes = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];

/** The lifetime that a `cache_control` asks for, or undefined for an absent one and null. */
export function cacheLifetime(value: Json | undefined, path: string): CacheLifetime | undefined {
  if (value === undefined || value === null) return undefined;
  const control = requiredObject(value, path);
  requiredTag(control, ['ephemeral'], path);
  return optionalChoice(member(control, 'ttl'), ['5m', '1h'], `${path}.ephemeral.ttl`) ?? '5m';
}

function checkText(block: JsonObject, path: string): void {
  const text = requiredString(member(block, 'text'), `${path}.text`);
  if (text === '') throw invalid('messages: text content blocks must be non-empty');
  if (text.trim() === '') throw invalid('messages: text content blocks must contain non-whitespace text');
}

function checkBase64(source: JsonObject, mediaTypes: readonly string[], path: string): string {
  const mediaType = requiredString(member(source, 'media_type'), `${path}.media_type`);
  if (!mediaTypes.includes(mediaType)) throw invalid(`${path}.media_type: Input should be ${listed(mediaTypes)}`);
  const data = requiredString(member(source, 'data'), `${path}.data`);
  if (data === '' || !isBase64(data)) throw invalid(`${path}: invalid base64 data`);
  return data;
}

function checkUrl(source: JsonObject, path: string): void {
  const url = requiredString(member(source, 'url'), `${path}.url`);
  if (!/^https:\/\/[^\s/]/i.test(url)) throw invalid(`${path}.url: Only HTTPS URLs are supported.`);
}

function checkImage(block: JsonObject, path: string): void {
  const source = requiredObject(member(block, 'source'), `${path}.source`);
  const tag = requiredTag(source, ['base64', 'url', 'file'], `${path}.source`);
  const at = `${path}.source.${tag}`;
  if (tag === 'url') checkUrl(source, at);
  else if (tag === 'file') requiredString(member(source, 'file_id'), `${at}.file_id`);
  else checkImageData(source, at);
}

function checkImageData(source: JsonObject, at: string): void {
  const data = checkBase64(source, imageTypes, at);
  const bytes = Math.floor((data.length * 3) / 4);
  if (bytes > 5_242_880) throw invalid(`${at}: image exceeds 5 MB maximum: ${bytes} bytes > 5242880 bytes`);
  const size = imageSize(data);
  if (size === undefined) throw invalid('Could not process image');
  const mediaType = member(source, 'media_type');
  if (size.mediaType !== mediaType) {
    throw invalid(
      `${at}.data: The image was specified using the ${mediaType} media type, but the image appears to be a ${size.mediaType} image`,
    );
  }
  if (Math.max(size.width, size.height) > 8000) {
    throw invalid(`${at}.data: At least one of the image dimensions exceed max allowed size: 8000 pixels`);
  }
}

function checkDocument(block: JsonObject, path: string, protocol: Protocol): void {
  const source = requiredObject(member(block, 'source'), `${path}.source`);
  const tag = requiredTag(source, ['base64', 'text', 'content', 'url', 'file'], `${path}.source`);
  const at = `${path}.source.${tag}`;
  optionalString(member(block, 'title'), `${path}.title`);
  optionalString(member(block, 'context'), `${path}.context`);
  checkCitationsConfig(block, path);
  if (tag === 'url') checkUrl(source, at);
  else if (tag === 'file') requiredString(member(source, 'file_id'), `${at}.file_id`);
  else if (tag === 'base64') checkPdf(source, at);
  else if (tag === 'text') checkPlainText(source, at);
  else {
    const content = member(source, 'content');
    if (typeof content !== 'string') checkNested(content, ['text', 'image'], `${at}.content`, protocol);
  }
}

function checkPdf(source: JsonObject, at: string): void {
  const data = checkBase64(source, ['application/pdf'], at);
  const start = String.fromCharCode(...base64Bytes(data, 1024));
  if (!start.includes('%PDF-')) throw invalid('The PDF specified was not valid.');
}

function checkPlainText(source: JsonObject, at: string): void {
  const mediaType = requiredString(member(source, 'media_type'), `${at}.media_type`);
  if (mediaType !== 'text/plain') throw invalid(`${at}.media_type: Input should be 'text/plain'`);
  requiredString(member(source, 'data'), `${at}.data`);
}

function checkCitationsConfig(block: JsonObject, path: string): void {
  const citations = member(block, 'citations');
  if (citations === undefined || citations === null) return;
  optionalBoolean(member(requiredObject(citations, `${path}.citations`), 'enabled'), `${path}.citations.enabled`);
}

function checkNested(value: Json | undefined, types: readonly string[], path: string, protocol: Protocol): void {
  for (const [index, block] of requiredList(value, path).entries()) {
    const at = `${path}.${index}`;
    const object = requiredObject(block, at);
    if (!protocol.beta) requiredTag(object, types, at);
    if (!onlyWithin.has(String(member(object, 'type')))) checkBlock(object, at, protocol);
  }
}

function checkId(value: Json | undefined, path: string): void {
  if (!/^[a-zA-Z0-9_-]+$/.test(requiredString(value, path))) {
    throw invalid(`${path}: String should match pattern '^[a-zA-Z0-9_-]+$'`);
  }
}

/** Checks one content block by itself: its type, its fields, its data. Where it may stand is for the conversation to judge. */
function checkBlock(block: JsonObject, path: string, protocol: Protocol): void {
  const type = member(block, 'type');
  const known = knownTypes.find((entry) => entry === type);
  // A block of an unknown type may belong to a beta; one without a type belongs to nothing.
  if (known === undefined && (typeof type !== 'string' || !protocol.beta)) requiredTag(block, knownTypes, path);
  const at = `${path}.${type}`;
  const keys = known === undefined ? undefined : keysOf.get(known);
  if (keys !== undefined && !protocol.beta) refuseExtras(block, keys, at);
  cacheLifetime(member(block, 'cache_control'), `${at}.cache_control`);

  if (type === 'text') checkText(block, at);
  else if (type === 'image') checkImage(block, at);
  else if (type === 'document') checkDocument(block, at, protocol);
  else if (type === 'search_result') {
    requiredString(member(block, 'source'), `${at}.source`);
    requiredString(member(block, 'title'), `${at}.title`);
    checkCitationsConfig(block, at);
    checkNested(member(block, 'content'), ['text'], `${at}.content`, protocol);
  } else if (type === 'thinking') {
    requiredString(member(block, 'thinking'), `${at}.thinking`);
    requiredString(member(block, 'signature'), `${at}.signature`);
  } else if (type === 'redacted_thinking') {
    requiredString(member(block, 'data'), `${at}.data`);
  } else if (type === 'tool_use' || type === 'server_tool_use') {
    checkId(member(block, 'id'), `${at}.id`);
    if (requiredString(member(block, 'name'), `${at}.name`) === '') {
      throw invalid(`${at}.name: String should have at least 1 character`);
    }
    requiredObject(member(block, 'input'), `${at}.input`);
  } else if (type === 'tool_result') {
    checkId(member(block, 'tool_use_id'), `${at}.tool_use_id`);
    optionalBoolean(member(block, 'is_error'), `${at}.is_error`);
    const content = member(block, 'content') ?? '';
    if (typeof content !== 'string') checkNested(content, inToolResults, `${at}.content`, protocol);
  }
}

/**
 * Reads a message's content, a string or a list of blocks, as blocks that have been checked one by one.
 * @throws ApiError 400 in the API's words.
 */
export function contentBlocks(content: Json | undefined, path: string, protocol: Protocol): JsonObject[] {
  if (content === undefined) throw invalid(`${path}: Field required`);
  if (typeof content === 'string') {
    if (content === '') return [];
    const block = { type: 'text', text: content };
    checkText(block, path);
    return [block];
  }
  if (!Array.isArray(content)) throw invalid(`${path}: Input should be a valid list`);
  return content.map((entry, index) => {
    const block = requiredObject(entry, `${path}.${index}`);
    checkBlock(block, `${path}.${index}`, protocol);
    return block;
  });
}

/** Checks that a block may stand in a message of that role. */
export function checkRoleOfBlock(
  block: JsonObject,
  role: RequestMessage['role'],
  path: string,
  protocol: Protocol,
): void {
  const type = String(member(block, 'type'));
  const onlyIn = (wanted: string): void => {
    if (role !== wanted) throw invalid(`${path}: \`${type}\` blocks can only be in \`${wanted}\` messages`);
  };
  if (type === 'tool_use' || type === 'server_tool_use' || /^(redacted_)?thinking$/.test(type)) onlyIn('assistant');
  if (type === 'tool_result' || type === 'image' || type === 'search_result') onlyIn('user');
  if (role === 'system' && type === 'document') onlyIn('user');
  if (protocol.version !== '2026-10-21') return;
  if (type === 'document' && role === 'assistant') onlyIn('user');
  const citations = member(block, 'citations');
  if (type === 'text' && role === 'user' && Array.isArray(citations) && citations.length > 0) {
    throw invalid(`${path}.text.citations: citations are not permitted on \`text\` blocks in \`user\` messages`);
  }
}

/** The text of a block: its own, or that of the blocks within it (a tool's result, a document's content). */
export function textOf(block: JsonObject): string {
  const text = member(block, 'text');
  if (typeof text === 'string') return text;
  const content = member(block, 'content');
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content
    .filter(isObject)
    .map((entry) => member(entry, 'text'))
    .filter((entry) => typeof entry === 'string')
    .join('\n');
}
