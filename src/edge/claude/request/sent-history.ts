/**
 * The messages of a conversation, in the form in which they are sent with each turn. They are bytes and not objects, so that the
 * garbage collector does not walk through them, and a turn only adds to their end.
 */

import type { SteppedWork } from '../../kit/async/run-in-steps.ts';
import { freeBytes } from '../../kit/http/body/release-bytes.ts';
import { copyPieces, sumPieceLengths } from '../../kit/http/body-pieces.ts';
import { encoder, exactDecoder } from '../../kit/http/bytes.ts';
import { replaceLoneSurrogates } from '../../kit/json/lone-surrogates.ts';
import { findFeaturesOfJoinedMessages } from '../pricing/joined-messages.ts';
import { findFeaturesOfMessages, NO_FEATURES, type PromptFeatures } from '../pricing/prompt-features.ts';

/** A buffer that several histories share: each one is a longer beginning of it. */
interface SharedBuffer {
  bytes: Uint8Array;
  /** The length of the longest history in it, in bytes. */
  used: number;
}

/** A new buffer is this many times as long as its content, so that most turns need no copy. */
const GROWTH_FACTOR = 1.25;
/** The most bytes that it is longer. */
const MAX_SPARE_BYTES = 262_144;

const COMMA_BYTES = encoder.encode(',');

/** Messages as JSON with commas between them: in UTF-8, or as the parts of a text, which are read when they are taken. */
export interface JoinedMessages {
  joined: Uint8Array | Iterable<string>;
  /** How many there are. */
  messages: number;
}

/** An immutable list of messages as bytes. */
export class SentHistory {
  static readonly EMPTY = new SentHistory({ bytes: new Uint8Array(0), used: 0 }, 0, NO_FEATURES);

  readonly #shared: SharedBuffer;
  readonly #length: number;
  /** The features of the messages that determine the cost of a request, beside their length. */
  readonly features: PromptFeatures;

  private constructor(shared: SharedBuffer, length: number, findings: PromptFeatures) {
    this.#shared = shared;
    this.#length = length;
    this.features = findings;
  }

  /**
   * Builds the history of messages that are read from the database, in steps.
   *
   * @param groups some messages each, which are read when they are taken
   * @param limit the most bytes that it may have
   * @returns undefined if it has more
   */
  static *createFromMessages(groups: Iterable<JoinedMessages>, limit: number): SteppedWork<SentHistory | undefined> {
    let findings = NO_FEATURES;
    const parts: Uint8Array[] = [];
    let used = 0;
    for (const { joined, messages } of groups) {
      const text = yield* readJoinedText(joined);
      const sent = replaceLoneSurrogates(text);
      const bytes = joined instanceof Uint8Array && sent === text ? joined : encoder.encode(sent);
      const added = parts.length > 0 ? [COMMA_BYTES, bytes] : [bytes];
      parts.push(...added);
      used += sumPieceLengths(added);
      if (used > limit) return undefined;
      yield sent.length;
      findings = findFeaturesOfJoinedMessages(sent, messages, findings);
    }
    yield used;
    // Reserve spare bytes for the turn that is about to begin, so that appending it does not copy a long history.
    const bytes = new Uint8Array(computeGrownLength(used));
    copyPieces(bytes, parts);
    return new SentHistory({ bytes, used }, used, findings);
  }

  /** The messages as JSON with commas between them, in UTF-8. */
  get joinedBytes(): Uint8Array {
    return this.#shared.bytes.subarray(0, this.#length);
  }

  /** Bytes of memory that its buffer takes. */
  get bufferSizeBytes(): number {
    return this.#shared.bytes.length;
  }

  /**
   * @param texts the JSON of further messages
   * @param parsed what they parse to, if that is known, but for breakpoints
   * @returns a longer history; this one stays as it is
   */
  appendMessages(texts: readonly string[], parsed?: readonly unknown[]): SentHistory {
    if (texts.length === 0) return this;
    const added = texts.flatMap((text, index) => [
      ...(index > 0 || this.#length > 0 ? [COMMA_BYTES] : []),
      encoder.encode(replaceLoneSurrogates(text)),
    ]);
    const length = this.#length + sumPieceLengths(added);
    // The spare bytes can be used once: if another history has already been appended here, its bytes follow this one's.
    const hasRoom = this.#shared.used === this.#length && length <= this.#shared.bytes.length;
    // A history just read from the database (length 0) may never be continued, so its buffer gets no spare bytes.
    const size = this.#length > 0 ? computeGrownLength(length) : length;
    const shared = hasRoom ? this.#shared : { bytes: new Uint8Array(size), used: 0 };
    if (!hasRoom) shared.bytes.set(this.joinedBytes);
    copyPieces(shared.bytes.subarray(this.#length), added);
    for (const piece of added) if (piece !== COMMA_BYTES) freeBytes(piece);
    shared.used = length;
    const messages = parsed ?? texts.map((text) => JSON.parse(text) as unknown);
    return new SentHistory(shared, length, findFeaturesOfMessages(messages, this.features));
  }
}

function* readJoinedText(joined: JoinedMessages['joined']): SteppedWork<string> {
  if (joined instanceof Uint8Array) {
    yield joined.length;
    return exactDecoder.decode(joined);
  }
  let text = '';
  for (const part of joined) {
    yield part.length;
    text += part;
  }
  return text;
}

function computeGrownLength(length: number): number {
  return Math.min(Math.ceil(length * GROWTH_FACTOR), length + MAX_SPARE_BYTES);
}
