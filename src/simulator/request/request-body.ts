import { ApiError, invalidRequestError } from './errors.ts';
import { isNestedWithin, isObject, type Json, type JsonObject } from './json.ts';

/** The API's limit for messages and counts, in bytes. */
const MAX_REQUEST_BYTES = 32 * 1024 * 1024;

/** Far above what a request needs and far below what a recursive function over it would need to exhaust the stack. */
const MAX_BODY_DEPTH = 200;

/** Refuses what is not UTF-8. */
export const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

const bodyTooLargeError = (): ApiError => new ApiError(413, 'Request exceeds the maximum size');

/** @throws ApiError 413 for a body that says it is longer */
export function checkContentLength(headers: Headers, maxBytes: number): void {
  if (Number(headers.get('content-length') ?? 0) > maxBytes) throw bodyTooLargeError();
}

async function readBytes({ headers, body }: Request): Promise<Uint8Array> {
  checkContentLength(headers, MAX_REQUEST_BYTES);
  let length = 0;
  const limit = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      length += chunk.byteLength;
      if (length > MAX_REQUEST_BYTES) throw bodyTooLargeError();
      controller.enqueue(chunk);
    },
  });
  return new Uint8Array(await new Response(body?.pipeThrough(limit)).arrayBuffer());
}

/** @throws ApiError 400 for a content type that is not JSON */
export function checkJsonType(headers: Headers): void {
  const type = headers.get('content-type');
  if (type === null || /^application\/([\w.+-]+\+)?json\s*(;|$)/i.test(type)) return;
  throw invalidRequestError(`Content-Type must be application/json, got ${type.slice(0, 100)}`);
}

/** Reads JSON whose nesting can be walked. @param path where it stands, for the error. @throws ApiError 400 for anything else */
export function parseBoundedJson(bytes: Uint8Array, path = ''): Json {
  let value: Json;
  try {
    value = JSON.parse(strictDecoder.decode(bytes));
  } catch {
    const detail = bytes.byteLength === 0 ? 'unexpected end of data' : 'unexpected character';
    throw invalidRequestError(`The request body is not valid JSON: ${path === '' ? detail : `${detail} in ${path}`}`);
  }
  if (isNestedWithin(value, MAX_BODY_DEPTH)) return value;
  throw invalidRequestError(`The request body is nested too deeply: at most ${MAX_BODY_DEPTH} levels are allowed`);
}

/**
 * Reads a request's body as a JSON object.
 * @throws ApiError 413 above 32 MB; 400 for a content type that is not JSON, for what is not UTF-8, not JSON or not an object, and for nesting too deep to walk.
 */
export async function readJsonObject(request: Request): Promise<JsonObject> {
  checkJsonType(request.headers);
  const body = parseBoundedJson(await readBytes(request));
  if (isObject(body)) return body;
  throw invalidRequestError('Input should be a valid dictionary or object to extract fields from');
}
