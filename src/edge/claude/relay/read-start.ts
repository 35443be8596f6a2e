import { resolveWithin } from '../../kit/async/timeout.ts';
import { joinPieces } from '../../kit/http/body-pieces.ts';
import { decoder } from '../../kit/http/bytes.ts';
import { returnPooledBuffer, takePooledBuffer } from './tee-reader.ts';

/** How much of an error is read to judge it. */
const MAX_ERROR_BYTES = 65_536;
/** Milliseconds to wait for the text of an error. */
const ERROR_BODY_MS = 5_000;

/**
 * Reads the beginning of an error, to classify it.
 *
 * @returns it as text, and the unchanged response, to be read from its first byte on. If the body broke off, or its beginning
 *   does not arrive in time, the response contains the received part, without the declared length
 */
export async function readStartOfError(response: Response): Promise<{ text: string; response: Response }> {
  // `new Response` throws for a status below 200. Such a response has no body, so return it unchanged.
  const reader = response.status < 200 ? undefined : response.body?.getReader({ mode: 'byob' });
  if (!reader) return { text: '', response };
  const pieces: Uint8Array[] = [];
  const readToMaximum = async (): Promise<'start'> => {
    for (let bytes = 0; bytes < MAX_ERROR_BYTES; ) {
      const { value, done } = await reader.read(new Uint8Array(takePooledBuffer()));
      if (done) break;
      pieces.push(value.slice());
      bytes += value.length;
      returnPooledBuffer(value);
    }
    return 'start';
  };
  // If the body broke off, classify and return the part that was received.
  const read = await resolveWithin(readToMaximum(), ERROR_BODY_MS).catch(() => undefined);
  const came = joinPieces(pieces);
  const text = decoder.decode(came);
  if (read) return { text, response: new Response(prependBytes(came, reader), response) };
  // Cancelling a body that has already failed rejects. Ignore that: the part that was received is returned anyway.
  reader.cancel().catch(() => undefined);
  const { status, statusText } = response;
  const headers = new Headers(response.headers);
  headers.delete('content-length');
  return { text, response: new Response(came, { status, statusText, headers }) };
}

/** Makes one stream of bytes that were read and of what follows them. */
export function prependBytes(start: Uint8Array, reader: ReadableStreamBYOBReader): ReadableStream<Uint8Array> {
  const readRest = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    const { value, done } = await reader.read(new Uint8Array(new ArrayBuffer(REST_PIECE_BYTES)));
    if (value && value.length > 0) controller.enqueue(value);
    if (done) controller.close();
  };
  return new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(start),
    pull: readRest,
    cancel: (reason) => reader.cancel(reason),
  });
}

const REST_PIECE_BYTES = 65_536;
