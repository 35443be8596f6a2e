/** Room for request bodies: an isolate must not run out of memory by what callers send. */

import { LONG_BODY } from './body-shape.ts';
import { type ApiError, tryAgain } from './errors.ts';
import { releaseBytes } from './release-bytes.ts';

const MEGABYTE = 1024 * 1024;
/** Bytes for all bodies at one time. An isolate has 128 MB, and some bodies are held in two forms. */
const MOST = 48 * MEGABYTE;
/** Bytes for the long bodies among them, so that short ones always find room. */
const MOST_LONG = 40 * MEGABYTE;
/** Bytes for bodies of senders who are not known yet, so that strangers do not take the room of callers. */
const MOST_STRANGE = 26 * MEGABYTE;
/** One body counts as so many bytes at most: the largest must find room when there is hardly any other. */
const MOST_COUNTED = 36 * MEGABYTE;

/** How much room the bodies of an isolate take. */
export class Room {
  /** Bytes of all bodies. */
  taken = 0;
  /** Bytes of the bodies whose senders are not known yet. */
  strange = 0;
}

/** The room of this isolate. */
export const room = new Room();

/** The place of one request's body in a room. `leave` must be called however the request ends. */
export class Place {
  readonly #room: Room;
  readonly #isStrange: boolean;
  #own = 0;
  #bytes: Uint8Array | undefined;

  /** @param isStrange whether it is not known yet who sends it */
  constructor(into: Room, isStrange = false) {
    this.#room = into;
    this.#isStrange = isStrange;
  }

  /**
   * Takes room for a body, if it needs more than it has.
   *
   * @param bytes what it needs in all
   * @throws ApiError 503 when other bodies have taken the room
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

  /** Remembers bytes whose memory is freed when the place is left. */
  keep(bytes: Uint8Array): void {
    this.#bytes = bytes;
  }

  /** Gives the room back and frees the memory of the bytes. Safe to be called again. */
  leave(): void {
    if (this.#bytes) releaseBytes(this.#bytes);
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
  const message = 'Too many large requests are in work here at the moment. Send it again shortly.';
  return tryAgain(message, 'body_room', { seconds: 2 });
}
