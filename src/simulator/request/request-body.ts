import { isJsonObject, isNestedWithinLimit, type Json, type JsonObject } from '../../api-rules/json.ts';
import { ApiError, createInvalidRequestError } from './errors.ts';

/** The API's limit for messages and token counts, in bytes: https://platform.claude.com/docs/en/api/errors */
const MAX_REQUEST_BYTES = 32 * 1024 * 1024;

/** Far more than a request needs, and far less than would exhaust the stack in a recursive function. */
const MAX_BODY_DEPTH = 200;

const ESCAPED_SURROGATE = /\\u[dD][89a-fA-F]/;

/** Rejects what is not UTF-8. */
export const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

const createBodyTooLargeError = (): ApiError => new ApiError(413, 'Request exceeds the maximum size');

/** @throws ApiError 413 for a body whose declared length is greater */
export function requireContentLengthWithin(headers: Headers, maxBytes: number): void {
  if (Number(headers.get('content-length') ?? 0) > maxBytes) throw createBodyTooLargeError();
}

async function readBodyBytes({ headers, body }: Request): Promise<Uint8Array> {
  requireContentLengthWithin(headers, MAX_REQUEST_BYTES);
  let length = 0;
  const limit = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      length += chunk.byteLength;
      if (length > MAX_REQUEST_BYTES) throw createBodyTooLargeError();
      controller.enqueue(chunk);
    },
  });
  return new Uint8Array(await new Response(body?.pipeThrough(limit)).arrayBuffer());
}

/** @throws ApiError 400 for a content type that is not JSON */
export function requireJsonContentType(headers: Headers): void {
  const type = headers.get('content-type');
  if (type === null || /^application\/([\w.+-]+\+)?json\s*(;|$)/i.test(type)) return;
  throw createInvalidRequestError(`Content-Type must be application/json, got ${type.slice(0, 100)}`);
}

/** Reads JSON whose nesting can be walked. @param path where it stands, for the error. @throws ApiError 400 for anything else */
export function parseJsonWithDepthLimit(bytes: Uint8Array, path = ''): Json {
  let value: Json;
  let text = '';
  try {
    text = strictDecoder.decode(bytes);
    value = JSON.parse(text);
  } catch {
    const detail = bytes.byteLength === 0 ? 'unexpected end of data' : 'unexpected character';
    throw createInvalidRequestError(
      `The request body is not valid JSON: ${path === '' ? detail : `${detail} in ${path}`}`,
    );
  }
  if (!isNestedWithinLimit(value, MAX_BODY_DEPTH)) {
    throw createInvalidRequestError(
      `The request body is nested too deeply: at most ${MAX_BODY_DEPTH} levels are allowed`,
    );
  }
  // A lone surrogate cannot be encoded in UTF-8. It can only come from a JSON escape, so search the value only if the text
  // contains such an escape.
  if (ESCAPED_SURROGATE.test(text) && !isWellFormed(value)) {
    throw createInvalidRequestError('The request body is not valid JSON: no low surrogate in string');
  }
  return value;
}

/** @returns whether no string and no key has half of a surrogate pair */
function isWellFormed(value: Json): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value !== 'object' || value === null) return true;
  return Array.isArray(value)
    ? value.every(isWellFormed)
    : Object.entries(value).every(([key, inner]) => key.isWellFormed() && isWellFormed(inner));
}

/**
 * Reads a request's body as a JSON object.
 * @throws ApiError 413 above 32 MB; 400 for a content type that is not JSON, for what is not UTF-8, not JSON or not an object, and for nesting too deep to walk.
 */
export async function readJsonObjectBody(request: Request): Promise<JsonObject> {
  requireJsonContentType(request.headers);
  const body = parseJsonWithDepthLimit(await readBodyBytes(request));
  if (isJsonObject(body)) return body;
  throw createInvalidRequestError('Input should be a valid dictionary or object to extract fields from');
}
