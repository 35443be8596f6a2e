/**
 * Masks secrets in the `error` events of a stream, in which a gateway may quote what it was sent; and in blocks as they begin, if
 * they may be results of a server that was sent a secret.
 */

import { joinPieces } from '../../kit/http/body-pieces.ts';
import { encoder, exactDecoder, NO_BYTES } from '../../kit/http/bytes.ts';
import { maskSecrets, trimPartialSecretAtEnd } from '../../kit/http/secrets.ts';
import { LINE_FEED } from '../../kit/json/characters.ts';
import { CARRIAGE_RETURN } from '../../kit/sse/lines.ts';

/** An error is passed on no further than this. */
const MAX_MASKED_EVENT_BYTES = 262_144;
const WHOLE_EVENT = /.*?(?:\r\n|\r(?!\n)|\n){2}|.+/gs;
/** A model's output is not masked, because a short key may be a word. */
const MODEL_OUTPUT_EVENT = /^event: ?content_block_/;
const MODEL_OUTPUT_DELTA = /^event: ?content_block_(?!start)/;
const NOT_AN_ERROR = /^event: ?(?!error[\r\n])[^\r\n]+[\r\n]/;

/**
 * Forwards a stream whose pieces end anywhere. Each event is forwarded when it is complete, because no client uses it before.
 */
export class StreamErrorMasker {
  /** A copy of the unfinished event. */
  #pending: Uint8Array<ArrayBuffer> = NO_BYTES;
  /** Whether the beginning of the unfinished event has been passed on, because it is long and no error. */
  #isTooLong = false;
  #isFinished = false;
  readonly #modelOutput: RegExp;

  /** @param masksBlocks whether blocks are masked, too, as they begin */
  constructor(masksBlocks = false) {
    this.#modelOutput = masksBlocks ? MODEL_OUTPUT_DELTA : MODEL_OUTPUT_EVENT;
  }

  /** @returns the bytes that can be returned now. They may share the buffer of the piece */
  maskPiece(piece: Uint8Array): Uint8Array {
    if (this.#isFinished) return NO_BYTES;
    const before = this.#pending.length;
    const bytes = before > 0 ? joinPieces([this.#pending, piece]) : piece;
    // The end of an event has up to four bytes (`\r\n\r\n`). Three of them may be in an earlier piece, so begin the search
    // three bytes before this piece.
    const end = findLastEventEnd(bytes, Math.max(0, before - 3));
    if (end > 0) this.#isTooLong = false;
    const rest = bytes.subarray(end);
    const isKept = !this.#isTooLong && rest.length <= MAX_MASKED_EVENT_BYTES;
    this.#pending = isKept ? rest.slice() : NO_BYTES;
    if (isKept) return maskSecretsInErrorEvents(bytes.subarray(0, end), this.#modelOutput);
    this.#isTooLong ||= NOT_AN_ERROR.test(exactDecoder.decode(rest));
    if (this.#isTooLong) return bytes;
    this.#isFinished = true;
    return encoder.encode(`${maskSecretsInUnfinishedEvent(exactDecoder.decode(bytes))}\n\n`);
  }

  /** @returns what was kept when the stream ended */
  takeUnsentBytes(): Uint8Array {
    const text = exactDecoder.decode(this.#pending);
    const end = this.#modelOutput.test(text) ? text : maskSecretsInUnfinishedEvent(text);
    return end === text ? this.#pending : encoder.encode(end);
  }
}

/** @returns the text of an unfinished event without secrets, and without the first part of one. */
function maskSecretsInUnfinishedEvent(text: string): string {
  return trimPartialSecretAtEnd(maskSecrets(text));
}

function maskSecretsInErrorEvents(bytes: Uint8Array, says: RegExp): Uint8Array {
  const text = exactDecoder.decode(bytes);
  if (maskSecrets(text) === text) return bytes;
  return encoder.encode(text.replace(WHOLE_EVENT, (event) => (says.test(event) ? event : maskSecrets(event))));
}

/** @returns where the last empty line of the bytes ends, or 0. Ends before `from` do not count. */
function findLastEventEnd(bytes: Uint8Array, from: number): number {
  for (let end = bytes.length; end > from; end -= 1) {
    if (!isLineEnd(bytes[end - 1])) continue;
    const start = bytes[end - 1] === LINE_FEED && bytes[end - 2] === CARRIAGE_RETURN ? end - 2 : end - 1;
    if (start === 0 || isLineEnd(bytes[start - 1])) return end;
  }
  return 0;
}

function isLineEnd(byte: number | undefined): boolean {
  return byte === LINE_FEED || byte === CARRIAGE_RETURN;
}
