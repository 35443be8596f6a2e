/** A listener of a log: its position in the log, and the stream to which it is sent. */

import { WorkPacer } from '../../kit/async/run-in-steps.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { type ApiError, createRetryableError } from '../../kit/http/errors.ts';

/** The maximum number of listeners of a conversation, of all its turns together. Each event is sent to all of them at once. */
const MAX_FOLLOWERS = 32;
/**
 * A listener that reads nothing for so many milliseconds, although there is more, may have disconnected. Another listener can
 * take its place.
 */
const IDLE_LISTENER_MS = 60_000;

export class EventLogListener {
  /** The log that it follows. */
  readonly log: object;
  readonly pacer = new WorkPacer();
  /** The number of the last event that it has, or is reading from the rows. */
  cursor: number;
  /** The next row that it reads; undefined if it has all stored events. */
  row: number | undefined;
  /** Whether it waits for the next events. */
  isWaiting = false;
  /** When it last asked for events; milliseconds since 1970. */
  lastPullAt = Date.now();
  readonly #all: Set<EventLogListener>;
  readonly #controller: ReadableByteStreamController;

  /** @param all those that follow the conversation: it is one of them until it leaves */
  constructor(log: object, all: Set<EventLogListener>, controller: ReadableByteStreamController, cursor: number) {
    this.log = log;
    this.#all = all;
    this.#controller = controller;
    this.cursor = cursor;
    all.add(this);
  }

  removeFromLog(): void {
    this.#all.delete(this);
  }

  /** Fails its stream, for example if its next row is deleted. Otherwise, the stream would look complete or never end. */
  failStream(why = 'the log of this turn is gone'): undefined {
    this.removeFromLog();
    // With `row` undefined, the listener would count as having received all events. Set a row, so that it does not.
    this.row = 0;
    this.#controller.error(new Error(why));
  }

  /** Sends a text. Where it has left this throws, and it is removed. */
  enqueue(text: string): void {
    this.isWaiting = false;
    try {
      this.#controller.enqueue(encoder.encode(text));
    } catch {
      this.removeFromLog();
    }
  }

  closeStream(text: string): void {
    this.removeFromLog();
    try {
      this.#controller.enqueue(encoder.encode(text));
      this.#controller.close();
      this.#controller.byobRequest?.respond(0);
    } catch {
      // The listener has disconnected, so its stream needs no closing.
    }
  }
}

/**
 * Ensures that one more listener can follow a conversation: at the maximum, closes the stream of one that does not read.
 *
 * @throws ApiError 429 if all of them read
 */
export function evictIdleListener(listeners: ReadonlySet<EventLogListener>): void {
  if (listeners.size < MAX_FOLLOWERS) return;
  const since = Date.now() - IDLE_LISTENER_MS;
  const asleep = [...listeners].find(({ isWaiting, lastPullAt: askedAt }) => !isWaiting && askedAt < since);
  if (!asleep) throw createTooManyFollowersError();
  asleep.failStream('this listener does not read');
}

function createTooManyFollowersError(): ApiError {
  const message = `${MAX_FOLLOWERS} streams already follow this conversation, which is the maximum. Close some, or read the messages when the turn has ended.`;
  return createRetryableError(message, 'followers', { type: 'rate_limit_error', seconds: 5 });
}
