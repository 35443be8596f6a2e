import { joinedPieces, lengthOf, type PieceSource, piecesOf, streamOfPieces } from './body-pieces.ts';
import type { JsonBody } from './json-body.ts';
import type { Sendable } from './sendable.ts';

/** A changed body of so many bytes goes up as a stream: joined, its bytes would be in memory twice. */
const STREAMED_BYTES = 1_048_576;

/** A body whose long parts stay bytes: in `text` and `json` short stand-ins take their places. */
export class LongBody implements JsonBody {
  readonly text: string;
  readonly json: Record<string, unknown>;
  readonly sources: readonly PieceSource[];
  readonly readings: JsonBody['readings'];
  #joined: Uint8Array | undefined;
  #size: number | undefined;

  /** @param joined all bytes in one array, if there is one already */
  constructor(
    { text, json, readings }: Pick<JsonBody, 'text' | 'json' | 'readings'>,
    sources: readonly PieceSource[],
    joined?: Uint8Array,
  ) {
    this.text = text;
    this.json = json;
    this.readings = readings;
    this.sources = sources;
    this.#joined = joined;
  }

  /** All bytes. They are joined anew each time, unless they were given as one array. */
  get bytes(): Uint8Array {
    return this.#joined ?? joinedPieces(piecesOf(this.text, this.sources));
  }

  /** Length in bytes. */
  get size(): number {
    this.#size ??= this.#joined?.length ?? lengthOf(piecesOf(this.text, this.sources));
    return this.#size;
  }

  /** @returns the length of a string of this body in bytes, also if a stand-in takes its place. */
  lengthOf(value: string): number {
    for (const source of this.sources) {
      const length = source.lengthOf?.(value);
      if (length !== undefined) return length;
    }
    return value.length;
  }

  /** @returns the same body with another text, and what that parses to. */
  with(text: string, json: Record<string, unknown>): LongBody {
    return new LongBody({ text, json, readings: this.readings }, this.sources);
  }

  /** @returns what goes up for a text that was made from this body's text. */
  sendable(text: string): Sendable {
    if (this.#joined && text === this.text) return this.#joined;
    const pieces = piecesOf(text, this.sources);
    return lengthOf(pieces) < STREAMED_BYTES ? joinedPieces(pieces) : () => streamOfPieces(pieces);
  }
}
