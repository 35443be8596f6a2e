/** Calls a tool of an MCP server, and turns its answer into a result that the API accepts. */

import { computeBase64ByteLength, decodeBase64, encoder, isBase64 } from '../../../kit/http/bytes.ts';
import { isObject, type JsonObject, toJsonText, toStringOrUndefined } from '../../../kit/json/object.ts';
import { parseJsonOrUndefined } from '../../../kit/json/parse.ts';
import { stringifyWithRememberedTexts } from '../../../kit/json/remembered-text.ts';
import { detectImageType } from '../image-type.ts';
import type { CallableToolKind, ToolCallOptions } from '../tool-kind.ts';
import {
  createFailedResult,
  createGrowingMemoryHold,
  createTooLongResult,
  createTooLongTogetherResult,
  MOST_IMAGE_BYTES,
  MOST_TEXT_BYTES,
  NO_CONTENT,
  SHORT_ANSWER_BYTES,
  type ToolCall,
  type ToolResult,
} from '../tool-result.ts';
import { findAddressedToolFault, resolveToolHeaders, withAddressCheck } from '../tools/addresses.ts';
import { replaceServersByTheirTools } from './list-server-tools.ts';
import { type McpToolRunConfig, mcpRunSchema, mcpServer, mcpServerSchema, mcpTool } from './mcp.schema.ts';
import { McpFault } from './mcp-fault.ts';
import { McpSessions } from './session.ts';

const MCP_IS_STORED =
  'run.mcp: supported only in stored agents and prefixes. Store it with PUT /agents/:name or PUT /prefixes/:name, and use that name here.';

/** Tools of MCP servers. They occur only in stored definitions. */
export const mcpKind: CallableToolKind<McpToolRunConfig> = {
  member: 'mcp',
  listRunFieldNames: () => [mcpRunSchema, mcpServerSchema].flatMap(({ shape }) => Object.keys(shape)),
  findFault: (tool, sender) => {
    const schema = isObject(tool.run) && Object.hasOwn(tool.run, 'tool') ? mcpTool : mcpServer;
    return findAddressedToolFault(tool, sender, sender.isStored ? schema : MCP_IS_STORED);
  },
  stored: replaceServersByTheirTools,
  createToolCaller: () => {
    const sessions = new McpSessions();
    return {
      callTool: withAddressCheck<McpToolRunConfig>((...parameters) => callMcpTool(sessions, ...parameters)),
      close: () => sessions.close(),
    };
  },
};

/** The most bytes of one answer as it comes: the largest image in base64, and the longest text. */
const MOST_ANSWER_BYTES = 6_500_000;
/** Few answers without an image have more. */
const LONG_ANSWER_BYTES = 524_288;
/** The API accepts a hundred images in a request. The history keeps them all, so one result must have far fewer. */
const MOST_IMAGES = 20;
/** Each becomes a block of a message, and even a small block takes much more memory than its bytes. */
const MOST_BLOCKS = 1_000;
/** The name of the idempotency key in what MCP calls metadata. */
const IDEMPOTENCY_KEY = 'sluice/idempotency-key';
/** Statuses which mean that the server no longer knows the session, for example after a restart. The call was not made. */
const SESSION_LOST: readonly unknown[] = [404];
/** Some servers use 400 for the same, which may also mean something else. */
const MAYBE_LOST: readonly unknown[] = [400, 404];

/**
 * Calls a tool of an MCP server. If the server has lost the session, it is opened again, once.
 *
 * @returns its result; an error that explains what was wrong if the server's response is invalid
 * @throws errors of `fetch`, and the reason of the signal
 */
export async function callMcpTool(
  sessions: McpSessions,
  call: ToolCall,
  run: McpToolRunConfig,
  { settings, fetch, resultBytes, hold }: ToolCallOptions,
  signal: AbortSignal,
) {
  const key = JSON.stringify([run.mcp, run.headers]);
  const server = { url: run.mcp, headers: resolveToolHeaders(run, settings), fetch };
  const params = {
    name: run.tool,
    arguments: isObject(call.input) ? call.input : {},
    _meta: { [IDEMPOTENCY_KEY]: `${call.turn}_${call.tool_use_id}` },
  };
  let used = 0;
  let result: ToolResult | undefined;
  const grow = createGrowingMemoryHold(hold, [SHORT_ANSWER_BYTES, LONG_ANSWER_BYTES, MOST_ANSWER_BYTES]);
  const takeResultBytes = async (bytes: number) => {
    used += bytes;
    resultBytes.left -= bytes;
    if (used > MOST_ANSWER_BYTES) throw new McpFault(`Its response has more than ${MOST_ANSWER_BYTES} bytes.`);
    if (resultBytes.left < 0) throw new NoResultBytesLeftError();
    await grow(used);
  };
  const lost = run.once ? SESSION_LOST : MAYBE_LOST;
  try {
    for (let tries = 1; ; tries += 1) {
      const session = await sessions.get(key, server, signal);
      try {
        result = toToolResult(await session.sendRequest('tools/call', params, { signal, take: takeResultBytes }));
        return result;
      } catch (thrown) {
        const status = thrown instanceof McpFault ? thrown.status : undefined;
        if (MAYBE_LOST.includes(status)) await sessions.forgetLostSession(key, session);
        if (tries > 1 || !lost.includes(status)) throw thrown;
      }
    }
  } catch (thrown) {
    if (thrown instanceof NoResultBytesLeftError) return createTooLongTogetherResult();
    if (thrown instanceof McpFault) return createFailedResult(`The server of this tool failed. ${thrown.message}`);
    throw thrown;
  } finally {
    // Release the bytes that are not part of the stored result, because only stored bytes count towards the limit.
    resultBytes.left += used - (result?.bytes ?? 0);
  }
}

class NoResultBytesLeftError extends McpFault {
  constructor() {
    super('Its response does not fit into memory.');
  }
}

/** @returns the result of a call in a form that the API accepts */
function toToolResult({ content, structuredContent, isError }: JsonObject): ToolResult {
  const items = Array.isArray(content) ? content.filter(isObject) : [];
  if (items.length > MOST_BLOCKS) return createFailedResult(`The tool’s response has more than ${MOST_BLOCKS} blocks.`);
  const blocks = items.flatMap(toApiContentBlocks);
  const texts = blocks.flatMap(({ text }) => (typeof text === 'string' ? [text] : []));
  if (structuredContent !== undefined && !isStructuredContentRepeated(texts, structuredContent))
    blocks.push(createTextBlock(stringifyWithRememberedTexts(structuredContent)));
  let textBytes = 0;
  let images = 0;
  for (const { text, source } of blocks) {
    if (typeof text === 'string') textBytes += encoder.encode(text).length;
    const image = isObject(source) ? computeBase64ByteLength(toJsonText(source.data)) : 0;
    if (image > MOST_IMAGE_BYTES) return createTooLongResult(MOST_IMAGE_BYTES);
    images += image;
  }
  if (textBytes > MOST_TEXT_BYTES) return createTooLongResult(MOST_TEXT_BYTES);
  const shown = blocks.filter(({ type }) => type === 'image').length;
  if (shown > MOST_IMAGES) return createFailedResult(`The tool’s response has more than ${MOST_IMAGES} images.`);
  return { content: blocks.length > 0 ? blocks : NO_CONTENT, isError: isError === true, bytes: textBytes + images };
}

/**
 * @returns whether texts already contain the structured content: as its JSON, as the text that the SDK for Python wraps as
 *   `{"result": …}`, or as prose of about the same length
 */
function isStructuredContentRepeated(texts: readonly string[], structured: unknown): boolean {
  const json = JSON.stringify(structured);
  if (texts.some((text) => text.length > json.length / 2)) return true;
  const value = toCanonicalJson(structured);
  if (texts.some((text) => toCanonicalJson(parseJsonOrUndefined(text)) === value)) return true;
  return [texts[0], texts].some((result) => result !== undefined && toCanonicalJson({ result }) === value);
}

/** Writes a value so that the same members in another order are the same text. */
function toCanonicalJson(value: unknown): string | undefined {
  return JSON.stringify(value, (_, member: unknown) =>
    isObject(member)
      ? Object.fromEntries(Object.entries(member).sort(([one], [other]) => (one < other ? -1 : 1)))
      : member,
  );
}

/** @returns a block of a result in a form that the API accepts; an empty list for an empty text */
function toApiContentBlocks(block: JsonObject): JsonObject[] {
  switch (block.type) {
    case 'text':
      return typeof block.text === 'string' && block.text.trim() !== '' ? [createTextBlock(block.text)] : [];
    case 'image':
      return [createImageBlock(block.data) ?? createOmittedContentBlock('image', block.mimeType)];
    case 'resource_link': {
      const { uri, name, title, description, mimeType } = block;
      return [createTextBlock(JSON.stringify({ uri, name, title, description, mimeType }))];
    }
    case 'resource': {
      const { uri, mimeType, text, blob } = isObject(block.resource) ? block.resource : {};
      if (typeof text === 'string') return [createTextBlock(`${toShortTextOrEmpty(uri)}\n${text}`)];
      return [createImageBlock(blob) ?? createOmittedContentBlock('resource', mimeType)];
    }
    default:
      return [createOmittedContentBlock(toShortTextOrEmpty(block.type), block.mimeType)];
  }
}

function createTextBlock(text: string): JsonObject {
  return { type: 'text', text: text.toWellFormed() };
}

/** @returns an image with its real media type; undefined if the data is not an image that the API accepts */
function createImageBlock(data: unknown): JsonObject | undefined {
  if (typeof data !== 'string' || !isBase64(data)) return undefined;
  const media_type = detectImageType(decodeBase64(data.slice(0, 16)));
  if (media_type === undefined) return undefined;
  return { type: 'image', source: { type: 'base64', media_type, data } };
}

function createOmittedContentBlock(what: string, mimeType: unknown): JsonObject {
  return createTextBlock(
    `[The tool has answered with ${what} ${toShortTextOrEmpty(mimeType)}, which cannot be shown here.]`,
  );
}

/** @returns a short text of a server; empty for anything else */
function toShortTextOrEmpty(text: unknown): string {
  return (toStringOrUndefined(text) ?? '').slice(0, 2_048);
}
