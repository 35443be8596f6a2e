/** Reserves memory for request bodies, so that an isolate does not run out of memory by what callers send. */

import { releaseBytes } from './body/release-bytes.ts';
import { LONG_BODY } from './body-shape.ts';
import { type ApiError, tryAgain } from './errors.ts';

const MEGABYTE = 1024 * 1024;
/** Bytes for all bodies at one time. An isolate has 128 MB, and some bodies are there in two forms. */
const MOST = 48 * MEGABYTE;
/** Bytes for the long bodies among them, so that short ones always find room. */
const MOST_LONG = 40 * MEGABYTE;
/** Bytes for the long bodies of one caller who sends several at a time: the others find room beside them. */
const MOST_OF_ONE = 30 * MEGABYTE;
/** Bytes for bodies of senders who are not known yet, so that strangers do not take the room of callers. */
const MOST_STRANGE = 26 * MEGABYTE;
/** The most bytes that one body counts as, so that even the largest finds room when there are hardly any others. */
const MOST_COUNTED = 36 * MEGABYTE;

/** How many bytes the bodies of an isolate take. */
export class Room {
  /** Bytes of all bodies. */
  taken = 0;
  /** Bytes of the bodies whose senders are not known yet. */
  strange = 0;
  /** Bytes of the long bodies, by caller. */
  readonly byCaller = new Map<string, number>();
}

/** The room of this isolate. */
export const room = new Room();

/** The share of one request's body in a room. `leave` must be called at the end of the request, however it ends. */
export class RoomShare {
  readonly #room: Room;
  readonly #isStrange: boolean;
  #own = 0;
  /** The bytes that count for its caller. Only long bodies do. */
  #counted = 0;
  #caller: string | undefined;
  #bytes: Uint8Array | undefined;

  /** @param isStrange whether the sender is not known yet */
  constructor(into: Room, isStrange = false) {
    this.#room = into;
    this.#isStrange = isStrange;
  }

  /** Notes who sends the body. Call it before a long body takes room. */
  ofCaller(account: string): void {
    this.#caller = account;
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
    if (counted > LONG_BODY) this.#countForCaller(counted);
    this.#take(more);
  }

  /** @throws ApiError 503 if the other bodies of the same caller leave no room for this one. A single body always fits */
  #countForCaller(bytes: number): void {
    if (this.#caller === undefined) return;
    const { byCaller } = this.#room;
    const others = (byCaller.get(this.#caller) ?? 0) - this.#counted;
    if (others > 0 && others + bytes > MOST_OF_ONE) throw full();
    byCaller.set(this.#caller, others + bytes);
    this.#counted = bytes;
  }

  #uncount(): void {
    if (this.#caller === undefined || this.#counted === 0) return;
    const { byCaller } = this.#room;
    const others = (byCaller.get(this.#caller) ?? 0) - this.#counted;
    if (others > 0) byCaller.set(this.#caller, others);
    else byCaller.delete(this.#caller);
    this.#counted = 0;
  }

  /** Remembers bytes, to free their memory when the share is left. */
  keep(bytes: Uint8Array): void {
    this.#bytes = bytes;
  }

  /** Gives the room back, and frees the memory of the bytes. More than one call does no harm. */
  leave(): void {
    if (this.#bytes) releaseBytes(this.#bytes);
    this.#bytes = undefined;
    this.#uncount();
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
