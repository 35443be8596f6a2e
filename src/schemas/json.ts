import type * as z from 'zod';
import { invalidRequest } from '../errors.ts';

/**
 * Holds a value to a schema.
 *
 * @throws ApiError 400 that names the first fault by its path, as the API words it: `messages.0.role: …`
 */
export function check<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
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
