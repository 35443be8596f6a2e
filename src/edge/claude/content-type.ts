/** Determines the form of an upstream's response: whether it is a stream, and whether its bytes can be read. */

import { createNonRetryableError } from '../kit/http/errors.ts';

export const EVENT_STREAM = 'text/event-stream';

/** Values of `content-encoding` that can be read here: the runtime decodes gzip and br by itself. */
const READABLE_ENCODINGS: ReadonlySet<string> = new Set(['', 'identity', 'gzip', 'br']);

/** @returns whether a response is a stream of events. A media type may be in upper or lower case. */
export function isEventStream({ headers }: Pick<Response, 'headers'>): boolean {
  const type = headers.get('content-type') ?? '';
  return type.startsWith(EVENT_STREAM) || type.trim().slice(0, EVENT_STREAM.length).toLowerCase() === EVENT_STREAM;
}

/** The characters of a body that decide whether it is text. */
const CHECKED_CHARACTERS = 1_024;
/** Matches control characters, which no text has. */
const CONTROL_CHARACTERS = /[^\P{Cc}\t\n\f\r\u007f-\u009f]/u;

/**
 * Decides whether a decoded body is not text, for example because it is compressed without `content-encoding`. JSON and pages are
 * text, even if they contain the replacement character or have a legacy character set.
 */
export function isBinary(text: string): boolean {
  // Leave out the last character, because the body may have been cut within it.
  const start = text.slice(0, CHECKED_CHARACTERS).trimStart().slice(0, -1);
  return CONTROL_CHARACTERS.test(start) || (!/^[{<]/.test(start) && start.includes('\ufffd'));
}

/**
 * Rejects an answer in an encoding that was not asked for and that the runtime does not decode. The edge could not read its
 * usage. The caller could not read it either, because the `content-encoding` header is not returned. (Errors pass: their status
 * is enough.)
 *
 * @throws ApiError for such an answer. Its body is cancelled
 */
export function rejectEncoding(response: Response): void {
  const encoding = response.headers.get('content-encoding')?.trim().toLowerCase() ?? '';
  if (!response.ok || READABLE_ENCODINGS.has(encoding)) return;
  // Cancel the body to release the connection. Cancelling a body that has already failed rejects, which can be ignored.
  response.body?.cancel().catch(() => undefined);
  throw createNonRetryableError(
    'api_error',
    'The upstream responded with an encoding that was not requested. Ask the operator, who can find it in the log.',
    { logged: `upstream_encoding: ${encoding.slice(0, 64)}` },
  );
}
