import { editJson, findStringEnd, parseMemberTexts, splitArrayItems } from '../kit/json/edit.ts';
import type { JsonObject } from '../kit/json/object.ts';
import { parseJsonOrUndefined } from '../kit/json/parse.ts';
import { DELTA_LINES, parseSseEvents, type SseEvent, SseEventReader } from '../kit/sse/frames.ts';
import { ReportedUsage } from './usage/reported-usage.ts';
import { parseEventTypeFromData } from './usage/usage-reader.ts';

/** The JSON texts of an object's values, by key. */
type JsonTextsByKey = Map<string, string>;

/** The end of a delta after its last string. The API pads some deltas with spaces. */
const DELTA_TAIL = / *\} *\} */y;
/** The JSON texts of types of deltas that do not simply add to members of the same names. */
const INPUT_DELTA = '"input_json_delta"';
const CITATION_DELTA = '"citations_delta"';
const THINKING_DELTA = '"thinking_delta"';
const FINAL_DELTAS = new Set(['"signature_delta"', '"compaction_delta"']);

/** A block of a message: what its start has, and what its deltas have added. */
class ContentBlockJson {
  readonly #members: JsonTextsByKey;
  /** The insides of strings that have grown, by member. */
  readonly #strings = new Map<string, string[]>();
  /** The insides of the strings that together are the JSON of a tool's input. */
  readonly #input: string[] = [];
  readonly #citations: string[] = [];

  constructor(members: JsonTextsByKey) {
    this.#members = members;
  }

  /** Adds a delta. @returns the list that the inside of its string was added to; undefined for any other delta */
  applyDelta(delta: JsonTextsByKey): string[] | undefined {
    const type = delta.get('type') ?? '';
    let list: string[] | undefined;
    for (const [name, value] of delta) {
      // Skip `estimated_tokens` of a thinking delta: it is for progress displays in streams, and whole messages do not have it.
      if (name === 'type' || (type === THINKING_DELTA && name === 'estimated_tokens')) continue;
      if (type === CITATION_DELTA && name === 'citation') this.#citations.push(value);
      else if (type === INPUT_DELTA && name === 'partial_json') list = this.#input;
      else if (FINAL_DELTAS.has(type) || !isString(value)) this.#replaceMember(name, value);
      else list = this.#getStringParts(name) ?? this.#replaceMember(name, value);
      if (list && isString(value)) list.push(value.slice(1, -1));
    }
    return delta.size === 2 ? list : undefined;
  }

  #replaceMember(name: string, value: string): undefined {
    this.#strings.delete(name);
    this.#members.set(name, value);
  }

  #getStringParts(name: string): string[] | undefined {
    const first = this.#members.get(name);
    if (first === undefined || !isString(first)) return undefined;
    const strings = this.#strings.get(name) ?? [first.slice(1, -1)];
    this.#strings.set(name, strings);
    return strings;
  }

  /** Yields its JSON, in parts. */
  *writeJsonParts(): Generator<string> {
    if (this.#citations.length > 0) {
      const cited = this.#members.get('citations') ?? '';
      const all = [...(cited.startsWith('[') ? splitArrayItems(cited) : []), ...this.#citations];
      this.#members.set('citations', `[${all.join(',')}]`);
    }
    const input = parseJsonOrUndefined(`"${this.#input.join('')}"`);
    // If the output was cut off, for example at `max_tokens`, the input may be incomplete JSON. A non-streaming response omits
    // such an input, too.
    if (typeof input === 'string' && parseJsonOrUndefined(input) !== undefined) this.#members.set('input', input);
    yield* writeObjectJsonParts(this.#members, (name, value) => {
      const strings = this.#strings.get(name);
      return strings ? ['"', ...strings, '"'] : [value];
    });
  }
}

/**
 * Assembles a message from the events of its stream: the same JSON as that of a non-streaming response. All of it stays text,
 * so that each number, escape and tool input stays as it was written.
 */
export class StreamedMessageJson {
  /** Whether `message_stop` or an `error` has arrived. */
  hasEnded = false;
  /** The data of an `error` event. */
  error: string | undefined;
  readonly #frames = new SseEventReader();
  #message: JsonTextsByKey | undefined;
  readonly #hasFinalDelta = new ReportedUsage();
  /** By the text of their index, in the order of their starts. */
  readonly #blocks = new Map<string, ContentBlockJson>();
  /** How the last delta began, up to its string, if the next one may begin in the same way; and where its string belongs. */
  #head = '';
  #currentStrings: string[] = [];
  /** The strings of deltas with this beginning, as they are in this piece. */
  #similarStrings: string[] = [];

  /**
   * Takes the next piece of the stream. Its buffer may be reused afterwards.
   *
   * @throws SyntaxError for data that is not JSON
   */
  addPiece(piece: Uint8Array): void {
    this.#frames.scanCompletedEvents(piece, (text, start, end) => {
      if (!this.#pushSimilarDelta(text, start, end)) this.#applyEvents(parseSseEvents(text, start, end));
      return this.hasEnded ? undefined : end + 2;
    });
    this.#joinSimilarDeltas();
  }

  /** Takes events at the end of the stream that lack only their empty lines. */
  endStream(): void {
    this.#applyEvents(this.#frames.unterminatedLastEvents);
  }

  /** Whether it is a message, and complete. */
  get isComplete(): boolean {
    return this.hasEnded && this.#message?.get('type') === '"message"';
  }

  /** Yields the JSON of the message, in parts. It is valid, since all that came was. */
  *writeJsonParts(): Generator<string> {
    const message = this.#message ?? new Map<string, string>();
    if (!message.has('content')) message.set('content', '[]');
    yield* writeObjectJsonParts(message, (name, value) => (name === 'content' ? this.#writeContentParts() : [value]));
  }

  *#writeContentParts(): Generator<string> {
    let before = '[';
    for (const block of this.#blocks.values()) {
      yield before;
      yield* block.writeJsonParts();
      before = ',';
    }
    yield before === '[' ? '[]' : ']';
  }

  /** Takes a delta that differs from the one before in its string only, as most do. @returns false for any other event */
  #pushSimilarDelta(text: string, start: number, end: number): boolean {
    const head = this.#head;
    if (head === '' || !text.startsWith(head, start)) return false;
    const from = start + head.length;
    const to = findStringEnd(text, from - 1);
    if (!isEndOfDeltaJson(text, to, end)) return false;
    this.#similarStrings.push(text.slice(from, to - 1));
    return true;
  }

  /** Checks the strings of similar deltas, and joins them, so that the text of the piece does not stay because of them. */
  #joinSimilarDeltas(): void {
    if (this.#similarStrings.length === 0) return;
    const joined = this.#similarStrings.join('');
    this.#similarStrings = [];
    JSON.parse(`"${joined}"`);
    this.#currentStrings.push(joined);
  }

  #applyEvents(events: readonly SseEvent[]): void {
    for (const event of events) if (!this.hasEnded) this.#applyEvent(event);
  }

  #applyEvent(frame: SseEvent): void {
    const { data, text } = frame;
    const event = frame.event || parseEventTypeFromData(data);
    if (event === '' || event === 'ping') return;
    this.#joinSimilarDeltas();
    this.#head = '';
    if (event === 'error') this.error = data;
    // The members are cut out of the text without parsing all of it. Parse it once here, so that invalid JSON is detected.
    else JSON.parse(data);
    if (event === 'error' || event === 'message_stop') this.hasEnded = true;
    else if (event === 'message_start') {
      this.#message = parseMemberTexts(parseMemberTexts(data).get('message') ?? '');
      this.#hasFinalDelta.addReport(parseJsonOrUndefined(this.#message.get('usage') ?? ''), 'message_start');
    } else if (event === 'content_block_start') this.#startMessage(parseMemberTexts(data));
    else if (event === 'content_block_delta') this.#applyDelta(parseMemberTexts(data), text);
    else if (event === 'message_delta') this.#applyMessageDelta(parseMemberTexts(data));
  }

  #startMessage(event: JsonTextsByKey): void {
    const members = parseMemberTexts(event.get('content_block') ?? '');
    this.#blocks.set(event.get('index') ?? '', new ContentBlockJson(members));
    if (members.get('type') !== '"fallback"') return;
    this.#hasFinalDelta.startNextModel();
    // After a `fallback` block the fallback model writes the rest, and `model` of a whole message names that model:
    // https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback
    const model = parseMemberTexts(members.get('to') ?? '').get('model');
    if (model !== undefined) this.#message?.set('model', model);
  }

  /** @param text the event as it came, if the next one may have the same form */
  #applyDelta(event: JsonTextsByKey, text: string | undefined): void {
    const delta = parseMemberTexts(event.get('delta') ?? '');
    const list = this.#blocks.get(event.get('index') ?? '')?.applyDelta(delta);
    if (!list || !text?.startsWith(DELTA_LINES)) return;
    const [name, string = ''] = [...delta].at(-1) ?? [];
    if (name === 'type') return;
    const at = text.lastIndexOf(string);
    if (!isString(string) || !isEndOfDeltaJson(text, at + string.length, text.length - 2)) return;
    this.#head = text.slice(0, at + 1);
    this.#currentStrings = list;
  }

  /** Merges a `message_delta`. Skips nulls, because it lacks much of what `message_start` has; its `delta` ends the message. */
  #applyMessageDelta(event: JsonTextsByKey): void {
    const message = this.#message;
    if (!message) return;
    for (const [name, value] of event) {
      if (name === 'delta') {
        for (const [key, text] of parseMemberTexts(value))
          if (key !== 'container' || text !== 'null') message.set(key, text);
      } else if (name === 'usage') {
        const all: JsonObject = { ...this.#hasFinalDelta.addReport(parseJsonOrUndefined(value), 'message_delta') };
        const texts = [...parseMemberTexts(value)].filter(([, text]) => text !== 'null');
        // Keep the text of a count from an earlier event if the merged usage has the same value.
        const isKept = ([key, text]: [string, string]) =>
          !(key in all) || JSON.stringify(JSON.parse(text)) === JSON.stringify(all[key]);
        message.set('usage', editJson(message.get('usage') ?? '{}', Object.fromEntries(texts.filter(isKept))));
      } else if (name !== 'type' && value !== 'null') message.set(name, value);
    }
  }
}

function isString(json: string): boolean {
  return json.startsWith('"');
}

function isEndOfDeltaJson(text: string, at: number, end: number): boolean {
  DELTA_TAIL.lastIndex = at;
  return DELTA_TAIL.test(text) && DELTA_TAIL.lastIndex === end;
}

/** Yields the JSON of an object, in parts. @param partsOf returns the parts of a member's value */
function* writeObjectJsonParts(
  members: JsonTextsByKey,
  partsOf: (name: string, value: string) => Iterable<string>,
): Generator<string> {
  let before = '{';
  for (const [name, value] of members) {
    yield `${before}${JSON.stringify(name)}:`;
    yield* partsOf(name, value);
    before = ',';
  }
  yield before === '{' ? '{}' : '}';
}
