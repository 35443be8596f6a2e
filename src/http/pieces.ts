/**
 * JSON whose long parts stay in bytes. As a text and as what that parses to, a long prompt takes three to five times
 * its bytes; nearly all of it is strings that nobody here reads. In their places stand short stand-ins, which no caller
 * can have written: each is made of a random number that is drawn after the body has come.
 */

import { encoder } from './bytes.ts';
import { use } from './released.ts';

/** What stand-ins stand for. */
export interface Source {
  readonly id: string;
  /** @returns the bytes of one of its parts, in their order. */
  pieces(index: number): readonly Uint8Array[];
  /** @returns how long the string is that a stand-in of its stands for, in bytes; undefined for any other text. */
  lengthOf?(value: string): number | undefined;
}

const STAND_IN = /~(string|part):([0-9a-f]{16}):(\d+)~/g;

/** @returns what makes the stand-ins of one source differ from all others. */
export function newId(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}

/** @returns what stands within quotes for a string. */
export function standInForString(id: string, index: number): string {
  return `~string:${id}:${index}~`;
}

/** @returns what stands, with its quotes, for items of a list. */
export function standInForPart(id: string, index: number): string {
  return `"~part:${id}:${index}~"`;
}

/** @returns the bytes of a text, in their order, with what its stand-ins stand for. */
export function piecesOf(text: string, sources: readonly Source[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const { 0: found, 1: kind, 2: id, 3: index, index: start } of text.matchAll(STAND_IN)) {
    const source = sources.find((one) => one.id === id);
    if (!source) continue;
    const quote = kind === 'part' ? 1 : 0;
    pieces.push(encoder.encode(text.slice(at, start - quote)), ...source.pieces(Number(index)));
    at = start + found.length + quote;
  }
  pieces.push(encoder.encode(text.slice(at)));
  return pieces.filter(({ length }) => length > 0);
}

/** @returns how many bytes pieces are together. */
export function lengthOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((length, piece) => length + piece.length, 0);
}

/** @returns pieces as one. */
export function joinedPieces(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(lengthOf(pieces));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** @returns pieces as a stream, so that they need not lie in memory a second time. */
export function streamOfPieces(pieces: readonly Uint8Array[]): ReadableStream {
  const { readable, writable } = new FixedLengthStream(lengthOf(pieces));
  pourPieces(pieces, writable.getWriter()).catch(tellsReader);
  return readable;
}

async function pourPieces(pieces: readonly Uint8Array[], writer: WritableStreamDefaultWriter): Promise<void> {
  const poured = use(pieces);
  try {
    for (const piece of pieces) await writer.write(piece);
    await writer.close();
  } finally {
    poured();
  }
}

/** Who reads the stream has stopped, or has failed: there it is told. */
function tellsReader(): void {}
