/** A request body that is a JSON object, in each of its forms; `text` has the very bytes, but for a `LongBody`. */
export interface JsonBody {
  readonly bytes: Uint8Array;
  readonly text: string;
  readonly json: Record<string, unknown>;
  /** The part of it in which keys may be repeated; null where it is known that none is. Default: the whole. */
  readonly readings?: { text: string; json: Record<string, unknown> } | null | undefined;
}

/** What takes the place of a body that is not needed any more. */
export const RELEASED: JsonBody = { bytes: new Uint8Array(0), text: '', json: {} };
