import { ApiError, invalid } from './errors.ts';
import { isNestedWithin, isObject, type Json, type JsonObject } from './json.ts';

/** The API's limit for messages and counts, in bytes. */
const MAXIMUM_BYTES = 32 * 1024 * 1024;

/** Far above what a request needs and far below what a recursive function over it would need to exhaust the stack. */
const DEEPEST_BODY = 200;

/** Refuses what is not UTF-8. */
export const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

const tooLarge = (): ApiError => new ApiError(413, 'Request exceeds the maximum size');

/** @throws ApiError 413 for a body that says it is longer */
export function checkLength(headers: Headers, most: number): void {
  if (Number(headers.get('content-length') ?? 0) > most) throw tooLarge();
}

async function readBytes({ headers, body }: Request): Promise<Uint8Array> {
  checkLength(headers, MAXIMUM_BYTES);
  let length = 0;
  const limit = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      length += chunk.byteLength;
      if (length > MAXIMUM_BYTES) throw tooLarge();
      controller.enqueue(chunk);
    },
  });
  return new Uint8Array(await new Response(body?.pipeThrough(limit)).arrayBuffer());
}

/** @throws ApiError 400 for a content type that is not JSON */
export function checkJsonType(headers: Headers): void {
  const type = headers.get('content-type');
  if (type === null || /^application\/([\w.+-]+\+)?json\s*(;|$)/i.test(type)) return;
  throw invalid(`Content-Type must be application/json, got ${type.slice(0, 100)}`);
}

/** Reads JSON whose nesting can be walked. @param path where it stands, for the error. @throws ApiError 400 for anything else */
export function parsedJson(bytes: Uint8Array, path = ''): Json {
  let value: Json;
  try {
    value = JSON.parse(strictDecoder.decode(bytes));
  } catch {
    const detail = bytes.byteLength === 0 ? 'unexpected end of data' : 'unexpected character';
    throw invalid(`The request body is not valid JSON: ${path === '' ? detail : `${detail} in ${path}`}`);
  }
  if (isNestedWithin(value, DEEPEST_BODY)) return value;
  throw invalid(`The request body is nested too deeply: at most ${DEEPEST_BODY} levels are allowed`);
}

/**
 * Reads a request's body as a JSON object.
 * @throws ApiError 413 above 32 MB; 400 for a content type that is not JSON, for what is not UTF-8, not JSON or not an object, and for nesting too deep to walk.
 */
export async function readJsonObject(request: Request): Promise<JsonObject> {
  checkJsonType(request.headers);
  const body = parsedJson(await readBytes(request));
  if (isObject(body)) return body;
  throw invalid('Input should be a valid dictionary or object to extract fields from');
}
