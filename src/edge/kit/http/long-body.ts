import type { JsonBody, SendableBody } from './body/json-body.ts';
import {
  createPieceStream,
  joinPieces,
  type PlaceholderSource,
  replacePlaceholdersByPieces,
  sumPieceLengths,
} from './body-pieces.ts';
import { strictDecoder } from './bytes.ts';

/** A changed body with at least this many bytes is sent as a stream. If it was joined, its bytes would be in memory twice. */
const MIN_STREAMED_BYTES = 1_048_576;

/** A body whose long strings stay bytes. In `text` and `json`, short placeholders replace them. */
export class LongStringBody implements JsonBody {
  readonly text: string;
  readonly json: Record<string, unknown>;
  readonly sources: readonly PlaceholderSource[];
  readonly readings: JsonBody['readings'];
  readonly keys: number | undefined;
  #joinedBytes: Uint8Array | undefined;
  #size: number | undefined;

  /** @param joined all bytes in one array, if there is one already */
  constructor(
    { text, json, readings, keys }: Pick<JsonBody, 'text' | 'json' | 'readings' | 'keys'>,
    sources: readonly PlaceholderSource[],
    joined?: Uint8Array,
  ) {
    this.text = text;
    this.json = json;
    this.readings = readings;
    this.keys = keys;
    this.sources = sources;
    this.#joinedBytes = joined;
  }

  /** All bytes. They are joined at each read, unless they were given as one array. */
  get bytes(): Uint8Array {
    return this.#joinedBytes ?? joinPieces(replacePlaceholdersByPieces(this.text, this.sources));
  }

  /** Length in bytes. */
  get size(): number {
    this.#size ??= this.#joinedBytes?.length ?? sumPieceLengths(replacePlaceholdersByPieces(this.text, this.sources));
    return this.#size;
  }

  /** @returns the length of a string of this body in bytes, even if a placeholder replaces it. */
  getStringByteLength(value: string): number {
    for (const source of this.sources) {
      const length = source.lengthOf?.(value);
      if (length !== undefined) return length;
    }
    return value.length;
  }

  /** @returns a string as it was sent, even if a placeholder replaces it; undefined if it has more bytes than that */
  getOriginalString(value: string, mostBytes: number): string | undefined {
    if (this.getStringByteLength(value) > mostBytes) return undefined;
    const isReplaced = this.sources.some((source) => source.lengthOf?.(value) !== undefined);
    if (!isReplaced) return value;
    return JSON.parse(`"${strictDecoder.decode(joinPieces(replacePlaceholdersByPieces(value, this.sources)))}"`);
  }

  /** @returns the same body with another text and its parsed value. */
  replaceText(text: string, json: Record<string, unknown>): LongStringBody {
    return new LongStringBody({ text, json, readings: this.readings }, this.sources);
  }

  /** @returns the body that is sent for a text that was made from this body's text. */
  createSendableBody(text: string): SendableBody {
    if (this.#joinedBytes && text === this.text) return this.#joinedBytes;
    const pieces = replacePlaceholdersByPieces(text, this.sources);
    return sumPieceLengths(pieces) < MIN_STREAMED_BYTES ? joinPieces(pieces) : () => createPieceStream(pieces);
  }
}
