/**
 * The events of one turn as they are stored and shown.
 *
 * A listener is a position in the log, not a queue: later events are read from the rows when it takes more. So a slow
 * listener, or one that has left, costs no memory and delays nothing.
 */

import { encoder } from '../../http/bytes.ts';
import { DELTA_END, DELTA_LINES, type Frame } from '../../sse/frames.ts';
import { LogText } from '../storage/log-text.ts';
import type { TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';

/** The byte that ends a complete stream, and is never in an event. The turn's summary follows it, for the edge alone. */
export const END_OF_STREAM = 0;

interface Listener {
  controller: ReadableByteStreamController;
  /** The number of the last event that it has, or is reading from the rows. */
  cursor: number;
  /** The next row that it reads; undefined where it has all stored events. */
  row: number | undefined;
  /** Whether it has asked for more, and nothing has been sent since. */
  isWaiting: boolean;
}

/** The log of a turn, as those see it who write it, show it or read it. */
export type TurnLog = { [Member in keyof EventLog]: EventLog[Member] };

/** The most characters of a stored row that stays in memory. */
const LONGEST_IN_MEMORY = 262_144;
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';

export class EventLog {
  readonly id: string;
  readonly #transcript: Transcript;
  readonly #seq: number;
  readonly #listeners = new Set<Listener>();
  /** Events that are not stored yet, without their ids. */
  #frames: string[] = [];
  /** The same events, as they are stored. */
  #batch = new LogText();
  /** The line of an event's id, up to its number. */
  readonly #idLine: string;
  #characters = 0;
  #stored: number;
  #rows: number;
  #shown: number;
  /** The turn's summary as JSON, once the log is complete. */
  #summary: string | undefined;
  /** The row that was written last, for listeners who come a moment later. */
  #latest: { row: number; text: string } | undefined;
  /** The last event before numbers that were skipped. */
  #gapAfter: number | undefined;

  /**
   * @param stored how many events and rows are stored
   * @param summary the summary of a turn that has ended, as JSON
   */
  constructor(
    transcript: Transcript,
    turn: Pick<TurnRow, 'seq' | 'id'>,
    stored = { events: 0, rows: 0 },
    summary?: string,
  ) {
    this.#transcript = transcript;
    this.#seq = turn.seq;
    this.id = turn.id;
    this.#idLine = `id: ${turn.id}-`;
    this.#stored = stored.events;
    this.#shown = stored.events;
    this.#rows = stored.rows;
    this.#summary = summary;
  }

  /** Skips numbers: those of events that were shown before a crash and not stored must not be used again. */
  skip(numbers: number): void {
    this.#gapAfter = this.#stored;
    this.#stored += numbers;
    this.#shown += numbers;
  }

  /** The number of the last event, shown or not. */
  get events(): number {
    return this.#stored + this.#frames.length;
  }

  /** Characters that are not stored yet. */
  get unstored(): number {
    return this.#characters;
  }

  get unshown(): number {
    return this.events - this.#shown;
  }

  /** Adds an event as it came; `remark` is a comment behind it. */
  add({ event, data, text = `event: ${event}\ndata: ${data}\n\n` }: Frame, remark = ''): void {
    this.#batch.add(text + remark);
    this.#push(text + remark);
  }

  /** Adds a delta with one string, as it came; `head` and `string` as for `LogText`. */
  addSimilarDelta(text: string, head: string, string: string): void {
    this.#batch.addSimilarDelta(text, head, string);
    this.#push(text);
  }

  /**
   * Adds deltas that follow each other and differ in their strings alone.
   *
   * @param start where in the text the first one begins
   * @returns where the text after them begins
   */
  addDeltaStrings(text: string, start: number, head: string, strings: readonly string[]): number {
    this.#batch.addDeltaStrings(head, strings);
    const around = DELTA_LINES.length + head.length + DELTA_END.length;
    let at = start;
    const frames = this.#frames;
    for (const { length } of strings) {
      frames.push(text.slice(at, at + around + length));
      at += around + length;
    }
    this.#characters += at - start + strings.length * this.#idLine.length;
    return at;
  }

  #push(text: string): void {
    this.#frames.push(text);
    this.#characters += text.length + this.#idLine.length;
  }

  /** @returns events that are not stored yet, as they are shown: with their ids before them. */
  #shownText(from: number, to = this.#frames.length): string {
    let text = '';
    // Added up and not joined: the runtime makes one string of all parts when it is read first.
    for (let at = from; at < to; at += 1) text += `${this.#idLine}${this.#stored + at + 1}\n${this.#frames[at] ?? ''}`;
    return text;
  }

  /**
   * Stores what is not stored yet; to be called in the transaction that it belongs to.
   *
   * @param time when, and for how long output may have been unseen; absent at the end of the turn
   */
  store(time?: { at: number; unseenMs: number }): void {
    if (this.#frames.length === 0) return;
    const first = (this.#gapAfter ?? this.#stored) + 1;
    // The ids behind a gap do not follow from the row's first event.
    const short = this.#gapAfter === undefined ? this.#batch.text : undefined;
    this.#gapAfter = undefined;
    this.#batch = new LogText();
    // Most of what is stored is shown now: one text serves both.
    const text = this.#shownText(0);
    const fresh = this.#shown === this.#stored ? text : this.#unshownText;
    const row = this.#rows;
    const frames = () => this.#frames.map((_, at) => this.#shownText(at, at + 1));
    this.#rows = this.#transcript.log.write(this.#seq, row, first, frames, { text, short }, time);
    this.#latest = this.#rows === row + 1 && text.length <= LONGEST_IN_MEMORY ? { row, text } : undefined;
    this.#stored += this.#frames.length;
    this.#frames = [];
    this.#characters = 0;
    this.#show(fresh, this.#stored);
  }

  show(): void {
    this.#show(this.#unshownText, this.events);
  }

  get #unshownText(): string {
    return this.#listeners.size > 0 ? this.#shownText(this.#shown - this.#stored) : '';
  }

  /** Sends an event that says, in a silence, that the turn still runs. */
  ping(): void {
    for (const listener of this.#listeners) {
      if (listener.isWaiting && listener.cursor === this.#shown) this.#enqueue(listener, PING);
    }
  }

  /** Marks the end: the next `store` writes the last events. `summary` is the turn's, as JSON. */
  finish(summary: string): void {
    this.#summary = summary;
  }

  /** Shows the last events, and closes the streams of listeners that have everything. */
  end(): void {
    this.show();
    for (const listener of [...this.#listeners]) this.#serve(listener);
  }

  /** All events so far, stored or not. */
  get text(): string {
    const stored = this.#rows > 0 ? this.#transcript.log.of({ seq: this.#seq, id: this.id }).text : '';
    return stored + this.#shownText(0);
  }

  /**
   * Takes the complete log out of memory, where the turn has ended and all of it is there as one text. Whoever comes later
   * reads it from the rows: a text that an ended turn still has would live until the isolate collects everything.
   */
  takeComplete(): string | undefined {
    const isOne = this.#summary !== undefined && this.#rows === 1 && this.#frames.length === 0;
    const text = isOne ? this.#latest?.text : undefined;
    if (isOne) this.#latest = undefined;
    return text;
  }

  /** The shown events, where they are in memory as one text, and the number of the last one. */
  get opening(): { text: string; after: number } {
    const isOne = this.#shown === this.#stored && this.#rows === 1 && this.#summary === undefined;
    if (isOne && this.#latest !== undefined) return { text: this.#latest.text, after: this.#shown };
    return { text: '', after: 0 };
  }

  /** @returns the bytes of the events after one, stored and to come, until the turn ends or the reader leaves. */
  follow(after: number): ReadableStream<Uint8Array> {
    let listener: Listener | undefined;
    const source: UnderlyingByteSource = {
      type: 'bytes',
      start: (controller) => {
        listener = { controller, cursor: Math.min(after, this.#shown), row: undefined, isWaiting: false };
        this.#listeners.add(listener);
      },
      pull: () => {
        if (!listener) return;
        listener.isWaiting = true;
        this.#serve(listener);
      },
      cancel: () => {
        if (listener) this.#listeners.delete(listener);
      },
    };
    return new ReadableStream(source, { highWaterMark: 0 });
  }

  /** @param fresh the text of the events up to `shown` that have not been shown */
  #show(fresh: string, shown: number): void {
    const before = this.#shown;
    if (shown === before) return;
    this.#shown = shown;
    for (const listener of [...this.#listeners]) {
      if (!listener.isWaiting || listener.row !== undefined || listener.cursor !== before) continue;
      listener.cursor = shown;
      this.#send(listener, fresh);
    }
  }

  #serve(listener: Listener): void {
    const text = listener.isWaiting ? this.#next(listener) : undefined;
    if (text !== undefined || this.#isAtEnd(listener)) this.#send(listener, text ?? '');
  }

  /** @returns whether the turn has ended and a listener has all its events, sent or about to be. */
  #isAtEnd({ row, cursor }: Listener): boolean {
    return this.#summary !== undefined && row === undefined && cursor === this.#shown;
  }

  /** Sends a text, and closes the stream where it is the last one. */
  #send(listener: Listener, text: string): void {
    if (!this.#isAtEnd(listener)) this.#enqueue(listener, text);
    else this.#close(listener, text + String.fromCharCode(END_OF_STREAM) + this.#summary);
  }

  /** @returns the next text for a listener; undefined where it has all that was shown. */
  #next(listener: Listener): string | undefined {
    let skipTo: string | undefined;
    if (listener.row === undefined && listener.cursor < this.#stored) {
      const event = listener.cursor + 1;
      // The first event is in the first row.
      listener.row = event === 1 && this.#rows > 0 ? 0 : this.#transcript.log.rowOf(this.#seq, event);
      skipTo = `${this.#idLine}${event}\n`;
      if (listener.row === undefined) return this.#lose(listener);
    }
    if (listener.row === undefined) {
      if (listener.cursor >= this.#shown) return undefined;
      const text = this.#shownText(Math.max(0, listener.cursor - this.#stored), this.#shown - this.#stored);
      listener.cursor = this.#shown;
      return text === '' ? undefined : text;
    }
    const latest = this.#latest?.row === listener.row ? this.#latest.text : undefined;
    const text = latest ?? this.#transcript.log.textOf({ seq: this.#seq, id: this.id }, listener.row);
    if (text === undefined) return this.#lose(listener);
    listener.row += 1;
    if (listener.row >= this.#rows) {
      listener.row = undefined;
      listener.cursor = this.#stored;
    }
    return skipTo === undefined ? text : text.slice(Math.max(0, text.indexOf(skipTo)));
  }

  /** Fails the stream of a listener whose next row is deleted: it must neither look complete nor wait for ever. */
  #lose(listener: Listener): undefined {
    this.#listeners.delete(listener);
    // With a row to read it does not count as being at the end.
    listener.row = 0;
    listener.controller.error(new Error('the log of this turn is gone'));
  }

  /** Sends a text. A listener that has left throws here, and is removed. */
  #enqueue(listener: Listener, text: string): void {
    listener.isWaiting = false;
    try {
      listener.controller.enqueue(encoder.encode(text));
    } catch {
      this.#listeners.delete(listener);
    }
  }

  #close(listener: Listener, text: string): void {
    this.#listeners.delete(listener);
    try {
      listener.controller.enqueue(encoder.encode(text));
      listener.controller.close();
      listener.controller.byobRequest?.respond(0);
    } catch {
      // The listener left at the very end.
    }
  }
}
