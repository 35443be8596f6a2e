/**
 * JSON whose long strings stay bytes. As text and as objects, a long prompt takes three to five times its bytes, and nearly all
 * of it is strings that Sluice does not read. Short placeholders replace them. No caller can have written a placeholder,
 * because each contains a random number that is chosen after the body has arrived.
 */

import { delayBytesRelease } from './body/release-bytes.ts';
import { encoder } from './bytes.ts';

/** A source of the bytes that placeholders replace. */
export interface PlaceholderSource {
  readonly id: string;
  /** @returns the bytes of one of its parts, as pieces in order. */
  getPieces(index: number): readonly Uint8Array[];
  /** @returns the length in bytes of the string that a placeholder replaces; undefined for any other text. */
  lengthOf?(value: string): number | undefined;
}

const PLACEHOLDER_PATTERN = /~(string|part):([0-9a-f]{16}):(\d+)~/g;

/** @returns a random id of 16 hexadecimal digits, by which a source recognizes its placeholders. */
export function createPlaceholderSourceId(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}

/** @returns a placeholder for the inside of a string. */
export function createStringPlaceholder(id: string, index: number): string {
  return `~string:${id}:${index}~`;
}

/** @returns a placeholder for some items of a list, with its quotes. */
export function createPartPlaceholder(id: string, index: number): string {
  return `"~part:${id}:${index}~"`;
}

/** @returns the bytes of a text as pieces in order, with the real bytes instead of its placeholders. */
export function replacePlaceholdersByPieces(text: string, sources: readonly PlaceholderSource[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const { 0: found, 1: kind, 2: id, 3: index, index: start } of text.matchAll(PLACEHOLDER_PATTERN)) {
    const source = sources.find((one) => one.id === id);
    if (!source) continue;
    const quote = kind === 'part' ? 1 : 0;
    pieces.push(encoder.encode(text.slice(at, start - quote)), ...source.getPieces(Number(index)));
    at = start + found.length + quote;
  }
  pieces.push(encoder.encode(text.slice(at)));
  return pieces.filter(({ length }) => length > 0);
}

/** @returns the length of all pieces together, in bytes. */
export function sumPieceLengths(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((length, piece) => length + piece.length, 0);
}

/** @returns a new array with the bytes of all pieces. */
export function joinPieces(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(sumPieceLengths(pieces));
  copyPieces(all, pieces);
  return all;
}

/** Writes pieces to the beginning of an array that is long enough. */
export function copyPieces(all: Uint8Array, pieces: readonly Uint8Array[]): void {
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
}

/**
 * How many pieces of a body the runtime may take before the connection is open: one more than it was seen to take. Where it
 * takes more, a call that was never sent is paid for (`test/e2e/unsent.test.ts` fails); none that was sent is free.
 */
const READ_AHEAD_PIECES = 4;
/** Whether more of a stream of pieces has been read than the runtime reads ahead. */
const hasBeenReadByStream = new WeakMap<ReadableStream, boolean>();

/**
 * @returns pieces as a stream of known length, so that their bytes are not in memory twice. The first bytes are pieces of
 * their own: of a call whose connection never opens the runtime takes no more than these
 */
export function createPieceStream(pieces: readonly Uint8Array[]): ReadableStream {
  const { readable, writable } = new FixedLengthStream(sumPieceLengths(pieces));
  const [first = new Uint8Array(), ...others] = pieces;
  const ahead = [...first.subarray(0, READ_AHEAD_PIECES)].map((_, at) => first.subarray(at, at + 1));
  hasBeenReadByStream.set(readable, false);
  writePieces([...ahead, first.subarray(READ_AHEAD_PIECES), ...others], readable, writable.getWriter()).catch(
    ignoreReaderError,
  );
  return readable;
}

/** @returns whether more of a stream of pieces was taken than is taken ahead, or all of it; undefined for any other body. */
export function hasPieceStreamBeenRead(body: unknown): boolean | undefined {
  return body instanceof ReadableStream ? hasBeenReadByStream.get(body) : undefined;
}

async function writePieces(
  pieces: readonly Uint8Array[],
  stream: ReadableStream,
  writer: WritableStreamDefaultWriter,
): Promise<void> {
  const poured = delayBytesRelease(pieces);
  try {
    for (const [index, piece] of pieces.entries()) {
      await writer.write(piece);
      // Pieces beyond those that a stream reads ahead are read only when the body is sent. After the last piece, the body may
      // have been sent completely, so the request must count as sent.
      if (index >= READ_AHEAD_PIECES || index === pieces.length - 1) hasBeenReadByStream.set(stream, true);
    }
    await writer.close();
  } finally {
    poured();
  }
}

/** Ignores the error: the reader of the stream has stopped or failed, and knows it already. */
function ignoreReaderError(): void {}
