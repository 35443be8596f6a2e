import { ApiError, invalidRequest, tooLarge, unsupportedMediaType } from '../errors.ts';
import { repeatsKeys } from '../json/repeated-keys.ts';
import { checkShape } from './json-shape.ts';
import type * as z from './zod.ts';

/** A request body that is a JSON object, in each of its forms; `text` has the very bytes. */
export interface JsonBody {
  bytes: Uint8Array;
  text: string;
  json: Record<string, unknown>;
}

/** What takes the place of a body that is not needed any more. */
export const RELEASED: JsonBody = { bytes: new Uint8Array(0), text: '', json: {} };

// A byte order mark is not JSON, and dropping it would change the caller's bytes.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a body that must be a JSON object, and stops at the limit, whatever `content-length` says.
 *
 * @throws ApiError 415 for another content type, 413 above the limit, 400 for anything but a JSON object in UTF-8
 */
export async function readJson(request: Request, limitBytes: number): Promise<JsonBody> {
  requireJson(request);
  return parseJson(await readBytes(request, limitBytes));
}

/** @throws ApiError 415 for another content type than JSON */
export function requireJson(request: Request): void {
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json' && !/^application\/[^/]+\+json$/.test(type ?? '')) throw unsupportedMediaType();
}

/** @throws ApiError 400 for anything but a JSON object in UTF-8, 413 for one of too many values */
export function parseJson(bytes: Uint8Array): JsonBody {
  checkShape(bytes);
  let text: string;
  let json: unknown;
  try {
    text = decoder.decode(bytes);
    json = JSON.parse(text);
  } catch (thrown) {
    const reason = thrown instanceof SyntaxError ? ` (${reasonOf(thrown)})` : '';
    throw invalidRequest(`The request body is not valid JSON${reason}. Send one JSON object in UTF-8.`);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw invalidRequest('The request body must be a JSON object.');
  }
  return { bytes, text, json: json as Record<string, unknown> };
}

/**
 * @param json what the text parses to
 * @returns the text of which there is one reading: as it came, unless some object repeats a key
 * @throws ApiError 400 for repetitions inside of what nests too deep to be written anew
 */
export function inOneReading(text: string, json: object): string {
  if (!repeatsKeys(text, json)) return text;
  try {
    return JSON.stringify(json);
  } catch {
    throw invalidRequest('The request body repeats keys. Send each key of an object once.');
  }
}

/** The engine quotes the body in its message; only where it failed is the caller's to know. */
function reasonOf(error: SyntaxError): string {
  return /position \d+/.exec(error.message)?.[0] ?? 'unexpected end or character';
}

/**
 * Reads a body up to a limit.
 *
 * @param onLength hears how much has come, as it comes; what it throws ends the reading
 * @throws ApiError 413 above it
 */
export async function readBytes(
  request: Request,
  limitBytes: number,
  onLength?: (bytes: number) => void,
): Promise<Uint8Array> {
  try {
    return await readAll(request, limitBytes, onLength);
  } catch (thrown) {
    if (thrown instanceof ApiError) throw thrown;
    // It is not the edge that has failed.
    throw invalidRequest('The request body broke off. Send it again.', { logged: 'client_gone', cause: thrown });
  }
}

async function readAll(request: Request, limitBytes: number, onLength?: (bytes: number) => void): Promise<Uint8Array> {
  const declared = request.headers.get('content-length');
  if (declared !== null && Number(declared) > limitBytes) throw tooLarge(limitBytes);
  // The runtime holds a body to its declared length. What only says that it is long takes up no room.
  if (declared !== null && !onLength) return new Uint8Array(await request.arrayBuffer());
  if (!request.body) return new Uint8Array(0);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for await (const piece of request.body) {
    length += piece.length;
    if (length > limitBytes) throw tooLarge(limitBytes);
    onLength?.(length);
    pieces.push(piece);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/**
 * Holds a value to a schema.
 *
 * @throws ApiError 400 that names the first fault by its path, as the API words it: `messages.0.role: …`
 */
export function check<T extends z.ZodMiniType>(schema: T, value: unknown): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.join('.') ?? '';
  const message = issue?.message ?? 'Invalid value';
  throw invalidRequest(path === '' ? message : `${path}: ${message}`);
}

/** Zod's message for an absent field, in the API's words; `undefined` leaves the schema's own message. */
export function fieldError(message: string): (issue: { input?: unknown }) => string {
  return (issue) => (issue.input === undefined ? 'Field required' : message);
}
