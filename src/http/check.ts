import { repeatsKeys } from '../json/repeated-keys.ts';
import { invalidRequest } from './errors.ts';
import type * as z from './zod.ts';

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
