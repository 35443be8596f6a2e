import { hasNewerBeta } from './betas.ts';
import { checkCompactionBlock } from './compaction-blocks.ts';
import { invalid } from './errors.ts';
import {
  listed,
  optionalBoolean,
  optionalChoice,
  optionalString,
  requiredList,
  requiredObject,
  requiredString,
  requiredTag,
} from './fields.ts';
import { base64Bytes, checkSide, imageSize, isBase64 } from './image-size.ts';
import { asText, isObject, type Json, type JsonObject, member } from './json.ts';
import { tagsOf } from './known-members.ts';
import type { CacheLifetime, Protocol, RequestMessage } from './message-request.ts';

/** Checks one member of a block. `path` is the member's own. */
type Check = (value: Json | undefined, path: string, protocol: Protocol) => void;

const IMAGE_TYPES = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];

/** Blocks that occur only in results, and are not checked. */
const ONLY_WITHIN = new Set(['tool_reference', 'browser_state']);

const CACHED = { cache_control: cacheLifetime };
const CALL = { id: checkId, name: checkToolName, input: requiredObject };
const RESULT = { tool_use_id: checkId, is_error: optionalBoolean, content: checkResult };
const CITED = { citations: checkCitationsConfig };

/** The members of blocks that are checked. */
const MEMBERS: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  text: { text: checkText, ...CACHED },
  image: { source: checkImage, ...CACHED },
  document: { title: optionalString, context: optionalString, ...CITED, source: checkDocument, ...CACHED },
  search_result: { source: requiredString, title: requiredString, ...CITED, content: blocksOf('text'), ...CACHED },
  thinking: { thinking: requiredString, signature: requiredString },
  redacted_thinking: { data: requiredString },
  tool_use: { ...CALL, ...CACHED },
  tool_result: { ...RESULT, ...CACHED },
};

/** Reads the lifetime that a `cache_control` asks for; undefined for an absent one and null. */
export function cacheLifetime(value: Json | undefined, path: string): CacheLifetime | undefined {
  if (value === undefined || value === null) return undefined;
  const control = requiredObject(value, path);
  requiredTag(control, ['ephemeral'], path);
  return optionalChoice(control.ttl, ['5m', '1h'], `${path}.ephemeral.ttl`) ?? '5m';
}

function checkText(value: Json | undefined, path: string): void {
  const text = requiredString(value, path);
  if (text === '') throw invalid('messages: text content blocks must be non-empty');
  if (text.trim() === '') throw invalid('messages: text content blocks must contain non-whitespace text');
}

function checkBase64(source: JsonObject, mediaTypes: readonly string[], path: string): string {
  const mediaType = requiredString(source.media_type, `${path}.media_type`);
  if (!mediaTypes.includes(mediaType)) throw invalid(`${path}.media_type: Input should be ${listed(mediaTypes)}`);
  const data = requiredString(source.data, `${path}.data`);
  if (data === '' || !isBase64(data)) throw invalid(`${path}: invalid base64 data`);
  return data;
}

function checkReference(source: JsonObject, tag: 'url' | 'file', path: string): void {
  if (tag === 'file') requiredString(source.file_id, `${path}.file_id`);
  else if (!/^https:\/\/[^\s/]/i.test(requiredString(source.url, `${path}.url`))) {
    throw invalid(`${path}.url: Only HTTPS URLs are supported.`);
  }
}

function checkImage(value: Json | undefined, path: string): void {
  const source = requiredObject(value, path);
  const tag = requiredTag(source, ['base64', 'url', 'file'], path);
  const at = `${path}.${tag}`;
  if (tag !== 'base64') {
    checkReference(source, tag, at);
    return;
  }
  const data = checkBase64(source, IMAGE_TYPES, at);
  const bytes = Math.floor((data.length * 3) / 4);
  if (bytes > 5_242_880) throw invalid(`${at}: image exceeds 5 MB maximum: ${bytes} bytes > 5242880 bytes`);
  const size = imageSize(data);
  if (size === undefined) throw invalid('Could not process image');
  if (size.mediaType !== source.media_type) {
    throw invalid(
      `${at}.data: The image was specified using the ${source.media_type} media type, but the image appears to be a ${size.mediaType} image`,
    );
  }
  checkSide({ source }, `${at}.data`, 8_000);
}

function checkDocument(value: Json | undefined, path: string, protocol: Protocol): void {
  const source = requiredObject(value, path);
  const tag = requiredTag(source, ['base64', 'text', 'content', 'url', 'file'], path);
  const at = `${path}.${tag}`;
  if (tag === 'url' || tag === 'file') checkReference(source, tag, at);
  else if (tag === 'base64') {
    const start = String.fromCharCode(...base64Bytes(checkBase64(source, ['application/pdf'], at), 1024));
    if (!start.includes('%PDF-')) throw invalid('The PDF specified was not valid.');
  } else if (tag === 'text') {
    const mediaType = requiredString(source.media_type, `${at}.media_type`);
    if (mediaType !== 'text/plain') throw invalid(`${at}.media_type: Input should be 'text/plain'`);
    requiredString(source.data, `${at}.data`);
  } else if (typeof source.content !== 'string') blocksOf('text', 'image')(source.content, `${at}.content`, protocol);
}

function checkCitationsConfig(value: Json | undefined, path: string): void {
  if (value !== undefined && value !== null) optionalBoolean(requiredObject(value, path).enabled, `${path}.enabled`);
}

/** Makes the check of a list of blocks of those types; with a newer beta, of any type. */
function blocksOf(...types: string[]): Check {
  return (value, path, protocol) => {
    for (const [index, entry] of requiredList(value, path).entries()) {
      const at = `${path}.${index}`;
      const block = requiredObject(entry, at);
      if (!hasNewerBeta(protocol)) requiredTag(block, types, at);
      if (!ONLY_WITHIN.has(asText(block.type))) checkBlock(block, at, protocol);
    }
  };
}

function checkResult(value: Json | undefined, path: string, protocol: Protocol): void {
  if (typeof (value ?? '') === 'string') return;
  blocksOf('text', 'image', 'search_result', 'document', ...ONLY_WITHIN)(value, path, protocol);
}

function checkId(value: Json | undefined, path: string): void {
  if (/^[a-zA-Z0-9_-]+$/.test(requiredString(value, path))) return;
  throw invalid(`${path}: String should match pattern '^[a-zA-Z0-9_-]+$'`);
}

function checkToolName(value: Json | undefined, path: string): void {
  if (requiredString(value, path) === '') throw invalid(`${path}: String should have at least 1 character`);
}

/** Checks one content block by itself: its type and its members. The conversation's rules say where it may be. */
function checkBlock(block: JsonObject, path: string, protocol: Protocol): void {
  const { type } = block;
  const types = tagsOf('block', protocol);
  // A block of an unknown type may belong to a newer beta; one without a type belongs to nothing.
  const isStrange = typeof type === 'string' && !types.includes(type);
  const tag = isStrange && hasNewerBeta(protocol) ? '' : requiredTag(block, types, path);
  const at = `${path}.${type}`;
  const own = MEMBERS[tag];
  cacheLifetime(block.cache_control, `${at}.cache_control`);
  if (tag === 'compaction') checkCompactionBlock(block, at, protocol);
  for (const [name, check] of Object.entries(own ?? (tag === 'server_tool_use' ? CALL : {}))) {
    check(member(block, name), `${at}.${name}`, protocol);
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
    checkText(content, path);
    return [{ type: 'text', text: content }];
  }
  if (!Array.isArray(content)) throw invalid(`${path}: Input should be a valid list`);
  return content.map((entry, index) => {
    const block = requiredObject(entry, `${path}.${index}`);
    checkBlock(block, `${path}.${index}`, protocol);
    return block;
  });
}

/** Checks that a block may be in a message with a role. */
export function checkRoleOfBlock(
  block: JsonObject,
  role: RequestMessage['role'],
  path: string,
  protocol: Protocol,
): void {
  const type = asText(block.type);
  const onlyIn = (wanted: string): void => {
    if (role !== wanted) throw invalid(`${path}: \`${type}\` blocks can only be in \`${wanted}\` messages`);
  };
  if (type === 'tool_use' || type === 'server_tool_use' || /^(redacted_)?thinking$/.test(type)) onlyIn('assistant');
  if (type === 'tool_result' || type === 'image' || type === 'search_result') onlyIn('user');
  if (role === 'system' && type === 'document') onlyIn('user');
  if (protocol.version !== '2026-10-21') return;
  if (type === 'document' && role === 'assistant') onlyIn('user');
  const citations = block.citations;
  if (type === 'text' && role === 'user' && Array.isArray(citations) && citations.length > 0) {
    throw invalid(`${path}.text.citations: citations are not permitted on \`text\` blocks in \`user\` messages`);
  }
}

/** Reads the text of a block: its own, or that of the blocks within it (a tool's result, a document's content). */
export function textOf(block: JsonObject): string {
  const text = block.text;
  if (typeof text === 'string') return text;
  const content = block.content;
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content
    .filter(isObject)
    .map((entry) => entry.text)
    .filter((entry) => typeof entry === 'string')
    .join('\n');
}
