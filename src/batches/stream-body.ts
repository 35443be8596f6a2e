import { ApiError, invalidRequest, tooLarge } from '../http/errors.ts';
import { PieceReader } from '../http/piece-reader.ts';
import { discard, Pace } from '../http/read-json.ts';

/** How often it is looked whether a body still comes, in milliseconds. */
const LOOK_MS = 15_000;

/**
 * Reads a body piece by piece, and never has more of it in memory than the piece that it gives out. A piece is valid until
 * the next one is asked for.
 *
 * If whoever reads stops, the rest is read and dropped for a while: a connection that is closed while the caller still
 * sends is reset, and the caller would never see why the request was refused.
 *
 * @throws ApiError 413 above the limit, 400 for a body that breaks off or comes too slowly
 */
export async function* streamBody(request: Request, limitBytes: number): AsyncGenerator<Uint8Array, void> {
  if (Number(request.headers.get('content-length')) > limitBytes) throw tooLarge(limitBytes);
  if (!request.body) return;
  const reader = new PieceReader(request.body);
  let length = 0;
  let taken = 0;
  let isEnded = false;
  // While the upstream takes what has come, nothing is awaited from the caller.
  const pace = new Pace(reader, () => (taken === length ? length : Number.POSITIVE_INFINITY), {
    stretchMs: LOOK_MS,
    longFrom: 0,
  });
  try {
    for (;;) {
      const piece = await reader.read();
      pace.check();
      isEnded = piece === undefined;
      if (!piece) return;
      length += piece.length;
      if (length > limitBytes) throw tooLarge(limitBytes);
      yield piece;
      taken = length;
    }
  } catch (thrown) {
    if (thrown instanceof ApiError) throw thrown;
    isEnded = true;
    // The caller has failed, not the edge.
    throw invalidRequest('The request body broke off. Send it again.', { logged: 'client_gone', cause: thrown });
  } finally {
    pace.stop();
    reader.releaseLock();
    if (!isEnded) await discard(request);
  }
}
