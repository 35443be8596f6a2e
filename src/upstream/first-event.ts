/** Reads the first event of a stream whole, so that it can be masked. A secret in it may be split between two pieces. */

import { joinedPieces } from '../http/body-pieces.ts';
import { LineReader } from '../sse/lines.ts';
import type { Piece } from './tee-reader.ts';

/** An error is not longer, even if it quotes all that was sent with it. */
const MOST_EVENT_BYTES = 262_144;
const READ_BYTES = 16_384;

/** The beginning of a stream, and whether more can come: not after its end, nor after a break. */
interface FirstEvent {
  bytes: Uint8Array;
  isOpen: boolean;
}

/**
 * Reads on until the first event is complete, or the stream ends or breaks.
 *
 * @param first what has been read of the stream
 * @param onPiece called with each further piece
 */
export async function readFirstEvent(
  reader: ReadableStreamBYOBReader,
  first: Uint8Array,
  onPiece: () => void,
): Promise<FirstEvent> {
  let hasBegun = false;
  let hasEvent = false;
  const lines = new LineReader((_, start, end) => {
    if (end > start) hasBegun = true;
    else hasEvent ||= hasBegun;
  });
  lines.push(first);
  const pieces = [first];
  for (let length = first.length; !hasEvent && length < MOST_EVENT_BYTES; ) {
    let next: Piece;
    try {
      next = await reader.read(new Uint8Array(READ_BYTES));
    } catch {
      // Nobody needs the error: an event without its end shows the break.
      return { bytes: joinedPieces(pieces), isOpen: false };
    }
    if (next.done || !next.value) return { bytes: joinedPieces(pieces), isOpen: false };
    onPiece();
    lines.push(next.value);
    pieces.push(next.value);
    length += next.value.length;
  }
  return { bytes: pieces.length === 1 ? first : joinedPieces(pieces), isOpen: true };
}
