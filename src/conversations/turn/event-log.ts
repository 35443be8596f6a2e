/**
 * The events of one turn as they are stored and shown.
 *
 * A listener is a position in the log, not a queue: later events are read from the rows when it takes more. So a slow
 * listener, or one that has left, costs no memory and delays nothing.
 */

import { encoder } from '../../http/bytes.ts';
import { DELTA_END, DELTA_LINES, type Frame } from '../../sse/frames.ts';
import { LogText } from '../storage/log-text.ts';
import type { Transcript } from '../storage/transcript.ts';

/** The byte that ends a complete stream, and is never in an event. What follows it is for the edge alone. */
export const END_OF_STREAM = 0;

interface Listener {
  controller: ReadableByteStreamController;
  /** The number of the last event that it has, or is reading from the rows. */
  cursor: number;
  /** The next row that it reads; undefined where it has all stored events. */
  row: number | undefined;
  wanting: boolean;
}

/** The most characters of a row that stays in memory while the turn runs. */
const MOST_KEPT = 262_144;
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';

export class EventLog {
  readonly id: string;
  readonly #transcript: Transcript;
  readonly #seq: number;
  readonly #listeners = new Set<Listener>();
  /** Events that are not stored yet, without their ids. */
  #frames: string[] = [];
  /** What an event's id begins with, and the field that tells it. */
  readonly #prefix: string;
  /** The same events, as they are stored. */
  #batch = new LogText();
  #characters = 0;
  #stored: number;
  #rows: number;
  #shown: number;
  #ended: string | undefined;
  /** The row that was written last, for listeners who come a moment later. */
  #latest: { row: number; text: string } | undefined;
  /** The last event before numbers that were left out. */
  #gapAfter: number | undefined;

  /** @param ended the trailer of a log that is complete; `events` and `rows` are what is stored of it */
  constructor(
    transcript: Transcript,
    turn: { seq: number; id: string },
    stored = { events: 0, rows: 0 },
    ended?: string,
  ) {
    this.#transcript = transcript;
    this.#seq = turn.seq;
    this.id = turn.id;
    this.#prefix = `id: ${turn.id}-`;
    this.#stored = stored.events;
    this.#shown = stored.events;
    this.#rows = stored.rows;
    this.#ended = ended;
  }

  /**
   * Skips numbers. Events that were shown before a crash and not stored had numbers too, which must not be used again.
   */
  leaveOut(numbers: number): void {
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

  /** Adds an event of the upstream's, as it came. */
  add({ event, data, text }: Frame): void {
    const whole = text ?? `event: ${event}\ndata: ${data}\n\n`;
    this.#batch.add(whole);
    this.#push(whole);
  }

  /** Adds a delta that says one string, as it came; `head` and `said` as for `LogText`. */
  addLike(text: string, head: string, said: string): void {
    this.#batch.addLike(text, head, said);
    this.#push(text);
  }

  /**
   * Adds deltas that stand one behind the other and differ in their strings alone.
   *
   * @param start where in the text the first one begins
   * @param said what they say, as it is written
   * @returns where what follows them begins
   */
  addRun(text: string, start: number, head: string, said: readonly string[]): number {
    this.#batch.addRun(head, said);
    const around = DELTA_LINES.length + head.length + DELTA_END.length;
    let at = start;
    for (const { length } of said) {
      this.#push(text.slice(at, at + around + length));
      at += around + length;
    }
    return at;
  }

  /** Adds an event of our own; `remark` is a comment behind it. */
  write(event: string, data: string, remark = ''): void {
    const whole = `event: ${event}\ndata: ${data}\n\n${remark}`;
    this.#batch.add(whole);
    this.#push(whole);
  }

  #push(text: string): void {
    this.#frames.push(text);
    this.#characters += text.length + this.#prefix.length;
  }

  /** @returns events that are not stored yet as they are shown: with their ids before them. */
  #shownText(from: number, to = this.#frames.length): string {
    const parts: string[] = [];
    for (let at = from; at < to; at += 1) {
      parts.push(this.#prefix, String(this.#stored + at + 1), '\n', this.#frames[at] ?? '');
    }
    return parts.join('');
  }

  /**
   * Stores what is not stored yet; to be called in the transaction that it belongs to.
   *
   * @param told for a turn that goes on: when, and for how long something may have been unseen
   */
  store(told?: { at: number; unseenMs: number }): void {
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
    this.#rows = this.#transcript.log.write(this.#seq, row, first, frames, { text, short }, told);
    this.#latest = this.#rows === row + 1 && text.length <= MOST_KEPT ? { row, text } : undefined;
    this.#stored += this.#frames.length;
    this.#frames = [];
    this.#characters = 0;
    this.#show(fresh, this.#stored);
  }

  /** Shows what has not been shown yet. */
  show(): void {
    this.#show(this.#unshownText, this.events);
  }

  get #unshownText(): string {
    return this.#listeners.size > 0 ? this.#shownText(this.#shown - this.#stored) : '';
  }

  /** Says in a silence that the turn still runs. */
  ping(): void {
    for (const listener of this.#listeners) {
      if (listener.wanting && listener.cursor === this.#shown) this.#enqueue(listener, PING);
    }
  }

  /** Marks the end: the next `store` writes the last events. `trailer` is the turn's summary as JSON. */
  finish(trailer: string): void {
    this.#ended = trailer;
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

  /** @returns the complete log, where it has ended and is in memory as one text. */
  get whole(): string | undefined {
    const isOne = this.#ended !== undefined && this.#rows === 1 && this.#frames.length === 0;
    return isOne ? this.#latest?.text : undefined;
  }

  /** The shown events, where they are in memory as one text, and the number of the last one. */
  get opening(): { text: string; after: number } {
    const isStored = this.#shown === this.#stored && this.#rows === 1 && this.#latest !== undefined;
    if (isStored && this.#ended === undefined) return { text: this.#latest?.text ?? '', after: this.#shown };
    return { text: '', after: 0 };
  }

  /** @returns the log's bytes after an event, and what comes from now on, until the turn ends or the reader leaves. */
  follow(after: number): ReadableStream<Uint8Array> {
    let listener: Listener | undefined;
    const source: UnderlyingByteSource = {
      type: 'bytes',
      start: (controller) => {
        const cursor = Math.min(after, this.#shown);
        const added: Listener = { controller, cursor, row: undefined, wanting: false };
        listener = added;
        this.#listeners.add(added);
      },
      pull: () => {
        if (!listener) return;
        listener.wanting = true;
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
      if (!listener.wanting || listener.row !== undefined || listener.cursor !== before) continue;
      listener.cursor = shown;
      if (this.#ended === undefined) this.#enqueue(listener, fresh);
      else this.#close(listener, fresh, this.#ended);
    }
  }

  #serve(listener: Listener): void {
    const text = listener.wanting ? this.#next(listener) : undefined;
    const isLast = this.#ended !== undefined && this.#isAtEnd(listener);
    if (isLast) this.#close(listener, text ?? '', this.#ended ?? '');
    else if (text !== undefined) this.#enqueue(listener, text);
  }

  #isAtEnd({ row, cursor }: Listener): boolean {
    return row === undefined && cursor === this.#shown;
  }

  /** @returns what a listener that is behind gets next. */
  #next(listener: Listener): string | undefined {
    let skipTo: string | undefined;
    if (listener.row === undefined && listener.cursor < this.#stored) {
      // What begins in the first row need not be looked for.
      listener.row =
        listener.cursor === 0 && this.#rows > 0 ? 0 : this.#transcript.log.rowOf(this.#seq, listener.cursor + 1);
      skipTo = `id: ${this.id}-${listener.cursor + 1}\n`;
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
    // Never at the end, whatever the rest of the log says.
    listener.row = 0;
    listener.controller.error(new Error('the log of this turn is gone'));
  }

  /** Sends a text. A listener that has left throws here, and is removed. */
  #enqueue(listener: Listener, text: string): void {
    listener.wanting = false;
    try {
      listener.controller.enqueue(encoder.encode(text));
    } catch {
      this.#listeners.delete(listener);
    }
  }

  #close(listener: Listener, text: string, trailer: string): void {
    this.#listeners.delete(listener);
    try {
      listener.controller.enqueue(encoder.encode(text + String.fromCharCode(END_OF_STREAM) + trailer));
      listener.controller.close();
      listener.controller.byobRequest?.respond(0);
    } catch {
      // The listener left at the very end.
    }
  }
}
