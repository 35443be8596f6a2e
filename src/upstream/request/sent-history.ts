/**
 * The part of a history that is sent with each turn, as it is sent. It lies outside of the heap that is walked for
 * garbage, and grows at its end: neither it nor what bounds it is made anew with each turn.
 */

import { encoder } from '../../http/bytes.ts';
import { featuresOf, NO_FEATURES, type PromptFeatures } from '../../pricing/prompt-features.ts';

/** Bytes that several histories have in common, of which each one is longer than the one before. */
interface Shared {
  bytes: Uint8Array;
  /** As far as the longest of them goes. */
  used: number;
}

/** Room for what comes next: a history is copied a few times in its life, not once a turn. */
const ROOM = 1.25;

export class SentHistory {
  static readonly EMPTY = new SentHistory({ bytes: new Uint8Array(0), used: 0 }, 0, NO_FEATURES);

  readonly #shared: Shared;
  readonly #length: number;
  /** What bounds the messages beside their bytes. */
  readonly findings: PromptFeatures;

  private constructor(shared: Shared, length: number, findings: PromptFeatures) {
    this.#shared = shared;
    this.#length = length;
    this.findings = findings;
  }

  /** The messages as JSON with commas between them, in UTF-8. */
  get bytes(): Uint8Array {
    return this.#shared.bytes.subarray(0, this.#length);
  }

  /** Bytes of memory that it takes. */
  get size(): number {
    return this.#shared.bytes.length;
  }

  /**
   * @param texts the JSON of further messages
   * @returns a longer history; this one stays as it is
   */
  plus(texts: readonly string[]): SentHistory {
    if (texts.length === 0) return this;
    const added = encoder.encode((this.#length > 0 ? ',' : '') + texts.join(','));
    const length = this.#length + added.length;
    // Where another one has gone on from here, the room behind is taken.
    const hasRoom = this.#shared.used === this.#length && length <= this.#shared.bytes.length;
    // What was just read from its rows may be needed once.
    const size = this.#length > 0 ? Math.ceil(length * ROOM) : length;
    const shared = hasRoom ? this.#shared : { bytes: new Uint8Array(size), used: 0 };
    if (!hasRoom) shared.bytes.set(this.bytes);
    shared.bytes.set(added, this.#length);
    shared.used = length;
    const messages = texts.map((text) => JSON.parse(text) as unknown);
    return new SentHistory(shared, length, featuresOf(messages, this.findings));
  }
}
