/** An event with a name and data, as a client gets it. */
export interface SseEvent {
  event: string;
  data: string;
  /** The event as it came, with its empty line, if it has only the two lines that the API itself writes. */
  text?: string;
}

/**
 * Reads the events of a stream that is split anywhere, in linear time.
 *
 * Events without a name or without data are left out, as every decoder of the Messages API does; so are comments.
 */
export class SseEventReader {
  readonly #decoder = new TextDecoder();
  /** The text since the last complete event. It is joined only when an event ends, so that a long one is not copied often. */
  #parts: string[] = [];
  /** A carriage return at the end of the last piece. It may be half of a line end. */
  #hasCarriageReturn = '';

  /** @returns the events that this piece ends. */
  readCompletedEvents(piece: Uint8Array): SseEvent[] {
    const frames: SseEvent[] = [];
    this.scanCompletedEvents(piece, (text, start, end) => {
      for (const frame of parseSseEvents(text, start, end)) if (frame.event) frames.push(frame);
      return end + 2;
    });
    return frames;
  }

  /**
   * Finds the events that this piece ends, without reading them.
   *
   * @param each called with a text and the position of an event in it, without the empty line. It returns where the next
   *   event begins, or undefined to stop
   */
  scanCompletedEvents(piece: Uint8Array, each: (text: string, start: number, end: number) => number | undefined): void {
    let text = this.#hasCarriageReturn + this.#decoder.decode(piece, { stream: true });
    if (text.includes('\r')) {
      this.#hasCarriageReturn = text.endsWith('\r') ? '\r' : '';
      text = text.slice(0, text.length - this.#hasCarriageReturn.length).replace(/\r\n?/g, '\n');
    }
    if (text === '') return;
    const isEnd = text.includes('\n\n') || (text.startsWith('\n') && this.#parts.at(-1)?.endsWith('\n'));
    this.#parts.push(text);
    if (!isEnd) return;
    const all = this.#parts.length > 1 ? this.#parts.join('') : text;
    let start = 0;
    for (let end = all.indexOf('\n\n'); end >= 0; end = all.indexOf('\n\n', start)) {
      const next = each(all, start, end);
      start = next ?? end + 2;
      if (next === undefined) break;
    }
    this.#parts = start < all.length ? [all.slice(start)] : [];
  }

  /** The text of the unfinished event so far. */
  get unfinishedEventText(): string {
    return this.#parts.join('') + this.#hasCarriageReturn;
  }

  /** The last event, if it lacks only its empty line; several if they lack the empty lines between them, too. */
  get unterminatedLastEvents(): readonly SseEvent[] {
    const all = this.unfinishedEventText.replace('\r', '\n').replace(/\n+$/, '');
    return all === '' ? [] : parseSseEvents(`${all}\n\n`, 0, all.length);
  }
}

const DELTA = 'content_block_delta';
/** The beginning of a delta, before its data. Most events are deltas. */
export const DELTA_LINES = `event: ${DELTA}\ndata: `;
/**
 * Parses the text between two empty lines. Events may have no name. An event without data, or with empty data, is no event
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html).
 *
 * @returns usually one event; several if the upstream has left out the empty lines between them. Data of several lines is joined
 *   by spaces
 */
export function parseSseEvents(text: string, start: number, end: number): readonly SseEvent[] {
  if (text.startsWith(DELTA_LINES, start)) {
    const from = start + DELTA_LINES.length;
    if (text.indexOf('\n', from) === end) {
      return [{ event: DELTA, data: text.slice(from, end), text: text.slice(start, end + 2) }];
    }
  }
  // Parse the form in which the API writes each event, an `event:` line and a `data:` line, without the general parser below,
  // which is slower.
  if (text.startsWith('event: ', start)) {
    const line = text.indexOf('\n', start);
    if (line >= 0 && line < end && text.startsWith('data: ', line + 1)) {
      const data = text.slice(line + 7, end);
      if (data !== '' && !data.includes('\n'))
        return [{ event: text.slice(start + 7, line), data, text: text.slice(start, end + 2) }];
    }
  }
  let event = '';
  let data: string | undefined;
  for (const line of text.slice(start, end).split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const value = line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    const field = line.slice(0, colon);
    if (field === 'event') event = value;
    else if (field === 'data') data = data === undefined ? value : `${data}\n${value}`;
  }
  if (data === undefined || data.trim() === '') return [];
  if (!data.includes('\n')) return [{ event, data }];
  // The name is that of the last event only, and an event without data may have replaced it.
  const parts = splitJoinedData(data);
  return parts.map((part, at) => ({
    event: readType(part) || (at === parts.length - 1 ? event : ''),
    // Between tokens of JSON, a space is the same as a line end, which would need another `data:` line.
    data: part.trim().replaceAll('\n', ' '),
  }));
}

/**
 * Splits the joined data of events between which an upstream has left out the empty lines. Each of them names itself by the
 * `type` in its data.
 *
 * @returns the data itself if it is JSON, or does not begin with a line of JSON; otherwise each line that is JSON, up to the first
 *   that is not, and the rest
 */
export function splitJoinedData(data: string): readonly string[] {
  if (!data.includes('\n') || isJson(data)) return [data];
  const lines = data.split('\n').filter((line) => line.trim() !== '');
  const first = lines.findIndex((line) => !isJson(line));
  if (first === 0) return [data];
  return first < 0 ? lines : [...lines.slice(0, first), lines.slice(first).join('\n')];
}

/** @returns whether a text is JSON */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** @returns the `type` of an event's data; empty if it has none */
function readType(data: string): string {
  const value: unknown = isJson(data) ? JSON.parse(data) : undefined;
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
    ? value.type
    : '';
}
