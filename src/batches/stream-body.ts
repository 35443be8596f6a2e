import { ApiError, invalidRequest, tooLarge } from '../http/errors.ts';

/** A body of which nothing has come for so long is given up: others wait for the room that it takes up. */
const LONGEST_SILENCE_MS = 60_000;
/** How long the rest of a refused body is read, in milliseconds. */
const LATE_MS = 10_000;

/**
 * Reads a body piece by piece, and never has more of it in memory than the piece that it gives out.
 *
 * If whoever reads stops, the rest is read and dropped for a while: a connection that is closed while the caller still
 * sends is reset, and the caller would never see why the request was refused.
 *
 * @throws ApiError 413 above the limit, 400 for a body that breaks off or comes too slowly
 */
export async function* bodyPieces(request: Request, limitBytes: number): AsyncGenerator<Uint8Array, void> {
  const declared = Number(request.headers.get('content-length') ?? 0);
  if (declared > limitBytes) throw tooLarge(limitBytes);
  const reader = request.body?.getReader();
  if (!reader) return;
  let length = 0;
  let isEnded = false;
  try {
    for (;;) {
      const { value, done } = await withinSilence(reader);
      isEnded = done;
      if (done) return;
      length += value.length;
      if (length > limitBytes) throw tooLarge(limitBytes);
      yield value;
    }
  } catch (thrown) {
    if (thrown instanceof ApiError) throw thrown;
    isEnded = true;
    // The caller has failed, not the edge.
    throw invalidRequest('The request body broke off. Send it again.', { logged: 'client_gone', cause: thrown });
  } finally {
    if (!isEnded) await discardRest(reader);
  }
}

async function withinSilence(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<ReadableStreamReadResult<Uint8Array>> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silent = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('The body takes too long.')), LONGEST_SILENCE_MS);
  });
  try {
    return await Promise.race([reader.read(), silent]);
  } finally {
    clearTimeout(timer);
  }
}

async function discardRest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const timer = setTimeout(() => reader.cancel().catch(leaveCancelled), LATE_MS);
  try {
    while (!(await reader.read()).done);
  } catch {
    // The caller has left.
  } finally {
    clearTimeout(timer);
  }
}

/** A body that cannot be cancelled has ended already. */
function leaveCancelled(): void {}
