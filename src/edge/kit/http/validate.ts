import { createInvalidRequestError } from './errors.ts';
import type * as z from './zod.ts';

/** Only the first fault is reported; collecting a million would block the isolate. zod stops like this in its `validate`. */
const FIRST_ISSUE_ONLY: z.core.ParseContextInternal<z.core.$ZodIssue> = { abortEarly: true };

/**
 * Validates a value by a schema.
 *
 * @param name what the value is called in its request, if it is a member
 * @throws ApiError 400 that names the first fault by its path, as the API words it: `messages.0.role: …`
 */
export function validateBySchema<T extends z.ZodMiniType>(schema: T, value: unknown, name?: string): z.output<T> {
  const result = schema.safeParse(value, FIRST_ISSUE_ONLY);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = [...(name === undefined ? [] : [name]), ...(issue?.path ?? [])].join('.');
  const message = issue?.message ?? 'Invalid value';
  throw createInvalidRequestError(path === '' ? message : `${path}: ${message}`);
}

/** @returns the API's words for an absent field, as zod takes them; for any other fault the message that is given. */
export function createFieldError(message: string): (issue: { input?: unknown }) => string {
  return (issue) => (issue.input === undefined ? 'Field required' : message);
}
