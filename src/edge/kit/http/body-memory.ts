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
/** Bytes of one holder: if the new body is long, and if it is short. A single body always fits. */
type HolderLimits = readonly [long: number, short: number];
/** One caller, so that the others find memory beside several bodies of it, many short ones included. */
const CALLER_LIMITS: HolderLimits = [30 * MEGABYTE, 40 * MEGABYTE];
/** One token of an account, and all of its tokens: the others of the account find memory beside several bodies of one. */
const TOKEN_LIMITS: HolderLimits = [30 * MEGABYTE, 34 * MEGABYTE];
const ACCOUNT_LIMITS: HolderLimits = [36 * MEGABYTE, 40 * MEGABYTE];
/** Bytes for bodies of senders that are not known yet, so that strangers do not take the memory of callers. */
const STRANGE_LIMIT = 8 * MEGABYTE;
/** The same, while one of these bodies is longer than that. */
const STRANGE_LIMIT_WITH_LONG = 26 * MEGABYTE;
/** A stranger that sends fewer bytes than this in a second makes no progress: those who send webhooks are servers. */
const STRANGE_STEP_BYTES = 65_536;
const STRANGE_STEP_MS = 1_000;
/** The most bytes that one body counts as, so that even the largest finds memory when there are hardly any others. */
const MOST_COUNTED = 36 * MEGABYTE;
/** How long others may take memory before somebody who waits, in milliseconds. Then new long bodies come again later. */
const PATIENT_MS = 5_000;
/** How often somebody who waits looks whether the memory has been given, if few wait, and if thousands do; milliseconds. */
const LOOK_EVERY_MS = 20;
const LOOK_SELDOM_MS = 2_000;

/** A body that is being received. A long one holds memory for all of its announced length. */
export interface ComingBody {
  /** Its announced length in bytes; without one, how many have come. */
  readonly length: number;
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
/**
 * A body is judged by at least so long a time, and by little more than the longer one. Milliseconds. A body that has come at all
 * has the shorter one besides: its pieces come in bursts.
 */
const JUDGED_MS = 1_000;
const JUDGED_ANEW_MS = 5_000;
/** For so long after others have lacked memory, a caller's second long body waits until the first is there. Milliseconds. */
const WANTED_MS = 5_000;
/** For so long a token whose body had to give way sends no other long body. Milliseconds. */
const OUT_MS = 60_000;
/** If so many tokens of an account had to give way to other accounts in that time, the whole account sends no other. */
const TOKENS_OUT = 3;

/** For whom the bytes of a body count, beside all others. */
interface Holder {
  name: string;
  limits: HolderLimits;
}

/** Why there is no memory: everybody's, or the strangers', is taken, or that of the named holder. */
type Lack = 'all' | 'strange' | { holder: string };

/** The sender of a body. */
export interface BodySender {
  account: string;
  /** The id of the token that was sent; absent if none was needed. */
  token?: string | undefined;
  /** Whose memory the account takes, together with others; its tokens do not count then. */
  group?: string | undefined;
}

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
  /** The bodies of senders that are not known yet and that have not come whole, each with its last step forward. */
  readonly strangers = new Map<MemoryShare, { body: ComingBody; at: number; come: number }>();
  /** The one body of a stranger that may be longer than all others of them together. */
  longStranger: MemoryShare | undefined;
  #wantedAt = Number.NEGATIVE_INFINITY;
  /** Whose bodies had to give way, and until when. */
  readonly #out = new LruCache<string, number>({ most: 1_000 });
  /** Of accounts, which of their tokens had to give way to others, and until when. */
  readonly #outByAccount = new LruCache<string, ReadonlyMap<string, number>>({ most: 1_000 });

  /** Notes that somebody lacks memory. */
  want(now: number): void {
    this.#wantedAt = now;
  }

  isWanted(now: number): boolean {
    return now - this.#wantedAt < WANTED_MS;
  }

  sendOut(name: string, now: number): void {
    this.#out.set(name, now + OUT_MS);
  }

  /** Notes that a token had to give way to other accounts: one token does not lock out its account, several do. */
  sendTokenOut(token: string, account: string, now: number): void {
    this.sendOut(token, now);
    const before = [...(this.#outByAccount.get(account) ?? [])].filter(([, until]) => until > now);
    const tokens = new Map([...before, [token, now + OUT_MS]]);
    this.#outByAccount.set(account, tokens);
    if (tokens.size >= TOKENS_OUT) this.sendOut(account, now);
  }

  isOut(name: string, now: number): boolean {
    return (this.#out.get(name) ?? 0) > now;
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
  #sender: BodySender | undefined;
  #holders: readonly Holder[] = [];
  #object: string | undefined;
  #bytes: Uint8Array | undefined;
  /** Since when it waits; milliseconds since 1970. */
  #since = 0;

  /** @param isStrange whether the sender is not known yet */
  constructor(into: BodyMemory, isStrange = false) {
    this.#memory = into;
    this.#isStrange = isStrange;
  }

  /** Notes who sends the body. Call it before the body takes memory. */
  ofCaller(sender: BodySender): void {
    this.#sender = sender;
    this.#holders = holdersOf(sender);
  }

  /** Notes the body that comes into this memory; undefined once it is there. */
  receives(body: ComingBody | undefined): void {
    const { strangers, coming } = this.#memory;
    const bodies = this.#isStrange ? strangers : coming;
    if (body) bodies.set(this, { body, at: Date.now(), come: body.come() });
    else bodies.delete(this);
  }

  /**
   * Takes memory for a body, if it needs more than it has.
   *
   * @param bytes what it needs in all
   * @throws ApiError 503 when other bodies have taken the memory
   */
  grow(bytes: number): void {
    const now = Date.now();
    this.#noteStep(now);
    if (this.#own <= LONG_BODY && bytes > LONG_BODY) {
      if (this.#memory.waiting.size > 0 && this.#isLater()) throw full();
      if (this.#mustStandBack(now)) throw full();
    }
    let lacks = this.#lacks(bytes);
    if (lacks === undefined) return;
    // Others are not made to wait for what an account has taken from itself, nor for a stranger.
    if (!this.#isStrange && (lacks === 'all' || this.#sender?.group !== undefined)) this.#memory.want(now);
    while (lacks !== undefined && this.#anotherGivesWay(now, lacks)) lacks = this.#lacks(bytes);
    if (lacks !== undefined) throw full();
  }

  /** Notes that a stranger's body comes forward. */
  #noteStep(now: number): void {
    const step = this.#memory.strangers.get(this);
    const come = step?.body.come() ?? 0;
    if (step && come - step.come >= STRANGE_STEP_BYTES) Object.assign(step, { at: now, come });
  }

  /** @returns the token that sends the body; its account if it needs none */
  get #credential(): string | undefined {
    return this.#holders.at(-1)?.name;
  }

  /** @returns whether its token, or account, had to give way, or the token sends a long body already while others want memory. */
  #mustStandBack(now: number): boolean {
    const name = this.#credential;
    if (this.#sender === undefined || name === undefined) return false;
    if (this.#memory.isOut(name, now) || this.#memory.isOut(this.#sender.account, now)) return true;
    const isOther = (one: MemoryShare) => one !== this && one.#own > LONG_BODY && one.#credential === name;
    return this.#memory.isWanted(now) && [...this.#memory.coming.keys()].some(isOther);
  }

  /** Takes the memory of a body that comes too slowly, a stranger's first. @returns false if there is none */
  #anotherGivesWay(now: number, lacks: Lack): boolean {
    if (typeof lacks === 'string' && this.#strangerGivesWay(now)) return true;
    return lacks !== 'strange' && this.#slowestGivesWay(now, lacks);
  }

  /** Takes the memory of the longest stranger's body that makes no progress. @returns false if there is none */
  #strangerGivesWay(now: number): boolean {
    let [most, found]: [bytes: number, found?: MemoryShare] = [0];
    for (const [share, { at }] of this.#memory.strangers) {
      if (share === this || now - at < STRANGE_STEP_MS || share.#own <= most) continue;
      [found, most] = [share, share.#own];
    }
    const body = found && this.#memory.strangers.get(found)?.body;
    if (!found || !body) return false;
    // Otherwise the same sender would take the same memory again at once.
    if (found === this.#memory.longStranger) this.#memory.sendOut(STRANGERS, now);
    found.leave(false);
    body.giveWay(full());
    return true;
  }

  /** Takes the memory of the slowest body that comes too slowly. @returns false if there is none */
  #slowestGivesWay(now: number, lacks: Lack): boolean {
    let [slowest, found]: [pace: number, found?: MemoryShare] = [1];
    for (const [share, judged] of this.#memory.coming) {
      const { body, at, come } = judged;
      if (now - at < JUDGED_MS || share.#own <= LONG_BODY) continue;
      if (typeof lacks === 'object' && !share.#holders.some(({ name }) => name === lacks.holder)) continue;
      const has = body.come();
      const least = (now - at - JUDGED_MS) * (body.length / WHOLE_WITHIN_S / 1_000);
      const pace = has === come ? 0 : (has - come) / least;
      if (now - at > JUDGED_ANEW_MS) Object.assign(judged, { at: now, come: has });
      if (pace < slowest) [slowest, found] = [pace, share];
    }
    const slow = found && this.#memory.coming.get(found);
    if (!found || !slow) return false;
    this.#sendOut(found, now, lacks);
    found.leave(false);
    slow.body.giveWay(full());
    return true;
  }

  /** Keeps whoever sent a body that had to give way from sending another long one. */
  #sendOut(found: MemoryShare, now: number, lacks: Lack): void {
    const [sender, name] = [found.#sender, found.#credential];
    if (sender === undefined || name === undefined) return;
    const isForOthers = lacks === 'all' && sender.account !== this.#sender?.account;
    if (isForOthers && name !== sender.account) this.#memory.sendTokenOut(name, sender.account, now);
    else this.#memory.sendOut(name, now);
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
   * Takes memory if there is enough.
   *
   * @param takes whether it is taken
   * @returns whose memory does not suffice
   */
  #lacks(bytes: number, takes = true): Lack | undefined {
    const counted = Math.min(bytes, MOST_COUNTED);
    const more = counted - this.#own;
    if (more <= 0) return undefined;
    const { taken, byCaller } = this.#memory;
    const isLong = counted > LONG_BODY;
    for (const { name, limits } of this.#holders) {
      const others = (byCaller.get(name) ?? 0) - this.#counted;
      // A single body always fits. This comes first: nobody waits behind one who waits for its own caller.
      if (others > 0 && others + counted > limits[isLong ? 0 : 1]) return { holder: name };
    }
    if (taken + more > (isLong ? MOST_LONG : MOST)) return 'all';
    if (this.#isStrange && !this.#fitsBesideStrangers(more)) return 'strange';
    if (!takes) return undefined;
    for (const { name } of this.#holders) byCaller.set(name, (byCaller.get(name) ?? 0) - this.#counted + counted);
    if (this.#holders.length > 0) this.#counted = counted;
    this.#take(more);
    return undefined;
  }

  /** @returns whether strangers may hold more bytes. One body at a time may be longer than all others together. */
  #fitsBesideStrangers(more: number): boolean {
    const { strange, longStranger } = this.#memory;
    if (strange + more > STRANGE_LIMIT_WITH_LONG) return false;
    if (longStranger === this) return true;
    const long = longStranger ? longStranger.#own : 0;
    if (strange - long + more <= STRANGE_LIMIT) return true;
    if (longStranger !== undefined || this.#memory.isOut(STRANGERS, Date.now())) return false;
    this.#memory.longStranger = this;
    return true;
  }

  #uncount(): void {
    if (this.#counted === 0) return;
    const { byCaller } = this.#memory;
    for (const { name } of this.#holders) {
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
    this.receives(undefined);
    if (this.#memory.longStranger === this) this.#memory.longStranger = undefined;
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

/** The name by which strangers are kept from sending another body that is longer than all others of them. */
const STRANGERS = '';

/** @returns for whom the bytes of a sender count: the last is the one that is kept out, if it sends too slowly */
function holdersOf({ account, token, group }: BodySender): Holder[] {
  if (group !== undefined) {
    const [long, short] = CALLER_LIMITS;
    return [
      { name: group, limits: CALLER_LIMITS },
      { name: account, limits: [long / 2, short / 2] },
    ];
  }
  if (token === undefined) return [{ name: account, limits: CALLER_LIMITS }];
  return [
    { name: account, limits: ACCOUNT_LIMITS },
    { name: JSON.stringify([account, token]), limits: TOKEN_LIMITS },
  ];
}

function full(): ApiError {
  const message = 'Too many large requests are in work here at the moment. Send it again shortly.';
  return tryAgain(message, 'body_room', { seconds: 2 });
}
