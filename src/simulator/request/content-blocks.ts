import { isNewerBetaRequested } from '../../api-rules/betas.ts';
import { listAvailableTags } from '../../api-rules/field-types.ts';
import { isJsonObject, type Json, type JsonObject, jsonToText, readOwnMember } from '../../api-rules/json.ts';
import { formatQuotedList } from '../../api-rules/quoted-list.ts';
import { REQUEST_FIELDS } from '../../api-rules/request-fields.ts';
import { validateCompactionBlock } from './compaction-blocks.ts';
import { createInvalidRequestError } from './errors.ts';
import {
  readOptionalBoolean,
  readOptionalChoice,
  readOptionalString,
  readRequiredList,
  readRequiredObject,
  readRequiredString,
  readRequiredType,
} from './fields.ts';
import { decodeBase64Start, isBase64, readImageSize, requireImageSideWithin } from './image-size.ts';
import type { CacheLifetime, RequestMessage, RequestProtocol } from './message-request.ts';

/** Checks one member of a block. `path` is the member's own. */
type BlockMemberValidator = (value: Json | undefined, path: string, protocol: RequestProtocol) => void;

const IMAGE_TYPES = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];

/** Blocks that occur only in results, and are not checked. */
const NESTED_ONLY_TYPES = new Set(['tool_reference', 'browser_state']);

const CACHE_MEMBERS = { cache_control: parseCacheControlLifetime };
const CALL_MEMBERS = { id: validateToolUseId, name: validateToolName, input: readRequiredObject };
const RESULT_MEMBERS = {
  tool_use_id: validateToolUseId,
  is_error: readOptionalBoolean,
  content: validateToolResultContent,
};
const CITATION_MEMBERS = { citations: validateCitationsConfig };

/** The members of blocks that are checked. */
const CHECKED_MEMBERS: Readonly<Record<string, Readonly<Record<string, BlockMemberValidator>>>> = {
  text: { text: validateTextMember, ...CACHE_MEMBERS },
  image: { source: validateImageSource, ...CACHE_MEMBERS },
  document: {
    title: readOptionalString,
    context: readOptionalString,
    ...CITATION_MEMBERS,
    source: validateDocumentSource,
    ...CACHE_MEMBERS,
  },
  search_result: {
    source: readRequiredString,
    title: readRequiredString,
    ...CITATION_MEMBERS,
    content: validateSearchResultContent,
    ...CACHE_MEMBERS,
  },
  thinking: { thinking: readRequiredString, signature: readRequiredString },
  redacted_thinking: { data: readRequiredString },
  tool_use: { ...CALL_MEMBERS, ...CACHE_MEMBERS },
  tool_result: { ...RESULT_MEMBERS, ...CACHE_MEMBERS },
};

/** Reads the lifetime that a `cache_control` requests; undefined for an absent one and null. */
export function parseCacheControlLifetime(value: Json | undefined, path: string): CacheLifetime | undefined {
  if (value === undefined || value === null) return undefined;
  const control = readRequiredObject(value, path);
  readRequiredType(control, ['ephemeral'], path);
  return readOptionalChoice(control.ttl, ['5m', '1h'], `${path}.ephemeral.ttl`) ?? '5m';
}

function validateTextMember(value: Json | undefined, path: string): void {
  const text = readRequiredString(value, path);
  if (text === '') throw createInvalidRequestError('messages: text content blocks must be non-empty');
  if (text.trim() === '')
    throw createInvalidRequestError('messages: text content blocks must contain non-whitespace text');
}

function validateBase64Source(source: JsonObject, mediaTypes: readonly string[], path: string): string {
  const mediaType = readRequiredString(source.media_type, `${path}.media_type`);
  if (!mediaTypes.includes(mediaType))
    throw createInvalidRequestError(`${path}.media_type: Input should be ${formatQuotedList(mediaTypes)}`);
  const data = readRequiredString(source.data, `${path}.data`);
  if (data === '' || !isBase64(data)) throw createInvalidRequestError(`${path}: invalid base64 data`);
  return data;
}

function validateSourceReference(source: JsonObject, tag: 'url' | 'file', path: string): void {
  if (tag === 'file') readRequiredString(source.file_id, `${path}.file_id`);
  else if (!/^https:\/\/[^\s/]/i.test(readRequiredString(source.url, `${path}.url`))) {
    throw createInvalidRequestError(`${path}.url: Only HTTPS URLs are supported.`);
  }
}

function validateImageSource(value: Json | undefined, path: string): void {
  const source = readRequiredObject(value, path);
  const tag = readRequiredType(source, ['base64', 'url', 'file'], path);
  const at = `${path}.${tag}`;
  if (tag !== 'base64') {
    validateSourceReference(source, tag, at);
    return;
  }
  const data = validateBase64Source(source, IMAGE_TYPES, at);
  const bytes = Math.floor((data.length * 3) / 4);
  if (bytes > 5_242_880)
    throw createInvalidRequestError(`${at}: image exceeds 5 MB maximum: ${bytes} bytes > 5242880 bytes`);
  const size = readImageSize(data);
  if (size === undefined) throw createInvalidRequestError('Could not process image');
  if (size.mediaType !== source.media_type) {
    throw createInvalidRequestError(
      `${at}.data: The image was specified using the ${source.media_type} media type, but the image appears to be a ${size.mediaType} image`,
    );
  }
  requireImageSideWithin({ source }, `${at}.data`, 8_000);
}

function validateDocumentSource(value: Json | undefined, path: string, protocol: RequestProtocol): void {
  const source = readRequiredObject(value, path);
  const tag = readRequiredType(source, ['base64', 'text', 'content', 'url', 'file'], path);
  const at = `${path}.${tag}`;
  if (tag === 'url' || tag === 'file') validateSourceReference(source, tag, at);
  else if (tag === 'base64') {
    const start = String.fromCharCode(
      ...decodeBase64Start(validateBase64Source(source, ['application/pdf'], at), 1024),
    );
    if (!start.includes('%PDF-')) throw createInvalidRequestError('The PDF specified was not valid.');
  } else if (tag === 'text') {
    const mediaType = readRequiredString(source.media_type, `${at}.media_type`);
    if (mediaType !== 'text/plain') throw createInvalidRequestError(`${at}.media_type: Input should be 'text/plain'`);
    readRequiredString(source.data, `${at}.data`);
  } else if (typeof source.content !== 'string')
    createBlockListValidator('text', 'image')(source.content, `${at}.content`, protocol);
}

function validateCitationsConfig(value: Json | undefined, path: string): void {
  if (value !== undefined && value !== null)
    readOptionalBoolean(readRequiredObject(value, path).enabled, `${path}.enabled`);
}

/** Makes the check of a list of blocks of those types; with a newer beta, of any type. */
function createBlockListValidator(...types: string[]): BlockMemberValidator {
  return (value, path, protocol) => {
    for (const [index, entry] of readRequiredList(value, path).entries()) {
      const at = `${path}.${index}`;
      const block = readRequiredObject(entry, at);
      if (!isNewerBetaRequested(protocol)) readRequiredType(block, types, at);
      if (!NESTED_ONLY_TYPES.has(jsonToText(block.type))) validateContentBlock(block, at, protocol);
    }
  };
}

function validateToolResultContent(value: Json | undefined, path: string, protocol: RequestProtocol): void {
  if (typeof (value ?? '') === 'string') return;
  createBlockListValidator('text', 'image', 'search_result', 'document', ...NESTED_ONLY_TYPES)(value, path, protocol);
}

function validateSearchResultContent(value: Json | undefined, path: string, protocol: RequestProtocol): void {
  createBlockListValidator('text')(value, path, protocol);
  if (readRequiredList(value, path).length === 0)
    throw createInvalidRequestError(`${path}: List should have at least 1 item after validation, not 0`);
}

function validateToolUseId(value: Json | undefined, path: string): void {
  if (/^[a-zA-Z0-9_-]+$/.test(readRequiredString(value, path))) return;
  throw createInvalidRequestError(`${path}: String should match pattern '^[a-zA-Z0-9_-]+$'`);
}

function validateToolName(value: Json | undefined, path: string): void {
  if (readRequiredString(value, path) === '')
    throw createInvalidRequestError(`${path}: String should have at least 1 character`);
}

/** Checks one content block by itself: its type and its members. The conversation's rules say where it may be. */
function validateContentBlock(block: JsonObject, path: string, protocol: RequestProtocol): void {
  const { type } = block;
  const types = listAvailableTags('ContentBlockParam', REQUEST_FIELDS, protocol);
  // If a beta is requested that the simulator does not know, it may add block types, so accept an unknown type. A block without
  // a type is always invalid.
  const isStrange = typeof type === 'string' && !types.includes(type);
  const tag = isStrange && isNewerBetaRequested(protocol) ? '' : readRequiredType(block, types, path);
  const at = `${path}.${type}`;
  const own = CHECKED_MEMBERS[tag];
  parseCacheControlLifetime(block.cache_control, `${at}.cache_control`);
  if (tag === 'compaction') validateCompactionBlock(block, at, protocol);
  for (const [name, check] of Object.entries(own ?? (tag === 'server_tool_use' ? CALL_MEMBERS : {}))) {
    check(readOwnMember(block, name), `${at}.${name}`, protocol);
  }
}

/**
 * Reads a message's content, a string or a list of blocks, as blocks that have been checked one by one.
 * @throws ApiError 400 in the API's words.
 */
export function readContentBlocks(content: Json | undefined, path: string, protocol: RequestProtocol): JsonObject[] {
  if (content === undefined) throw createInvalidRequestError(`${path}: Field required`);
  if (typeof content === 'string') {
    if (content === '') return [];
    validateTextMember(content, path);
    return [{ type: 'text', text: content }];
  }
  if (!Array.isArray(content)) throw createInvalidRequestError(`${path}: Input should be a valid list`);
  return content.map((entry, index) => {
    const block = readRequiredObject(entry, `${path}.${index}`);
    validateContentBlock(block, `${path}.${index}`, protocol);
    return block;
  });
}

/** Checks that a block may be in a message with a role. */
export function validateBlockRole(
  block: JsonObject,
  role: RequestMessage['role'],
  path: string,
  protocol: RequestProtocol,
): void {
  const type = jsonToText(block.type);
  const requireRole = (wanted: string): void => {
    if (role !== wanted)
      throw createInvalidRequestError(`${path}: \`${type}\` blocks can only be in \`${wanted}\` messages`);
  };
  if (type === 'tool_use' || type === 'server_tool_use' || /^(redacted_)?thinking$/.test(type))
    requireRole('assistant');
  if (type === 'tool_result' || type === 'image' || type === 'search_result') requireRole('user');
  if (role === 'system' && type === 'document') requireRole('user');
  if (protocol.version !== '2026-10-21') return;
  if (type === 'document' && role === 'assistant') requireRole('user');
  const citations = block.citations;
  if (type === 'text' && role === 'user' && Array.isArray(citations) && citations.length > 0) {
    throw createInvalidRequestError(
      `${path}.text.citations: citations are not permitted on \`text\` blocks in \`user\` messages`,
    );
  }
}

/** Reads the text of a block: its own, or that of the blocks within it (a tool's result, a document's content). */
export function getBlockText(block: JsonObject): string {
  const text = block.text;
  if (typeof text === 'string') return text;
  const content = block.content;
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content
    .filter(isJsonObject)
    .map((entry) => entry.text)
    .filter((entry) => typeof entry === 'string')
    .join('\n');
}
