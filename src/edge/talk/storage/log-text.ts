/**
 * Writes the events of a log as one short text.
 *
 * Most events are deltas that differ from the one before in one string only. Of these only the string is written, and the
 * text before it once. Ids are left out, because they can be made from the numbers. The entries are separated by control
 * characters, which valid JSON must escape. A text without them could not be shortened: it has the events as they are shown.
 */
import { DELTA_END, DELTA_LINES, type SimilarDeltas } from '../../kit/sse/frames.ts';
import { DamagedRow } from './damaged-row.ts';
import { PIECE_CHARACTERS } from './message-text.ts';

/** Marks the common beginning of the deltas that follow, up to a line end. */
const HEAD = '\u0001';
/** Marks the string of such a delta, up to a line end. */
const LIKE = '\u0002';
/** Marks an event as it is shown, without its id, with any comment after it, up to the next entry. */
const WHOLE = '\u0003';
// biome-ignore lint/suspicious/noControlCharactersInRegex: these characters separate the entries.
const ENTRIES = /[\u0001-\u0003]/;

/** A growing batch of events. */
export class LogText {
  readonly #entries: string[] = [];
  #head = '';
  #shortens = true;

  /** Adds an event as it is shown, without its id. */
  add(text: string): void {
    // What is longer than a row is divided and not shortened. To look through it would copy it once.
    this.#shortens &&= text.length <= PIECE_CHARACTERS && !ENTRIES.test(text);
    this.#entries.push(WHOLE, text);
  }

  /** Adds deltas that differ in one string only. */
  addDeltas({ text, head, strings }: SimilarDeltas): void {
    const [only = ''] = strings;
    // A delta in another form, for example a padded one, cannot be restored from its head and string.
    if (strings.length === 1 && text.length !== DELTA_LINES.length + head.length + only.length + DELTA_END.length) {
      this.add(text);
      return;
    }
    if (this.#head !== head) {
      this.#entries.push(HEAD, head, '\n');
      this.#head = head;
    }
    this.#entries.push(LIKE, strings.join(`\n${LIKE}`), '\n');
  }

  /** @returns the batch as one text; undefined where it cannot be shortened. */
  get text(): string | undefined {
    return this.#shortens ? this.#entries.join('') : undefined;
  }
}

/** Events as they are shown. */
export interface ShownEvents {
  text: string;
  /** The number of the event that goes on; absent behind the last one. */
  next?: number;
}

/**
 * Restores the events of a text.
 *
 * @param turn the id of the turn, with which its events' ids begin
 * @param first the number of the first event
 * @param from the number of the first one that is wanted. What could not be shortened comes as a whole
 * @param most how many characters are enough
 * @throws DamagedRow for an entry without a kind or an end
 */
export function eventsAsShown(
  text: string,
  turn: string,
  first: number,
  from = first,
  most = Number.POSITIVE_INFINITY,
): ShownEvents {
  if (!ENTRIES.test(text.charAt(0))) return { text };
  let shown = '';
  let head = '';
  let event = first;
  for (let at = 0; at < text.length; ) {
    if (shown.length > most) return { text: shown, next: event };
    const kind = text.charAt(at);
    if (kind === WHOLE) {
      const length = text.slice(at + 1).search(ENTRIES);
      const end = length < 0 ? text.length : at + 1 + length;
      if (event >= from) shown += `id: ${turn}-${event}\n${text.slice(at + 1, end)}`;
      event += 1;
      at = end;
      continue;
    }
    const end = text.indexOf('\n', at);
    if (end < 0 || (kind !== HEAD && kind !== LIKE)) throw new DamagedRow(`the log of ${turn}`);
    if (kind === HEAD) head = text.slice(at + 1, end);
    else {
      if (event >= from) shown += `id: ${turn}-${event}\n${DELTA_LINES}${head}${text.slice(at + 1, end)}${DELTA_END}`;
      event += 1;
    }
    at = end + 1;
  }
  return { text: shown };
}
