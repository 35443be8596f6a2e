/**
 * The events of one turn as they are written and shown.
 *
 * A listener is a place in the log, not a queue: what it has not taken yet is read from the rows when it takes more. So
 * nobody who is slow, or gone, costs memory or holds anything up.
 */
import type { Transcript } from './transcript.ts';

/** What ends a stream that was handed out to its end; never part of an event. What follows is for the edge alone. */
export const END_OF_STREAM = 0;

interface Listener {
  controller: ReadableByteStreamController;
  /** The last event that it has got, or is getting by rows. */
  cursor: number;
  /** The row of the log that it gets next, while it is behind. */
  row: number | undefined;
  wanting: boolean;
}

const encoder = new TextEncoder();
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';

export class TurnLog {
  readonly id: string;
  readonly #transcript: Transcript;
  readonly #seq: number;
  readonly #listeners = new Set<Listener>();
  /** Events that are not stored yet, with their ids. */
  #frames: string[] = [];
  #characters = 0;
  #stored: number;
  #rows: number;
  #shown: number;
  #ended: string | undefined;
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
    this.#stored = stored.events;
    this.#shown = stored.events;
    this.#rows = stored.rows;
    this.#ended = ended;
  }

  /**
   * Leaves numbers out: what was shown before a crash and not stored had numbers too, and must not be taken for what
   * comes now.
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

  /** Adds an event; `remark` is a comment behind it. */
  add(event: string, data: string, remark = ''): void {
    const frame = `id: ${this.id}-${this.events + 1}\nevent: ${event}\ndata: ${data}\n\n${remark}`;
    this.#frames.push(frame);
    this.#characters += frame.length;
  }

  /** Stores what is not stored yet; to be called in the transaction that it belongs to. */
  store(): void {
    if (this.#frames.length === 0) return;
    const fresh = this.#frames.slice(this.#shown - this.#stored);
    const first = (this.#gapAfter ?? this.#stored) + 1;
    this.#gapAfter = undefined;
    this.#rows = this.#transcript.writeLog(this.#seq, this.#rows, first, this.#frames);
    this.#stored += this.#frames.length;
    this.#frames = [];
    this.#characters = 0;
    this.#push(fresh);
  }

  /** Shows what has not been shown yet. */
  show(): void {
    this.#push(this.#frames.slice(this.#shown - this.#stored));
  }

  /** Says in a silence that the turn still runs. */
  ping(): void {
    for (const listener of this.#listeners) {
      if (listener.wanting && listener.cursor === this.#shown) this.#enqueue(listener, PING);
    }
  }

  /** Nothing more will come. */
  end(trailer: string): void {
    this.show();
    this.#ended = trailer;
    for (const listener of [...this.#listeners]) this.#serve(listener);
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

  #push(fresh: readonly string[]): void {
    const before = this.#shown;
    this.#shown += fresh.length;
    if (fresh.length === 0) return;
    const text = this.#listeners.size > 0 ? fresh.join('') : '';
    for (const listener of this.#listeners) {
      if (!listener.wanting || listener.row !== undefined || listener.cursor !== before) continue;
      listener.cursor = this.#shown;
      this.#enqueue(listener, text);
    }
  }

  #serve(listener: Listener): void {
    const text = listener.wanting ? this.#next(listener) : undefined;
    if (text !== undefined) this.#enqueue(listener, text);
    else if (this.#ended !== undefined && this.#isAtEnd(listener)) this.#close(listener, this.#ended);
  }

  #isAtEnd({ row, cursor }: Listener): boolean {
    return row === undefined && cursor === this.#shown;
  }

  /** @returns what a listener that is behind gets next. */
  #next(listener: Listener): string | undefined {
    let skipTo: string | undefined;
    if (listener.row === undefined && listener.cursor < this.#stored) {
      listener.row = this.#transcript.logRowOf(this.#seq, listener.cursor + 1);
      skipTo = `id: ${this.id}-${listener.cursor + 1}\n`;
    }
    if (listener.row === undefined) {
      if (listener.cursor >= this.#shown) return undefined;
      const text = this.#frames.slice(Math.max(0, listener.cursor - this.#stored), this.#shown - this.#stored).join('');
      listener.cursor = this.#shown;
      return text === '' ? undefined : text;
    }
    const text = this.#transcript.logText(this.#seq, listener.row) ?? '';
    listener.row += 1;
    if (listener.row >= this.#rows) {
      listener.row = undefined;
      listener.cursor = this.#stored;
    }
    return skipTo === undefined ? text : text.slice(Math.max(0, text.indexOf(skipTo)));
  }

  /** A reader that has left throws here; it is nobody's loss but its own. */
  #enqueue(listener: Listener, text: string): void {
    listener.wanting = false;
    try {
      listener.controller.enqueue(encoder.encode(text));
    } catch {
      this.#listeners.delete(listener);
    }
  }

  #close(listener: Listener, trailer: string): void {
    this.#listeners.delete(listener);
    try {
      listener.controller.enqueue(encoder.encode(String.fromCharCode(END_OF_STREAM) + trailer));
      listener.controller.close();
      listener.controller.byobRequest?.respond(0);
    } catch {
      // It has left at the very end.
    }
  }
}
