/** Calls a tool that the Worker's own code defines, and converts its return value to a result that the API accepts. */

import { computeBase64ByteLength, encoder, isBase64 } from '../../kit/http/bytes.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import {
  createFailedResult,
  createTooLongResult,
  IMAGES,
  MOST_IMAGE_BYTES,
  MOST_STEP_BYTES,
  MOST_TEXT_BYTES,
  NO_CONTENT,
  type ToolCall,
  type ToolResult,
} from './tool-result.ts';
import { findWorkerTool, type SchemaCheckResult } from './tools/worker-tools.ts';

export interface WorkerToolCallContext {
  /** The Worker's bindings. */
  env: Bindings;
  /** Aborted when the call must end. */
  signal: AbortSignal;
}

const LONGEST_MESSAGE = 4_000;

/**
 * Calls a tool that the Worker's own code defines.
 *
 * @returns its result; an error with its message if it throws
 */
export async function callWorkerTool(
  { name, input, ...place }: ToolCall,
  context: WorkerToolCallContext,
): Promise<ToolResult> {
  const tool = findWorkerTool(name);
  if (!tool) return createFailedResult('This deployment no longer has this tool.');
  try {
    const checked = await tool.schema['~standard'].validate(input);
    if (checked.issues) return createFailedResult(`The input does not fit the tool. ${formatSchemaIssues(checked)}`);
    return toToolResult(await tool.run(checked.value, { ...place, ...context }));
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : thrown;
    const reason = typeof message === 'string' ? message.slice(0, LONGEST_MESSAGE).toWellFormed().trim() : '';
    return createFailedResult(reason || 'The tool failed.');
  }
}

function formatSchemaIssues({ issues = [] }: SchemaCheckResult<unknown>): string {
  const getPathKey = (step: unknown) => String(isObject(step) ? step.key : step);
  return issues
    .map(({ path = [], message }) => (path.length > 0 ? `${path.map(getPathKey).join('.')}: ${message}` : message))
    .join('; ')
    .slice(0, LONGEST_MESSAGE);
}

function toToolResult(value: unknown): ToolResult {
  if (value === undefined || value === null) return { content: NO_CONTENT, isError: false, bytes: 0 };
  if (Array.isArray(value) && value.length > 0 && value.every(isResultBlock)) return createBlocksResult(value);
  const text = typeof value === 'string' ? value : stringifyNonEmpty(value);
  if (text === undefined) {
    return createFailedResult('The tool returned something other than text, JSON or a list of blocks.');
  }
  const bytes = encoder.encode(text).length;
  if (bytes > MOST_TEXT_BYTES) return createTooLongResult(MOST_TEXT_BYTES);
  return { content: text.trim() === '' ? NO_CONTENT : text.toWellFormed(), isError: false, bytes };
}

/** @returns whether a value is meant as a block of a result. */
function isResultBlock(value: unknown): value is JsonObject {
  return isObject(value) && (value.type === 'text' || value.type === 'image');
}

/** @returns the JSON text of a value; undefined if it has none, or only `{}`, as a Response or a Map has. */
function stringifyNonEmpty(value: unknown): string | undefined {
  const text = JSON.stringify(value) as string | undefined;
  if (text !== '{}') return text;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype ? text : undefined;
}

function createBlocksResult(blocks: readonly JsonObject[]): ToolResult {
  const content: JsonObject[] = [];
  let bytes = 0;
  for (const [index, { type, text, source }] of blocks.entries()) {
    if (type === 'text' && typeof text === 'string') {
      content.push({ type, text: text.trim() === '' ? NO_CONTENT : text.toWellFormed() });
      bytes += encoder.encode(text).length;
      continue;
    }
    const { type: kind, media_type, data } = isObject(source) ? source : {};
    const isImage = kind === 'base64' && IMAGES.has(String(media_type)) && typeof data === 'string' && isBase64(data);
    if (type !== 'image' || !isImage) {
      return createFailedResult(
        `Block ${index + 1} of the tool’s result is malformed. It must be {"type":"text","text":…} or {"type":"image","source":{"type":"base64","media_type":"image/png","data":…}}.`,
      );
    }
    if (computeBase64ByteLength(data) > MOST_IMAGE_BYTES) return createTooLongResult(MOST_IMAGE_BYTES);
    content.push({ type, source: { type: kind, media_type, data } });
    bytes += computeBase64ByteLength(data);
  }
  return bytes > MOST_STEP_BYTES ? createTooLongResult(MOST_STEP_BYTES) : { content, isError: false, bytes };
}
