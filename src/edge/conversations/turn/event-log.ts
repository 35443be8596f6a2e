/**
 * The events of one turn as they are stored and shown.
 *
 * A listener is a position in the log, not a queue: it reads later events from the rows when it takes more. So a slow
 * listener, or a listener that has left, costs no memory and delays nothing.
 */

import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import type { SseEvent } from '../../kit/sse/frames.ts';
import { type GrowingRow, MAX_GROWING_CHARACTERS } from '../history/storage/log-rows.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { BlockVisibilityTracker } from '../views/log-blocks.ts';
import { EventLogListener, evictIdleListener } from './listener.ts';

/** The byte that ends a complete stream. No event contains it. The turn's summary follows it, for the edge only. */
export const END_OF_STREAM = 0;

/** How a turn writes and reads its own events: in its own log, or as a step in the log of its run. */
export interface EventWriter {
  /** Adds an event as it came. @param remark a comment after the event */
  add(event: SseEvent, remark?: string): void;
  /** The turn's own events so far, stored or not. */
  readonly text: string;
}

/** The most characters of a stored row that stays in memory. */
const MAX_CHARACTERS_IN_MEMORY = 262_144;
export const PING_EVENT = 'event: ping\ndata: {"type":"ping"}\n\n';
/** The bytes that reading a row counts as for the pacer: more than a slice, so that other paced work runs before each row. */
const READ_BYTES = 65_537;
/** The bytes that each event which the listener has not seen adds to that. */
const EVENT_BYTES = 300;

/**
 * The state that the logs of a conversation share: the listeners, and the blocks of the log for which they were last computed.
 */
const sharedLogState = new WeakMap<Transcript, { listeners: Set<EventLogListener>; blocks?: BlockVisibilityTracker }>();

export class TurnEventLog implements EventWriter {
  readonly id: string;
  readonly #transcript: Transcript;
  readonly #turn: Pick<TurnRow, 'seq' | 'id' | 'beganAt'>;
  readonly #shared: { listeners: Set<EventLogListener>; blocks?: BlockVisibilityTracker };
  /** Events that are not stored yet, without their ids. */
  #frames: string[] = [];
  /** The `id:` line of an event, up to the number. */
  readonly #idLine: string;
  #characters = 0;
  #storedCount: number;
  #rows: number;
  #shownCount: number;
  /** The turn's summary as JSON, once the log is complete. */
  #summary: string | undefined;
  /** The row that was written last, for listeners that come a moment later. */
  #latest: { row: number; text: string } | undefined;
  /** The row that further events are added to. */
  #growing: GrowingRow | undefined;
  /** The number of the last event before skipped numbers. */
  #gapAfter: number | undefined;
  /** Called when a listener begins to follow the log. */
  onFollow: (() => void) | undefined;

  /**
   * @param stored how many events and rows are stored
   * @param summary the summary of a turn that has ended, as JSON
   */
  constructor(
    transcript: Transcript,
    turn: Pick<TurnRow, 'seq' | 'id' | 'beganAt'>,
    stored = { events: 0, rows: 0 },
    summary?: string,
  ) {
    this.#transcript = transcript;
    this.#shared = getOrCreate(sharedLogState, transcript, () => ({ listeners: new Set() }));
    this.#turn = turn;
    this.id = turn.id;
    this.#idLine = `id: ${turn.id}-`;
    this.#storedCount = stored.events;
    this.#shownCount = stored.events;
    this.#rows = stored.rows;
    this.#summary = summary;
  }

  /**
   * Skips numbers, because events may have been shown before a crash without being stored. Their numbers must not be used
   * again.
   */
  skip(numbers: number): void {
    this.#gapAfter = this.#storedCount;
    this.#storedCount += numbers;
    this.#shownCount += numbers;
  }

  /** The number of the last event, shown or not. */
  get events(): number {
    return this.#storedCount + this.#frames.length;
  }

  /** Characters that are not stored yet. */
  get unstoredCharacters(): number {
    return this.#characters;
  }

  get unshownCount(): number {
    return this.events - this.#shownCount;
  }

  get hasListeners(): boolean {
    return this.#listeners.length > 0;
  }

  get #listeners(): EventLogListener[] {
    return [...this.#shared.listeners].filter(({ log }) => log === this);
  }

  /** Its blocks so far, and those that will begin. They are computed once for all listeners that do not see all blocks. */
  get blocks(): BlockVisibilityTracker {
    const { blocks } = this.#shared;
    if (blocks?.turn === this.id) return blocks;
    const stored = this.#rows > 0 ? this.#transcript.log.readLog(this.#turn).text : '';
    this.#shared.blocks = new BlockVisibilityTracker(this.id, stored + this.#frames.join(''));
    return this.#shared.blocks;
  }

  /** Adds an event as it came. @param remark a comment after the event */
  add({ event, data, text = `event: ${event}\ndata: ${data}\n\n` }: SseEvent, remark = ''): void {
    const line = text + remark;
    const { blocks } = this.#shared;
    if (blocks?.turn === this.id && event === 'content_block_start') blocks.read(data);
    this.#frames.push(line);
    this.#characters += line.length + this.#idLine.length;
  }

  /** @returns events that are not stored yet, as they are shown: each after its id. */
  #formatUnstoredEvents(from: number, to = this.#frames.length): string {
    let text = '';
    // Concatenate instead of `join`: the runtime then builds the whole string only once, when it is first read.
    for (let at = from; at < to; at += 1)
      text += `${this.#idLine}${this.#storedCount + at + 1}\n${this.#frames[at] ?? ''}`;
    return text;
  }

  /**
   * Stores the events that are not stored yet. Call it without an `await` between this and the writes to which they belong, so
   * that all of them are stored or none.
   *
   * @param time the time now, and for how long output may have been unseen; absent at the end of the turn
   */
  store(time?: { at: number; unseenMs: number }): void {
    if (this.#frames.length === 0) return;
    const first = (this.#gapAfter ?? this.#storedCount) + 1;
    // Reuse the text: usually, the events to store are exactly those to show.
    const text = this.#formatUnstoredEvents(0);
    const fresh = this.#shownCount === this.#storedCount ? text : this.#unshownEventText;
    const row = this.#rows;
    let end = 0;
    // Slice the joined text instead of keeping each event as well, so that a long event is not in memory twice.
    const splitIntoEventTexts = () =>
      this.#frames.map((_, at) => {
        const begin = end;
        end += this.#formatUnstoredEvents(at, at + 1).length;
        return text.slice(begin, end);
      });
    const { log } = this.#transcript;
    const grown = this.#growing && log.appendEventsToRow(this.#turn.seq, this.#growing, text, time);
    const written = grown ? undefined : log.writeEvents(this.#turn, row, first, splitIntoEventTexts, text, time);
    this.#gapAfter = undefined;
    this.#rows = written?.next ?? row;
    this.#growing = grown ?? written?.growing;
    const isOne = written?.next === row + 1;
    this.#latest = isOne && text.length <= MAX_CHARACTERS_IN_MEMORY ? { row, text } : undefined;
    this.#storedCount += this.#frames.length;
    this.#frames = [];
    this.#characters = 0;
    this.#sendToWaitingListeners(fresh, this.#storedCount);
  }

  /** Stores in the newest row that the turn still runs, if all events are stored. @param time as for `store` */
  touch(time: { at: number; unseenMs: number }): void {
    if (this.#rows > 0 && this.#frames.length === 0)
      this.#transcript.log.updateRowTime(this.#turn.seq, this.#rows - 1, time);
  }

  show(): void {
    this.#sendToWaitingListeners(this.#unshownEventText, this.events);
  }

  get #unshownEventText(): string {
    return this.#listeners.length > 0 ? this.#formatUnstoredEvents(this.#shownCount - this.#storedCount) : '';
  }

  /** Sends a `ping` during a silence, which shows that the turn still runs. */
  ping(): void {
    for (const listener of this.#listeners) {
      if (listener.isWaiting && listener.cursor === this.#shownCount) listener.enqueue(PING_EVENT);
    }
  }

  /**
   * Sets the summary of a turn that ends. The next `store` writes the last events, and `end` closes the streams of listeners.
   *
   * @param summary the turn's summary as JSON
   */
  setSummary(summary: string): void {
    this.#summary = summary;
  }

  /** Shows the last events, and closes the streams of listeners that have all events. */
  end(): void {
    this.show();
    for (const listener of this.#listeners) this.#serveListener(listener);
  }

  /** All events so far, stored or not. */
  get text(): string {
    const stored = this.#rows > 0 ? this.#transcript.log.readLog(this.#turn).text : '';
    return stored + this.#formatUnstoredEvents(0);
  }

  /**
   * Takes the complete log out of memory, if the turn has ended and the log is there as one text. Later listeners read it
   * from the rows. If the ended turn kept the text, the text would stay in memory until a full garbage collection.
   */
  takeComplete(): string | undefined {
    const isOne = this.#summary !== undefined && this.#rows === 1 && this.#frames.length === 0;
    const text = isOne ? this.#latest?.text : undefined;
    if (isOne) this.#latest = undefined;
    return text;
  }

  /** The shown events and the number of the last one, if they are in memory as one text. */
  get shownInMemory(): { text: string; after: number } {
    const isOne = this.#shownCount === this.#storedCount && this.#rows === 1 && this.#summary === undefined;
    if (isOne && this.#latest !== undefined) return { text: this.#latest.text, after: this.#shownCount };
    return { text: '', after: 0 };
  }

  /**
   * @returns the bytes of all events after one, stored and still to come, until the turn ends or the reader leaves
   * @param isOwn whether it is the answer of the request that has begun the turn, which always has a place
   * @throws ApiError 429 if so many follow that one more would hold up all others
   */
  follow(after: number, isOwn = false): ReadableStream<Uint8Array> {
    const { listeners } = this.#shared;
    if (!isOwn) evictIdleListener(listeners);
    let listener: EventLogListener | undefined;
    const source: UnderlyingByteSource = {
      type: 'bytes',
      start: (controller) => {
        listener = new EventLogListener(this, listeners, controller, Math.min(after, this.#shownCount));
        this.onFollow?.();
      },
      pull: async () => {
        if (!listener) return;
        listener.lastPullAt = Date.now();
        const { row, cursor, pacer } = listener;
        if (row !== undefined || cursor < (this.#gapAfter ?? this.#storedCount)) {
          const unseen = Math.min((this.#storedCount - cursor) * EVENT_BYTES, MAX_GROWING_CHARACTERS);
          await pacer.waitForTurn(READ_BYTES + unseen);
        }
        listener.isWaiting = true;
        this.#serveListener(listener);
      },
      cancel: () => listener?.removeFromLog(),
    };
    return new ReadableStream(source, { highWaterMark: 0 });
  }

  /** @param fresh the text of the events up to the number `shown` that have not been shown */
  #sendToWaitingListeners(fresh: string, lastShown: number): void {
    const before = this.#shownCount;
    if (lastShown === before) return;
    this.#shownCount = lastShown;
    for (const listener of this.#listeners) {
      if (!listener.isWaiting || listener.row !== undefined || listener.cursor !== before) continue;
      listener.cursor = lastShown;
      this.#sendToListener(listener, fresh);
    }
  }

  #serveListener(listener: EventLogListener): void {
    const text = listener.isWaiting ? this.#readNextText(listener) : undefined;
    if (text !== undefined || this.#hasListenerAllEvents(listener)) this.#sendToListener(listener, text ?? '');
  }

  /** @returns whether the turn has ended and a listener has all its events, sent or about to be. */
  #hasListenerAllEvents({ row, cursor }: EventLogListener): boolean {
    return this.#summary !== undefined && row === undefined && cursor === this.#shownCount;
  }

  /** Sends a text, and closes the stream after the last one. */
  #sendToListener(listener: EventLogListener, text: string): void {
    if (!this.#hasListenerAllEvents(listener)) listener.enqueue(text);
    else listener.closeStream(text + String.fromCharCode(END_OF_STREAM) + this.#summary);
  }

  /** @returns the next text for a listener; undefined if it has all shown events. */
  #readNextText(listener: EventLogListener): string | undefined {
    let begins: { event: number; first: number } | undefined;
    // Events after a gap have numbers but no rows yet, so read rows only up to the gap.
    const lastStored = this.#gapAfter ?? this.#storedCount;
    if (listener.row === undefined && listener.cursor < lastStored) {
      const event = listener.cursor + 1;
      // No query is needed for the first event, because it is always in the first row.
      const row =
        event === 1 && this.#rows > 0 ? { n: 0, first: 1 } : this.#transcript.log.findRowOfEvent(this.#turn.seq, event);
      if (row === undefined) return listener.failStream();
      listener.row = row.n;
      begins = { event, first: row.first };
    }
    if (listener.row === undefined) {
      const { cursor } = listener;
      if (cursor >= this.#shownCount) return undefined;
      const lost = lastStored < cursor && cursor < this.#storedCount ? createGapComment(lastStored + 1, cursor) : '';
      const text =
        lost +
        this.#formatUnstoredEvents(Math.max(0, cursor - this.#storedCount), this.#shownCount - this.#storedCount);
      listener.cursor = this.#shownCount;
      return text === '' ? undefined : text;
    }
    const latest = this.#latest?.row === listener.row ? this.#latest.text : undefined;
    const text = latest ?? this.#transcript.log.readRowText(this.#turn, listener.row);
    if (text === undefined) return listener.failStream();
    listener.row += 1;
    if (listener.row >= this.#rows) {
      listener.row = undefined;
      listener.cursor = lastStored;
    }
    if (!begins) return text;
    const { event, first } = begins;
    const at = text.indexOf(`${this.#idLine}${event}\n`);
    // This row follows a gap, and the requested event is in the gap. The listener has seen the earlier events of the gap, which
    // a crash has lost, so send a comment that names them.
    const lost = at < 0 && first < event ? createGapComment(first, event - 1) : '';
    return lost + text.slice(Math.max(0, at));
  }
}

/** @returns the comment that tells a listener which of the events that it has seen were lost in a crash. */
function createGapComment(first: number, last: number): string {
  return `: sluice-gap ${first}-${last}\n\n`;
}
