import { hasNewerBeta } from './betas.ts';
import { checkCompactionBlock } from './compaction-blocks.ts';
import { invalidRequestError } from './errors.ts';
import {
  formatList,
  readOptionalBoolean,
  readOptionalChoice,
  readOptionalString,
  readRequiredList,
  readRequiredObject,
  readRequiredString,
  readRequiredTag,
} from './fields.ts';
import { checkImageSide, decodeBase64Start, isBase64, readImageSize } from './image-size.ts';
import { isObject, type Json, type JsonObject, jsonToText, readMember } from './json.ts';
import { availableTagsOf } from './known-members.ts';
import type { CacheLifetime, Protocol, RequestMessage } from './message-request.ts';

/** Checks one member of a block. `path` is the member's own. */
type CheckMember = (value: Json | undefined, path: string, protocol: Protocol) => void;

const IMAGE_TYPES = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];

/** Blocks that occur only in results, and are not checked. */
const NESTED_ONLY_TYPES = new Set(['tool_reference', 'browser_state']);

const CACHE_MEMBERS = { cache_control: readCacheLifetime };
const CALL_MEMBERS = { id: checkId, name: checkToolName, input: readRequiredObject };
const RESULT_MEMBERS = { tool_use_id: checkId, is_error: readOptionalBoolean, content: checkResult };
const CITATION_MEMBERS = { citations: checkCitationsConfig };

/** The members of blocks that are checked. */
const CHECKED_MEMBERS: Readonly<Record<string, Readonly<Record<string, CheckMember>>>> = {
  text: { text: checkText, ...CACHE_MEMBERS },
  image: { source: checkImage, ...CACHE_MEMBERS },
  document: {
    title: readOptionalString,
    context: readOptionalString,
    ...CITATION_MEMBERS,
    source: checkDocument,
    ...CACHE_MEMBERS,
  },
  search_result: {
    source: readRequiredString,
    title: readRequiredString,
    ...CITATION_MEMBERS,
    content: createBlocksCheck('text'),
    ...CACHE_MEMBERS,
  },
  thinking: { thinking: readRequiredString, signature: readRequiredString },
  redacted_thinking: { data: readRequiredString },
  tool_use: { ...CALL_MEMBERS, ...CACHE_MEMBERS },
  tool_result: { ...RESULT_MEMBERS, ...CACHE_MEMBERS },
};

/** Reads the lifetime that a `cache_control` asks for; undefined for an absent one and null. */
export function readCacheLifetime(value: Json | undefined, path: string): CacheLifetime | undefined {
  if (value === undefined || value === null) return undefined;
  const control = readRequiredObject(value, path);
  readRequiredTag(control, ['ephemeral'], path);
  return readOptionalChoice(control.ttl, ['5m', '1h'], `${path}.ephemeral.ttl`) ?? '5m';
}

function checkText(value: Json | undefined, path: string): void {
  const text = readRequiredString(value, path);
  if (text === '') throw invalidRequestError('messages: text content blocks must be non-empty');
  if (text.trim() === '') throw invalidRequestError('messages: text content blocks must contain non-whitespace text');
}

function checkBase64(source: JsonObject, mediaTypes: readonly string[], path: string): string {
  const mediaType = readRequiredString(source.media_type, `${path}.media_type`);
  if (!mediaTypes.includes(mediaType))
    throw invalidRequestError(`${path}.media_type: Input should be ${formatList(mediaTypes)}`);
  const data = readRequiredString(source.data, `${path}.data`);
  if (data === '' || !isBase64(data)) throw invalidRequestError(`${path}: invalid base64 data`);
  return data;
}

function checkReference(source: JsonObject, tag: 'url' | 'file', path: string): void {
  if (tag === 'file') readRequiredString(source.file_id, `${path}.file_id`);
  else if (!/^https:\/\/[^\s/]/i.test(readRequiredString(source.url, `${path}.url`))) {
    throw invalidRequestError(`${path}.url: Only HTTPS URLs are supported.`);
  }
}

function checkImage(value: Json | undefined, path: string): void {
  const source = readRequiredObject(value, path);
  const tag = readRequiredTag(source, ['base64', 'url', 'file'], path);
  const at = `${path}.${tag}`;
  if (tag !== 'base64') {
    checkReference(source, tag, at);
    return;
  }
  const data = checkBase64(source, IMAGE_TYPES, at);
  const bytes = Math.floor((data.length * 3) / 4);
  if (bytes > 5_242_880) throw invalidRequestError(`${at}: image exceeds 5 MB maximum: ${bytes} bytes > 5242880 bytes`);
  const size = readImageSize(data);
  if (size === undefined) throw invalidRequestError('Could not process image');
  if (size.mediaType !== source.media_type) {
    throw invalidRequestError(
      `${at}.data: The image was specified using the ${source.media_type} media type, but the image appears to be a ${size.mediaType} image`,
    );
  }
  checkImageSide({ source }, `${at}.data`, 8_000);
}

function checkDocument(value: Json | undefined, path: string, protocol: Protocol): void {
  const source = readRequiredObject(value, path);
  const tag = readRequiredTag(source, ['base64', 'text', 'content', 'url', 'file'], path);
  const at = `${path}.${tag}`;
  if (tag === 'url' || tag === 'file') checkReference(source, tag, at);
  else if (tag === 'base64') {
    const start = String.fromCharCode(...decodeBase64Start(checkBase64(source, ['application/pdf'], at), 1024));
    if (!start.includes('%PDF-')) throw invalidRequestError('The PDF specified was not valid.');
  } else if (tag === 'text') {
    const mediaType = readRequiredString(source.media_type, `${at}.media_type`);
    if (mediaType !== 'text/plain') throw invalidRequestError(`${at}.media_type: Input should be 'text/plain'`);
    readRequiredString(source.data, `${at}.data`);
  } else if (typeof source.content !== 'string')
    createBlocksCheck('text', 'image')(source.content, `${at}.content`, protocol);
}

function checkCitationsConfig(value: Json | undefined, path: string): void {
  if (value !== undefined && value !== null)
    readOptionalBoolean(readRequiredObject(value, path).enabled, `${path}.enabled`);
}

/** Makes the check of a list of blocks of those types; with a newer beta, of any type. */
function createBlocksCheck(...types: string[]): CheckMember {
  return (value, path, protocol) => {
    for (const [index, entry] of readRequiredList(value, path).entries()) {
      const at = `${path}.${index}`;
      const block = readRequiredObject(entry, at);
      if (!hasNewerBeta(protocol)) readRequiredTag(block, types, at);
      if (!NESTED_ONLY_TYPES.has(jsonToText(block.type))) checkBlock(block, at, protocol);
    }
  };
}

function checkResult(value: Json | undefined, path: string, protocol: Protocol): void {
  if (typeof (value ?? '') === 'string') return;
  createBlocksCheck('text', 'image', 'search_result', 'document', ...NESTED_ONLY_TYPES)(value, path, protocol);
}

function checkId(value: Json | undefined, path: string): void {
  if (/^[a-zA-Z0-9_-]+$/.test(readRequiredString(value, path))) return;
  throw invalidRequestError(`${path}: String should match pattern '^[a-zA-Z0-9_-]+$'`);
}

function checkToolName(value: Json | undefined, path: string): void {
  if (readRequiredString(value, path) === '')
    throw invalidRequestError(`${path}: String should have at least 1 character`);
}

/** Checks one content block by itself: its type and its members. The conversation's rules say where it may be. */
function checkBlock(block: JsonObject, path: string, protocol: Protocol): void {
  const { type } = block;
  const types = availableTagsOf('block', protocol);
  // A block of an unknown type may belong to a newer beta; one without a type belongs to nothing.
  const isStrange = typeof type === 'string' && !types.includes(type);
  const tag = isStrange && hasNewerBeta(protocol) ? '' : readRequiredTag(block, types, path);
  const at = `${path}.${type}`;
  const own = CHECKED_MEMBERS[tag];
  readCacheLifetime(block.cache_control, `${at}.cache_control`);
  if (tag === 'compaction') checkCompactionBlock(block, at, protocol);
  for (const [name, check] of Object.entries(own ?? (tag === 'server_tool_use' ? CALL_MEMBERS : {}))) {
    check(readMember(block, name), `${at}.${name}`, protocol);
  }
}

/**
 * Reads a message's content, a string or a list of blocks, as blocks that have been checked one by one.
 * @throws ApiError 400 in the API's words.
 */
export function readContentBlocks(content: Json | undefined, path: string, protocol: Protocol): JsonObject[] {
  if (content === undefined) throw invalidRequestError(`${path}: Field required`);
  if (typeof content === 'string') {
    if (content === '') return [];
    checkText(content, path);
    return [{ type: 'text', text: content }];
  }
  if (!Array.isArray(content)) throw invalidRequestError(`${path}: Input should be a valid list`);
  return content.map((entry, index) => {
    const block = readRequiredObject(entry, `${path}.${index}`);
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
  const type = jsonToText(block.type);
  const checkRole = (wanted: string): void => {
    if (role !== wanted) throw invalidRequestError(`${path}: \`${type}\` blocks can only be in \`${wanted}\` messages`);
  };
  if (type === 'tool_use' || type === 'server_tool_use' || /^(redacted_)?thinking$/.test(type)) checkRole('assistant');
  if (type === 'tool_result' || type === 'image' || type === 'search_result') checkRole('user');
  if (role === 'system' && type === 'document') checkRole('user');
  if (protocol.version !== '2026-10-21') return;
  if (type === 'document' && role === 'assistant') checkRole('user');
  const citations = block.citations;
  if (type === 'text' && role === 'user' && Array.isArray(citations) && citations.length > 0) {
    throw invalidRequestError(
      `${path}.text.citations: citations are not permitted on \`text\` blocks in \`user\` messages`,
    );
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
