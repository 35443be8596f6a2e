/** Calls the network, and reports whether the request of a failed call has been sent. */

import { createPieceStream, hasPieceStreamBeenRead } from '../kit/http/body-pieces.ts';
import { encoder } from '../kit/http/bytes.ts';

/** A failure of the network, of which it is known whether the connection was open when it came. */
export class NetworkFailure extends Error {
  override name = 'NetworkFailure';
  /** Whether the runtime has taken the request's body, so that the other side may have got it. */
  readonly isSent: boolean;

  constructor(cause: unknown, isSent: boolean) {
    super(cause instanceof Error ? cause.message : 'unknown', { cause });
    this.isSent = isSent;
  }
}

/**
 * Calls the global `fetch`. A body is sent as a stream of known length, in pieces: the runtime takes all but the first few only
 * when the connection is open. All failures of the network have the same message, and some take long, so nothing else shows
 * whether the connection was open.
 *
 * @throws NetworkFailure if the network failed, and the request has a body
 * @throws the signal's reason when it is aborted
 */
export async function fetchFromNetwork(url: string, init: RequestInit): Promise<Response> {
  const { body, signal } = init;
  const bytes = typeof body === 'string' ? encoder.encode(body) : body;
  const sendable = bytes instanceof Uint8Array && bytes.length > 1 ? createPieceStream([bytes]) : bytes;
  try {
    return await fetch(url, { ...init, body: sendable ?? null });
  } catch (thrown) {
    const isSent = signal?.aborted ? undefined : hasPieceStreamBeenRead(sendable);
    throw isSent === undefined ? thrown : new NetworkFailure(thrown, isSent);
  }
}
