import { joinPieces } from '../../kit/http/body-pieces.ts';
import { decoder } from '../../kit/http/bytes.ts';
import { returnPooledBuffer, takePooledBuffer } from './tee-reader.ts';

/** How much of an error is read to judge it. */
const MAX_ERROR_BYTES = 65_536;

/**
 * Reads the beginning of an error, to judge it.
 *
 * @returns it as text, and the response as it came, to be read from its first byte on. Of a body that broke off, it has
 *   what came, without the length that was announced
 */
export async function readStartOfError(response: Response): Promise<{ text: string; response: Response }> {
  // `new Response` rejects a status below 200, and such a response has no body.
  const reader = response.status < 200 ? undefined : response.body?.getReader({ mode: 'byob' });
  if (!reader) return { text: '', response };
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  try {
    while (bytes < MAX_ERROR_BYTES) {
      const { value, done } = await reader.read(new Uint8Array(takePooledBuffer()));
      if (done) break;
      pieces.push(value.slice());
      bytes += value.length;
      returnPooledBuffer(value);
    }
  } catch {
    // The body broke off. Classify and return the part that was received.
    const { status, statusText } = response;
    const headers = new Headers(response.headers);
    headers.delete('content-length');
    const came = joinPieces(pieces);
    return { text: decoder.decode(came), response: new Response(came, { status, statusText, headers }) };
  }
  const start = joinPieces(pieces);
  return { text: decoder.decode(start), response: new Response(prependBytes(start, reader), response) };
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
