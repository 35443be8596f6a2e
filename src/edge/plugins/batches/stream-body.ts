import { StreamPieceReader } from '../../kit/http/body/piece-reader.ts';
import { ApiError, createInvalidRequestError, createTooLargeError } from '../../kit/http/errors.ts';
import { BodyPaceGuard, discardRestOfBody } from '../../kit/http/read-json.ts';

/** How often to check whether a body still comes, in milliseconds. */
const LOOK_MS = 15_000;

/**
 * Reads a body piece by piece. Only the current piece is in memory. A piece is valid until the next one is taken.
 *
 * If reading stops early, the rest is read and dropped for a while. Otherwise the connection would be reset while the caller
 * still sends, and the caller would never see why the request was refused.
 *
 * @throws ApiError 413 above the limit, 400 for a body that breaks off or comes too slowly
 */
export async function* streamLimitedBody(request: Request, limitBytes: number): AsyncGenerator<Uint8Array, void> {
  if (Number(request.headers.get('content-length')) > limitBytes) throw createTooLargeError(limitBytes);
  if (!request.body) return;
  const reader = new StreamPieceReader(request.body);
  let length = 0;
  let count = 0;
  let isEnded = false;
  // Measure only the caller's pace. The time that the upstream needs to accept a piece must not make the caller look slow.
  const pace = new BodyPaceGuard(reader, () => (count === length ? length : Number.POSITIVE_INFINITY), {
    stretchMs: LOOK_MS,
    longFrom: 0,
  });
  try {
    for (;;) {
      const piece = await reader.read();
      pace.throwIfTooSlow();
      isEnded = piece === undefined;
      if (!piece) return;
      length += piece.length;
      if (length > limitBytes) throw createTooLargeError(limitBytes);
      yield piece;
      count = length;
    }
  } catch (thrown) {
    if (thrown instanceof ApiError) throw thrown;
    isEnded = true;
    // The caller's connection was cut, so the body is incomplete. Throw a 400 instead of a server error.
    throw createInvalidRequestError('The request body is incomplete. Send it again.', {
      logged: 'client_gone',
      cause: thrown,
    });
  } finally {
    pace.stopTimers();
    reader.releaseLock();
    if (!isEnded) await discardRestOfBody(request);
  }
}
