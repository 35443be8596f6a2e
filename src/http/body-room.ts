/** Room for request bodies: what callers send must not be what an isolate ends of. */

import { LONG_BODY } from './body-shape.ts';
import { ApiError } from './errors.ts';
import { release } from './released.ts';

const MEGABYTE = 1024 * 1024;
/** For all bodies at a time. An isolate has 128 MB, and some bodies are held in two forms. */
const MOST = 48 * MEGABYTE;
/** For the long ones of them: short ones find room beside them. */
const MOST_LONG = 40 * MEGABYTE;
/** For those that nobody has vouched for yet, so that strangers do not take the room of callers. */
const MOST_STRANGE = 26 * MEGABYTE;
/** What one body is counted as at the most: it must find room once there is hardly another. */
const MOST_COUNTED = 36 * MEGABYTE;
const RETRY_AFTER_SECONDS = 2;

/** What the bodies of an isolate take up. */
export class Room {
  /** In bytes. */
  taken = 0;
  strange = 0;
}

/** The isolate's own. */
export const room = new Room();

/** The place that one request's body has in a room, until `leave` is called: on every end of the request. */
export class Place {
  readonly #room: Room;
  readonly #isStrange: boolean;
  #own = 0;
  #bytes: Uint8Array | undefined;

  /** @param isStrange whether nobody has vouched for the sender yet */
  constructor(into: Room, isStrange = false) {
    this.#room = into;
    this.#isStrange = isStrange;
  }

  /**
   * Takes up room for a body, more than before.
   *
   * @param bytes what it takes up in all
   * @throws ApiError 503 where others take up the room
   */
  grow(bytes: number): void {
    const counted = Math.min(bytes, MOST_COUNTED);
    const more = counted - this.#own;
    if (more <= 0) return;
    const { taken, strange } = this.#room;
    if (taken + more > (counted > LONG_BODY ? MOST_LONG : MOST)) throw full();
    if (this.#isStrange && strange + more > MOST_STRANGE) throw full();
    this.#take(more);
  }

  /** Takes bytes that are of no use once the place is left. */
  keep(bytes: Uint8Array): void {
    this.#bytes = bytes;
  }

  /** Gives the room back, and the memory of what was kept. Safe to be called again. */
  leave(): void {
    if (this.#bytes) release(this.#bytes);
    this.#bytes = undefined;
    this.#take(-this.#own);
  }

  #take(bytes: number): void {
    this.#own += bytes;
    this.#room.taken += bytes;
    if (this.#isStrange) this.#room.strange += bytes;
  }
}

function full(): ApiError {
  return new ApiError('api_error', 'Too many large requests are in work here at the moment. Send it again shortly.', {
    status: 503,
    headers: { 'retry-after': String(RETRY_AFTER_SECONDS) },
    logged: 'body_room',
  });
}
