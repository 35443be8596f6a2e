/** A request body that is a JSON object, in all of its forms. `text` decodes `bytes` exactly, except in a `LongStringBody`. */
export interface JsonBody {
  readonly bytes: Uint8Array;
  readonly text: string;
  readonly json: Record<string, unknown>;
  /** How many keys the text has, where they were counted. */
  readonly keys?: number | undefined;
  /** The part of the body in which keys may be repeated; null if no key is. Default: all of it. */
  readonly readings?: { text: string; json: Record<string, unknown> } | null | undefined;
}

/** Replaces a body that is not needed any more, so that its memory can be freed. */
export const RELEASED_BODY: JsonBody = { bytes: new Uint8Array(0), text: '', json: {} };

/** A body that can be sent several times: a function makes a new stream for each attempt. */
export type SendableBody = BodyInit | (() => BodyInit);
