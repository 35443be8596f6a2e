/**
 * Reserves memory for bodies, so that an isolate does not run out of memory by what callers send, and by what tools answer to
 * runs and runs send up.
 */

import { pause } from '../async/pause.ts';
import { LruCache } from '../cache/lru.ts';
import { releaseBytes } from './body/release-bytes.ts';
import { LONG_BODY } from './body-shape.ts';
import { type ApiError, tryAgain } from './errors.ts';

const MEGABYTE = 1024 * 1024;
/** Bytes for all bodies at one time. An isolate has 128 MB, and some bodies are there in two forms. */
const MOST = 48 * MEGABYTE;
/** Bytes for the long bodies among them, so that short ones always find memory. */
const MOST_LONG = 40 * MEGABYTE;
/** Bytes for the long bodies of one caller who sends several at a time: the others find memory beside them. */
const MOST_OF_ONE = 30 * MEGABYTE;
/** Bytes for all bodies of one caller, so that many short ones do not take the memory of the others' either. */
const MOST_OF_ONE_IN_ALL = 40 * MEGABYTE;
/** Bytes for bodies of senders who are not known yet, so that strangers do not take the memory of callers. */
const MOST_STRANGE = 26 * MEGABYTE;
/** The most bytes that one body counts as, so that even the largest finds memory when there are hardly any others. */
const MOST_COUNTED = 36 * MEGABYTE;
/** How long others may take memory before somebody who waits, in milliseconds. Then new long bodies come again later. */
const PATIENT_MS = 5_000;
/** How often somebody who waits looks whether the memory has been given, if few wait, and if thousands do; milliseconds. */
const LOOK_EVERY_MS = 20;
const LOOK_SELDOM_MS = 2_000;

/** A long body on its way in, which holds memory for all of its announced length. */
export interface ComingBody {
  /** Its announced length in bytes. */
  length: number;
  /** @returns how many bytes of it have come */
  come(): number;
  /** Ends the reading. */
  giveWay(why: ApiError): void;
}

/**
 * While others lack memory, a body must come so fast that all of it takes a minute: what is sent in a trickle is free, and would
 * hold the memory of everybody. Seconds.
 */
const WHOLE_WITHIN_S = 60;
/** A body is judged by at least so long a time, and by little more than the longer one. Milliseconds. */
const JUDGED_MS = 1_000;
const JUDGED_ANEW_MS = 5_000;
/** For so long after somebody has lacked memory, a caller's second long body waits until the first is there. Milliseconds. */
const WANTED_MS = 5_000;
/** For so long who had to give way sends no other long body. Milliseconds. */
const OUT_MS = 60_000;

/** How many bytes the bodies of an isolate take. */
export class BodyMemory {
  /** Bytes of all bodies. */
  taken = 0;
  /** Bytes of the bodies whose senders are not known yet. */
  strange = 0;
  /** Bytes of the bodies, by caller. */
  readonly byCaller = new Map<string, number>();
  /** Who waits, in their order, and for how many bytes. */
  readonly waiting = new Map<MemoryShare, number>();
  /** The long bodies that have not come whole, each with when it was judged last, and how much of it had come. */
  readonly coming = new Map<MemoryShare, { body: ComingBody; at: number; come: number }>();
  #wantedAt = Number.NEGATIVE_INFINITY;
  /** Who had to give way, and until when. */
  readonly #out = new LruCache<string, number>({ most: 1_000 });

  /** Notes that somebody lacks memory. */
  want(now: number): void {
    this.#wantedAt = now;
  }

  isWanted(now: number): boolean {
    return now - this.#wantedAt < WANTED_MS;
  }

  sendOut(caller: string, now: number): void {
    this.#out.set(caller, now + OUT_MS);
  }

  isOut(caller: string, now: number): boolean {
    return (this.#out.get(caller) ?? 0) > now;
  }

  /** The shares that objects have or wait for, by the object. */
  readonly byObject = new Map<string, Set<MemoryShare>>();

  /**
   * Gives back what an object had before it died, since what it was doing does not go on. Call it when it wakes. The memory is
   * left to the collector: a request of the dead object may still be on its way up.
   */
  forget(object: string): void {
    const shares = this.byObject.get(object) ?? [];
    for (const share of shares) this.waiting.delete(share);
    for (const share of shares) share.leave(false);
  }
}

/** The memory for bodies of this isolate. */
export const bodyMemory = new BodyMemory();

/** The share of one request's body in the memory. `leave` must be called at the end of the request, however it ends. */
export class MemoryShare {
  readonly #memory: BodyMemory;
  readonly #isStrange: boolean;
  #own = 0;
  /** The bytes that count for its caller. */
  #counted = 0;
  #caller: string | undefined;
  #group: string | undefined;
  #object: string | undefined;
  #bytes: Uint8Array | undefined;
  /** Since when it waits; milliseconds since 1970. */
  #since = 0;

  /** @param isStrange whether the sender is not known yet */
  constructor(into: BodyMemory, isStrange = false) {
    this.#memory = into;
    this.#isStrange = isStrange;
  }

  /** Notes who sends the body. Call it before the body takes memory. @param group whose memory it also takes, with others */
  ofCaller(account: string, group?: string): void {
    this.#caller = account;
    this.#group = group;
  }

  /** Notes the body that comes into this memory; undefined once it is there. */
  receives(body: ComingBody | undefined): void {
    if (body) this.#memory.coming.set(this, { body, at: Date.now(), come: body.come() });
    else this.#memory.coming.delete(this);
  }

  /**
   * Takes memory for a body, if it needs more than it has.
   *
   * @param bytes what it needs in all
   * @throws ApiError 503 when other bodies have taken the memory
   */
  grow(bytes: number): void {
    const now = Date.now();
    if (this.#own <= LONG_BODY && bytes > LONG_BODY) {
      if (this.#memory.waiting.size > 0 && this.#isLater()) throw full();
      if (this.#mustStandBack(now)) throw full();
    }
    let lacks = this.#lacks(bytes);
    if (lacks === undefined) return;
    this.#memory.want(now);
    while (lacks !== undefined && this.#slowestGivesWay(now, lacks)) lacks = this.#lacks(bytes);
    if (lacks !== undefined) throw full();
  }

  /** @returns whether its caller had to give way, or sends a long body already while others want memory. */
  #mustStandBack(now: number): boolean {
    if (this.#caller === undefined) return false;
    if (this.#memory.isOut(this.#caller, now)) return true;
    return this.#memory.isWanted(now) && [...this.#memory.coming.keys()].some((one) => one.#caller === this.#caller);
  }

  /** Takes the memory of the slowest body that comes too slowly. @returns false if there is none */
  #slowestGivesWay(now: number, lacks: 'all' | 'own'): boolean {
    let [slowest, found]: [pace: number, found?: MemoryShare] = [1];
    for (const [share, judged] of this.#memory.coming) {
      const { body, at, come } = judged;
      const isOfOne = share.#caller === this.#caller || (this.#group !== undefined && share.#group === this.#group);
      if (now - at < JUDGED_MS || (lacks === 'own' && !isOfOne)) continue;
      const has = body.come();
      const pace = ((has - come) / (now - at)) * 1_000 * (WHOLE_WITHIN_S / body.length);
      if (now - at > JUDGED_ANEW_MS) Object.assign(judged, { at: now, come: has });
      if (pace < slowest) [slowest, found] = [pace, share];
    }
    const given = found && this.#memory.coming.get(found);
    if (!found || !given) return false;
    if (found.#caller !== undefined) this.#memory.sendOut(found.#caller, now);
    found.leave(false);
    given.body.giveWay(full());
    return true;
  }

  /** @returns whether somebody has waited for long, and not only for its own caller's memory. */
  #isLater(): boolean {
    const before = Date.now() - PATIENT_MS;
    for (const [share, bytes] of this.#memory.waiting)
      if (share.#since < before && share.#lacks(bytes, false) === 'all') return true;
    return false;
  }

  /**
   * Takes memory, and waits until there is some. First it gives back what it has: whoever waits holds nothing, so those who wait
   * never wait for each other.
   *
   * @param object who waits. If it dies, `BodyMemory.forget` gives the memory back
   * @throws ApiError 503 after so many milliseconds; the reason of the signal
   */
  async wait(bytes: number, object: string, mostMs: number, signal: AbortSignal): Promise<void> {
    this.leave();
    signal.throwIfAborted();
    const { waiting, byObject } = this.#memory;
    byObject.set(object, (byObject.get(object) ?? new Set()).add(this));
    this.#object = object;
    waiting.set(this, bytes);
    this.#since = Date.now();
    MemoryShare.#serve(this.#memory);
    const until = Date.now() + mostMs;
    try {
      // Each looks for itself: an object's promise must not be resolved from the work of another object.
      while (waiting.has(this)) {
        if (Date.now() >= until) throw full();
        // All together look a thousand times a second: each look costs more than 10 μs.
        await pause(Math.min(LOOK_SELDOM_MS, Math.max(LOOK_EVERY_MS, waiting.size)), signal);
      }
      // It was forgotten meanwhile.
      if (this.#object === undefined) throw full();
    } catch (thrown) {
      this.leave();
      throw thrown;
    }
  }

  /**
   * Gives memory to those who wait, in their order. Nobody is passed over but who has too much already, and who waits for much
   * by who waits for little.
   */
  static #serve({ waiting }: BodyMemory): void {
    let isFull = false;
    for (const [share, bytes] of waiting) {
      const isLong = bytes > LONG_BODY;
      if (isFull && isLong) continue;
      const lacks = share.#lacks(bytes);
      if (lacks === undefined) waiting.delete(share);
      else if (lacks === 'all' && !isLong) return;
      else isFull ||= lacks === 'all';
    }
  }

  /**
   * Takes memory if there is enough. @returns `all` if not; `own` if the other bodies of the same caller leave none
   *
   * @param takes whether it is taken
   */
  #lacks(bytes: number, takes = true): 'all' | 'own' | undefined {
    const counted = Math.min(bytes, MOST_COUNTED);
    const more = counted - this.#own;
    if (more <= 0) return undefined;
    const { taken, strange, byCaller } = this.#memory;
    const isLong = counted > LONG_BODY;
    const most = isLong ? MOST_OF_ONE : MOST_OF_ONE_IN_ALL;
    for (const name of this.#names) {
      const others = (byCaller.get(name) ?? 0) - this.#counted;
      // A single body always fits. This comes first: nobody waits behind one who waits for its own caller.
      const ofThese = this.#group !== undefined && name === this.#caller ? most / 2 : most;
      if (others > 0 && others + counted > ofThese) return 'own';
    }
    if (taken + more > (isLong ? MOST_LONG : MOST)) return 'all';
    if (this.#isStrange && strange + more > MOST_STRANGE) return 'all';
    if (!takes) return undefined;
    for (const name of this.#names) byCaller.set(name, (byCaller.get(name) ?? 0) - this.#counted + counted);
    if (this.#caller !== undefined) this.#counted = counted;
    this.#take(more);
    return undefined;
  }

  /** For whom its bytes count. */
  get #names(): string[] {
    return [this.#caller, this.#group].filter((name) => name !== undefined);
  }

  #uncount(): void {
    if (this.#counted === 0) return;
    const { byCaller } = this.#memory;
    for (const name of this.#names) {
      const others = (byCaller.get(name) ?? 0) - this.#counted;
      if (others > 0) byCaller.set(name, others);
      else byCaller.delete(name);
    }
    this.#counted = 0;
  }

  /** Remembers bytes, to free their memory when the share is left. */
  keep(bytes: Uint8Array): void {
    this.#bytes = bytes;
  }

  /** Gives the memory back, and frees the memory of the bytes. More than one call does no harm. */
  leave(frees = true): void {
    if (this.#bytes && frees) releaseBytes(this.#bytes);
    this.#bytes = undefined;
    this.#memory.coming.delete(this);
    this.#uncount();
    this.#take(-this.#own);
    const { waiting, byObject } = this.#memory;
    waiting.delete(this);
    if (this.#object !== undefined) {
      const others = byObject.get(this.#object);
      others?.delete(this);
      if (others?.size === 0) byObject.delete(this.#object);
      this.#object = undefined;
    }
    MemoryShare.#serve(this.#memory);
  }

  #take(bytes: number): void {
    this.#own += bytes;
    this.#memory.taken += bytes;
    if (this.#isStrange) this.#memory.strange += bytes;
  }
}

function full(): ApiError {
  const message = 'Too many large requests are in work here at the moment. Send it again shortly.';
  return tryAgain(message, 'body_room', { seconds: 2 });
}
