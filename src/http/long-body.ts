import type { JsonBody } from './json-body.ts';
import { joinedPieces, lengthOf, piecesOf, type Source, streamOfPieces } from './pieces.ts';

/** From here on a body that has changed goes up as a stream, since it would take its bytes a second time. */
const STREAMED_BYTES = 1_048_576;

/** What goes up: a stream is made anew for each try. */
export type Sendable = BodyInit | (() => BodyInit);

/** A body of which the long parts stay in bytes: in `text` and `json` stand-ins stand for them. */
export class LongBody implements JsonBody {
  readonly text: string;
  readonly json: Record<string, unknown>;
  readonly sources: readonly Source[];
  readonly readings: JsonBody['readings'];
  #whole: Uint8Array | undefined;
  #size: number | undefined;

  /** @param whole the bytes, where they lie in one already */
  constructor(
    { text, json, readings }: Pick<JsonBody, 'text' | 'json' | 'readings'>,
    sources: readonly Source[],
    whole?: Uint8Array,
  ) {
    this.text = text;
    this.json = json;
    this.readings = readings;
    this.sources = sources;
    this.#whole = whole;
  }

  /** Made anew each time, unless they lie in one. */
  get bytes(): Uint8Array {
    return this.#whole ?? joinedPieces(piecesOf(this.text, this.sources));
  }

  get size(): number {
    this.#size ??= this.#whole?.length ?? lengthOf(piecesOf(this.text, this.sources));
    return this.#size;
  }

  /** @returns how long a string of it is, in bytes. */
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

  /** @returns what goes up for a text that was made of this body's. */
  sendable(text: string): Sendable {
    if (this.#whole && text === this.text) return this.#whole;
    const pieces = piecesOf(text, this.sources);
    return lengthOf(pieces) < STREAMED_BYTES ? joinedPieces(pieces) : () => streamOfPieces(pieces);
  }
}
