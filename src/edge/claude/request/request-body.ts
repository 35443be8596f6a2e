/**
 * The body of a turn as it is sent: first the history as bytes, which are not parsed again, then the new messages as text.
 */

import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { copyPieces, sumPieceLengths } from '../../kit/http/body-pieces.ts';
import { encoder, exactDecoder } from '../../kit/http/bytes.ts';
import { COMMA } from '../../kit/json/characters.ts';
import { editJson, findMemberRange, type JsonMemberChanges } from '../../kit/json/edit.ts';
import { replaceLoneSurrogates } from '../../kit/json/lone-surrogates.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { PromptFeatures } from '../pricing/prompt-features.ts';
import type { SentHistory } from './sent-history.ts';

/** A part of the history in bytes, and what is sent in its place. */
export interface HistoryReplacement {
  start: number;
  end: number;
  bytes: Uint8Array;
}

/** A Messages body of new messages with a history before them. Bytes, text and JSON are made when they are first read. */
export class RequestBody implements JsonBody {
  /** Always null: a conversation rejects a body that repeats keys. */
  readonly readings = null;
  readonly #text: string;
  readonly #history: SentHistory;
  readonly #replacement: HistoryReplacement | undefined;
  #ownJson: JsonObject | undefined;
  #bytes: Uint8Array | undefined;
  #parsedBody: Pick<JsonBody, 'text' | 'json'> | undefined;

  /**
   * @param text a Messages body whose `messages` has only the new ones
   * @param replacement a message of the history with a breakpoint. The history itself has none: it is shared by later turns
   */
  constructor(text: string, history: SentHistory, replacement?: HistoryReplacement) {
    // The model's own tool call can contain a lone surrogate, which the API rejects in a request. Replace it, or every later
    // request of the conversation would fail.
    this.#text = replaceLoneSurrogates(text);
    this.#history = history;
    this.#replacement = replacement;
  }

  /** The body without the history: its other members, and the new messages. */
  get ownJson(): JsonObject {
    this.#ownJson ??= JSON.parse(this.#text) as JsonObject;
    return this.#ownJson;
  }

  /** The features that were found in the messages of the history. */
  get before(): PromptFeatures {
    return this.#history.features;
  }

  /** Whether there is a history before the new messages. */
  get hasHistory(): boolean {
    return this.#history.joinedBytes.length > 0;
  }

  /** The text of the body without the history. */
  get textWithoutHistory(): string {
    return this.#text;
  }

  get bytes(): Uint8Array {
    this.#bytes ??= insertHistory(this.#text, splitHistory(this.#history.joinedBytes, this.#replacement));
    return this.#bytes;
  }

  get text(): string {
    return this.#getParsed().text;
  }

  get json(): Record<string, unknown> {
    return this.#getParsed().json;
  }

  #getParsed(): Pick<JsonBody, 'text' | 'json'> {
    if (!this.#parsedBody) {
      const text = exactDecoder.decode(this.bytes);
      this.#parsedBody = { text, json: JSON.parse(text) as Record<string, unknown> };
    }
    return this.#parsedBody;
  }

  /** @returns the same body with some members changed. */
  withChanges(changes: JsonMemberChanges): RequestBody {
    return new RequestBody(editJson(this.#text, changes), this.#history, this.#replacement);
  }
}

/** @returns the members of a body, with only the new ones of a conversation's messages */
export function getJsonWithoutHistory(body: JsonBody): JsonObject {
  return body instanceof RequestBody ? body.ownJson : body.json;
}

function splitHistory(history: Uint8Array, replacement: HistoryReplacement | undefined): Uint8Array[] {
  if (!replacement) return [history];
  const { start, end, bytes } = replacement;
  return [history.subarray(0, start), bytes, history.subarray(end)];
}

/** Writes the parts of a history into the list of messages of a body, before those that are there. */
function insertHistory(text: string, history: readonly Uint8Array[]): Uint8Array {
  const length = sumPieceLengths(history);
  if (length === 0) return encoder.encode(text);
  const range = findMemberRange(text, 'messages');
  if (!range) throw new TypeError('The body contains no messages.');
  const begins = range.start + 1;
  const before = encoder.encode(text.slice(0, begins));
  const after = encoder.encode(text.slice(begins));
  const hasMore = text.slice(begins, range.end - 1).trim() !== '';
  const bytes = new Uint8Array(before.length + length + Number(hasMore) + after.length);
  copyPieces(bytes, [before, ...history]);
  if (hasMore) bytes[before.length + length] = COMMA;
  bytes.set(after, bytes.length - after.length);
  return bytes;
}
