/**
 * Reserves memory for bodies, so that an isolate does not run out of memory by what callers send, and by what tools answer to
 * runs and runs send up.
 */

import { pause } from '../async/pause.ts';
import { createLruCache } from '../cache/lru.ts';
import { freeBytes } from './body/release-bytes.ts';
import { LONG_BODY_BYTES } from './body-shape.ts';
import { type ApiError, createRetryableError } from './errors.ts';

const MEGABYTE = 1024 * 1024;
/** Bytes for all bodies at one time. An isolate has 128 MB, and some bodies are there in two forms. */
const MAX_BYTES = 48 * MEGABYTE;
/** Bytes for the long bodies among them, so that short ones always find memory. */
const MAX_LONG_BYTES = 40 * MEGABYTE;
/** Bytes of one holder: if the new body is long, and if it is short. A single body always fits. */
type HolderMemoryLimits = readonly [long: number, short: number];
/** The limits of one caller, so that memory is left for others. */
const CALLER_LIMITS: HolderMemoryLimits = [30 * MEGABYTE, 40 * MEGABYTE];
/** The limits of one token of an account, so that memory is left for the account's other tokens. */
const TOKEN_LIMITS: HolderMemoryLimits = [30 * MEGABYTE, 34 * MEGABYTE];
const ACCOUNT_LIMITS: HolderMemoryLimits = [36 * MEGABYTE, 40 * MEGABYTE];
/** Bytes for bodies of senders that are not known yet, so that they do not use up the memory of callers. */
const UNKNOWN_SENDER_LIMIT = 8 * MEGABYTE;
/** The same, while one of these bodies is longer than that. */
const UNKNOWN_SENDER_LIMIT_WITH_LONG = 26 * MEGABYTE;
/** An unknown sender that sends fewer bytes than this in a second makes no progress: those who send webhooks are servers. */
const UNKNOWN_SENDER_STEP_BYTES = 65_536;
const UNKNOWN_SENDER_STEP_MS = 1_000;
/** The most bytes that one body counts as, so that even the largest finds memory when there are hardly any others. */
const MAX_COUNTED_BYTES = 36 * MEGABYTE;
/** How long other bodies may take memory before a waiting one, in milliseconds. Then new long bodies are rejected. */
const MAX_OVERTAKEN_MS = 5_000;
/** How often a waiting body checks for its memory, if few wait and if thousands do, in milliseconds. */
const MIN_POLL_MS = 20;
const MAX_POLL_MS = 2_000;

/** A body that is being received. A long one holds memory for all of its announced length. */
export interface IncomingBody {
  /** Its announced length in bytes; without one, how many have arrived. */
  readonly length: number;
  /** @returns how many bytes of it have arrived */
  getReceivedBytes(): number;
  /** Ends the reading. */
  evict(why: ApiError): void;
}

/**
 * Seconds in which a body must arrive completely while others lack memory. Otherwise a caller could occupy the memory at no
 * cost by sending very slowly.
 */
const MAX_TRANSFER_S = 60;
/**
 * A body is judged by at least so long a time, and by little more than the longer one. Milliseconds. A body that has arrived at
 * all has the shorter one besides: its pieces come in bursts.
 */
const MIN_PACE_WINDOW_MS = 1_000;
const MAX_PACE_WINDOW_MS = 5_000;
/** For so long after others have lacked memory, a caller's second long body waits until the first is there. Milliseconds. */
const CONTENTION_MS = 5_000;
/** For so long a token whose body had to give way sends no other long body. Milliseconds. */
const LOCKOUT_MS = 60_000;
/** If so many tokens of an account had to yield to other accounts in that time, the whole account is locked out. */
const MAX_LOCKED_OUT_TOKENS = 3;

/** A holder for which the bytes of a body count, in addition to the total. */
interface MemoryHolder {
  name: string;
  limits: HolderMemoryLimits;
}

/** Which memory is used up: all of it, that of unknown senders, or that of the named holder. */
type MemoryShortageCause = 'all' | 'strange' | { holder: string };

/** The sender of a body. */
export interface BodySender {
  account: string;
  /** The id of the token that was sent; absent if none was needed. */
  token?: string | undefined;
  /** Whose memory the account takes, together with others; its tokens do not count then. */
  group?: string | undefined;
}

/** How many bytes the bodies of an isolate take. */
export class IsolateBodyMemory {
  /** Bytes of all bodies. */
  takenBytes = 0;
  /** Bytes of the bodies whose senders are not known yet. */
  unknownSenderBytes = 0;
  /** Bytes of the bodies, by caller. */
  readonly bytesByCaller = new Map<string, number>();
  /** The waiting shares, in their order, and the bytes for which they wait. */
  readonly waitingShares = new Map<BodyMemoryShare, number>();
  /**
   * The long bodies that have not arrived completely, each with the time of the last check, and how much of it had arrived
   * then.
   */
  readonly incomingBodies = new Map<BodyMemoryShare, { body: IncomingBody; at: number; come: number }>();
  /** The bodies of unknown senders that have not arrived completely, each with the time of its last progress. */
  readonly unknownSenderBodies = new Map<BodyMemoryShare, { body: IncomingBody; at: number; come: number }>();
  /** The one body of an unknown sender that may be longer than all others of them together. */
  longUnknownShare: BodyMemoryShare | undefined;
  #contendedAt = Number.NEGATIVE_INFINITY;
  /** Whose bodies had to give way, and until when. */
  readonly #lockedOutUntil = createLruCache<string, number>(1_000);
  /** By account: the tokens that had to yield to others, and until when. */
  readonly #lockedOutTokensByAccount = createLruCache<string, ReadonlyMap<string, number>>(1_000);

  /** Records that a body lacks memory. */
  recordContention(now: number): void {
    this.#contendedAt = now;
  }

  hasRecentContention(now: number): boolean {
    return now - this.#contendedAt < CONTENTION_MS;
  }

  lockOutHolder(name: string, now: number): void {
    this.#lockedOutUntil.set(name, now + LOCKOUT_MS);
  }

  /** Records that a token had to give way to other accounts: one token does not lock out its account, several do. */
  lockOutToken(token: string, account: string, now: number): void {
    this.lockOutHolder(token, now);
    const before = [...(this.#lockedOutTokensByAccount.get(account) ?? [])].filter(([, until]) => until > now);
    const tokens = new Map([...before, [token, now + LOCKOUT_MS]]);
    this.#lockedOutTokensByAccount.set(account, tokens);
    if (tokens.size >= MAX_LOCKED_OUT_TOKENS) this.lockOutHolder(account, now);
  }

  isHolderLockedOut(name: string, now: number): boolean {
    return (this.#lockedOutUntil.get(name) ?? 0) > now;
  }

  /** The shares that objects have or wait for, by the object. */
  readonly sharesByObject = new Map<string, Set<BodyMemoryShare>>();

  /**
   * Releases the reservations that an object had before it died, because its work does not continue. Call it when the object
   * wakes. The bytes themselves are left to the garbage collector: a request of the dead object may still be in flight.
   */
  releaseMemoryOfObject(object: string): void {
    const shares = this.sharesByObject.get(object) ?? [];
    for (const share of shares) this.waitingShares.delete(share);
    for (const share of shares) share.releaseMemory(false);
  }
}

/** The memory for bodies of this isolate. */
export const bodyMemory = new IsolateBodyMemory();

/** The share of one request's body in the memory. `leave` must be called at the end of the request, however it ends. */
export class BodyMemoryShare {
  readonly #memory: IsolateBodyMemory;
  readonly #isUnknownSender: boolean;
  #ownBytes = 0;
  /** The bytes that count for its caller. */
  #countedBytes = 0;
  #sender: BodySender | undefined;
  #holders: readonly MemoryHolder[] = [];
  #object: string | undefined;
  #bytes: Uint8Array | undefined;
  /** Since when it waits; milliseconds since 1970. */
  #waitingSince = 0;

  /** @param isStrange whether the sender is not known yet */
  constructor(into: IsolateBodyMemory, isStrange = false) {
    this.#memory = into;
    this.#isUnknownSender = isStrange;
  }

  /** Notes who sends the body. Call it before the body takes memory. */
  setSender(sender: BodySender): void {
    this.#sender = sender;
    this.#holders = listMemoryHolders(sender);
  }

  /** Records the body that is being received into this memory; undefined once it is complete. */
  setIncomingBody(body: IncomingBody | undefined): void {
    const { unknownSenderBodies: strangers, incomingBodies: coming } = this.#memory;
    const bodies = this.#isUnknownSender ? strangers : coming;
    if (body) bodies.set(this, { body, at: Date.now(), come: body.getReceivedBytes() });
    else bodies.delete(this);
  }

  /**
   * Takes memory for a body, if it needs more than it has.
   *
   * @param bytes what it needs in all
   * @throws ApiError 503 when other bodies have taken the memory
   */
  reserveBytes(bytes: number): void {
    const now = Date.now();
    this.#recordProgress(now);
    if (this.#ownBytes <= LONG_BODY_BYTES && bytes > LONG_BODY_BYTES) {
      if (this.#memory.waitingShares.size > 0 && this.#hasLongWaitingShare()) throw createMemoryFullError();
      if (this.#mustYieldToOthers(now)) throw createMemoryFullError();
    }
    let lacks = this.#tryReserveBytes(bytes);
    if (lacks === undefined) return;
    // Contention makes other senders yield. Record it only if that can help: not if the account has reached its own limit, and not
    // for an unknown sender.
    if (!this.#isUnknownSender && (lacks === 'all' || this.#sender?.group !== undefined))
      this.#memory.recordContention(now);
    while (lacks !== undefined && this.#evictAnotherBody(now, lacks)) lacks = this.#tryReserveBytes(bytes);
    if (lacks !== undefined) throw createMemoryFullError();
  }

  /** Records the progress of an unknown sender's body. */
  #recordProgress(now: number): void {
    const step = this.#memory.unknownSenderBodies.get(this);
    const come = step?.body.getReceivedBytes() ?? 0;
    if (step && come - step.come >= UNKNOWN_SENDER_STEP_BYTES) Object.assign(step, { at: now, come });
  }

  /** @returns the token that sends the body; its account if it needs none */
  get #senderCredential(): string | undefined {
    return this.#holders.at(-1)?.name;
  }

  /** @returns whether its token, or account, had to give way, or the token sends a long body already while others want memory. */
  #mustYieldToOthers(now: number): boolean {
    const name = this.#senderCredential;
    if (this.#sender === undefined || name === undefined) return false;
    if (this.#memory.isHolderLockedOut(name, now) || this.#memory.isHolderLockedOut(this.#sender.account, now))
      return true;
    const isOtherLongBodyOfSender = (one: BodyMemoryShare) =>
      one !== this && one.#ownBytes > LONG_BODY_BYTES && one.#senderCredential === name;
    return (
      this.#memory.hasRecentContention(now) && [...this.#memory.incomingBodies.keys()].some(isOtherLongBodyOfSender)
    );
  }

  /** Evicts a body that arrives too slowly, an unknown sender's first. @returns false if there is none */
  #evictAnotherBody(now: number, lacks: MemoryShortageCause): boolean {
    if (typeof lacks === 'string' && this.#evictStalledUnknownSender(now)) return true;
    return lacks !== 'strange' && this.#evictSlowestBody(now, lacks);
  }

  /** Evicts the longest body of an unknown sender that makes no progress. @returns false if there is none */
  #evictStalledUnknownSender(now: number): boolean {
    let longest: { share: BodyMemoryShare; body: IncomingBody } | undefined;
    for (const [share, { body, at }] of this.#memory.unknownSenderBodies) {
      if (share === this || now - at < UNKNOWN_SENDER_STEP_MS) continue;
      if (share.#ownBytes > (longest ? longest.share.#ownBytes : 0)) longest = { share, body };
    }
    if (!longest) return false;
    // Lock unknown senders out for a while. Otherwise they would reserve the freed memory again at once.
    if (longest.share === this.#memory.longUnknownShare) this.#memory.lockOutHolder(UNKNOWN_SENDERS, now);
    longest.share.#evictBody(longest.body);
    return true;
  }

  /** Evicts the slowest body that arrives too slowly. @returns false if there is none */
  #evictSlowestBody(now: number, lacks: MemoryShortageCause): boolean {
    let slowest: { share: BodyMemoryShare; body: IncomingBody; pace: number } | undefined;
    for (const [share, judged] of this.#memory.incomingBodies) {
      const { body, at, come } = judged;
      if (now - at < MIN_PACE_WINDOW_MS || share.#ownBytes <= LONG_BODY_BYTES) continue;
      if (typeof lacks === 'object' && !share.#holders.some(({ name }) => name === lacks.holder)) continue;
      const has = body.getReceivedBytes();
      const least = (now - at - MIN_PACE_WINDOW_MS) * (body.length / MAX_TRANSFER_S / 1_000);
      // A pace below 1 is too slow: the body would take longer than `MAX_TRANSFER_S`.
      const pace = has === come ? 0 : (has - come) / least;
      if (now - at > MAX_PACE_WINDOW_MS) Object.assign(judged, { at: now, come: has });
      if (pace < (slowest?.pace ?? 1)) slowest = { share, body, pace };
    }
    if (!slowest) return false;
    this.#lockOutSender(slowest.share, now, lacks);
    slowest.share.#evictBody(slowest.body);
    return true;
  }

  /** Releases the memory, and ends the reading of the body. */
  #evictBody(body: IncomingBody): void {
    this.releaseMemory(false);
    body.evict(createMemoryFullError());
  }

  /** Prevents the sender of an evicted body from sending another long one for a while. */
  #lockOutSender(evicted: BodyMemoryShare, now: number, lacks: MemoryShortageCause): void {
    const [sender, name] = [evicted.#sender, evicted.#senderCredential];
    if (sender === undefined || name === undefined) return;
    const isForOthers = lacks === 'all' && sender.account !== this.#sender?.account;
    if (isForOthers && name !== sender.account) this.#memory.lockOutToken(name, sender.account, now);
    else this.#memory.lockOutHolder(name, now);
  }

  /** @returns whether a body has waited for long, and not only for its own caller's memory. */
  #hasLongWaitingShare(): boolean {
    const before = Date.now() - MAX_OVERTAKEN_MS;
    for (const [share, bytes] of this.#memory.waitingShares)
      if (share.#waitingSince < before && share.#findShortage(bytes) === 'all') return true;
    return false;
  }

  /**
   * Reserves memory, and waits until there is enough. First it releases its own memory: a waiting share holds nothing, so that
   * shares never wait for each other.
   *
   * @param object the object that waits. If it dies, its memory is released when it wakes
   * @throws ApiError 503 after so many milliseconds; the reason of the signal
   */
  async waitForBytes(bytes: number, object: string, mostMs: number, signal: AbortSignal): Promise<void> {
    this.releaseMemory();
    signal.throwIfAborted();
    const { waitingShares: waiting, sharesByObject: byObject } = this.#memory;
    byObject.set(object, (byObject.get(object) ?? new Set()).add(this));
    this.#object = object;
    waiting.set(this, bytes);
    this.#waitingSince = Date.now();
    BodyMemoryShare.#reserveForWaitingShares(this.#memory);
    const until = Date.now() + mostMs;
    try {
      // Let each waiting share poll, because a promise of one Durable Object must not be resolved by another one.
      while (waiting.has(this)) {
        if (Date.now() >= until) throw createMemoryFullError();
        // Poll less often the more shares wait, about a thousand times a second in all: one check takes more than 10 μs
        await pause(Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, waiting.size)), signal);
      }
      // If the share was released while it waited, it has no memory to use, so reject the request.
      if (this.#object === undefined) throw createMemoryFullError();
    } catch (thrown) {
      this.releaseMemory();
      throw thrown;
    }
  }

  /**
   * Gives memory to the waiting shares, in their order. A share is passed over only if its holder has too much already, or if
   * it waits for a long body and another one for a short body.
   */
  static #reserveForWaitingShares({ waitingShares: waiting }: IsolateBodyMemory): void {
    let isFull = false;
    for (const [share, bytes] of waiting) {
      const isLong = bytes > LONG_BODY_BYTES;
      if (isFull && isLong) continue;
      const lacks = share.#tryReserveBytes(bytes);
      if (lacks === undefined) waiting.delete(share);
      else if (lacks === 'all' && !isLong) return;
      else isFull ||= lacks === 'all';
    }
  }

  /** Takes memory if there is enough. @returns whose memory does not suffice */
  #tryReserveBytes(bytes: number): MemoryShortageCause | undefined {
    const counted = Math.min(bytes, MAX_COUNTED_BYTES);
    const more = counted - this.#ownBytes;
    if (more <= 0) return undefined;
    const shortage = this.#findShortage(bytes);
    if (shortage !== undefined) return shortage;
    const { bytesByCaller: byCaller } = this.#memory;
    for (const { name } of this.#holders) byCaller.set(name, (byCaller.get(name) ?? 0) - this.#countedBytes + counted);
    if (this.#holders.length > 0) this.#countedBytes = counted;
    if (this.#isUnknownSender && !this.#fitsBesideShortUnknownBodies(more)) this.#memory.longUnknownShare = this;
    this.#addToTotals(more);
    return undefined;
  }

  /** @returns whose memory does not suffice for a body of so many bytes; undefined if there is enough */
  #findShortage(bytes: number): MemoryShortageCause | undefined {
    const counted = Math.min(bytes, MAX_COUNTED_BYTES);
    const more = counted - this.#ownBytes;
    if (more <= 0) return undefined;
    const { takenBytes: taken, bytesByCaller: byCaller } = this.#memory;
    const isLong = counted > LONG_BODY_BYTES;
    for (const { name, limits } of this.#holders) {
      const others = (byCaller.get(name) ?? 0) - this.#countedBytes;
      // A limit never rejects a holder's only body, however long that is. Check the holders' limits before the total, so that a
      // caller that has reached its own limit does not make others wait.
      if (others > 0 && others + counted > limits[isLong ? 0 : 1]) return { holder: name };
    }
    if (taken + more > (isLong ? MAX_LONG_BYTES : MAX_BYTES)) return 'all';
    return this.#isUnknownSender && !this.#fitsUnknownSenderLimit(more) ? 'strange' : undefined;
  }

  /** @returns whether unknown senders may hold more bytes. One body at a time may be longer than all others together. */
  #fitsUnknownSenderLimit(more: number): boolean {
    const { unknownSenderBytes, longUnknownShare } = this.#memory;
    if (unknownSenderBytes + more > UNKNOWN_SENDER_LIMIT_WITH_LONG) return false;
    if (longUnknownShare === this || this.#fitsBesideShortUnknownBodies(more)) return true;
    return longUnknownShare === undefined && !this.#memory.isHolderLockedOut(UNKNOWN_SENDERS, Date.now());
  }

  /** @returns whether the limit of unknown senders has space for more bytes, if the longest body of them does not count */
  #fitsBesideShortUnknownBodies(more: number): boolean {
    const { unknownSenderBytes, longUnknownShare } = this.#memory;
    const longestBytes = longUnknownShare ? longUnknownShare.#ownBytes : 0;
    return unknownSenderBytes - longestBytes + more <= UNKNOWN_SENDER_LIMIT;
  }

  #subtractFromTotals(): void {
    if (this.#countedBytes === 0) return;
    const { bytesByCaller: byCaller } = this.#memory;
    for (const { name } of this.#holders) {
      const others = (byCaller.get(name) ?? 0) - this.#countedBytes;
      if (others > 0) byCaller.set(name, others);
      else byCaller.delete(name);
    }
    this.#countedBytes = 0;
  }

  /** Remembers bytes, to free their memory when the share is left. */
  freeBytesOnRelease(bytes: Uint8Array): void {
    this.#bytes = bytes;
  }

  /** Releases the memory, and frees the bytes. A repeated call has no effect. */
  releaseMemory(frees = true): void {
    if (this.#bytes && frees) freeBytes(this.#bytes);
    this.#bytes = undefined;
    this.setIncomingBody(undefined);
    if (this.#memory.longUnknownShare === this) this.#memory.longUnknownShare = undefined;
    this.#subtractFromTotals();
    this.#addToTotals(-this.#ownBytes);
    const { waitingShares: waiting, sharesByObject: byObject } = this.#memory;
    waiting.delete(this);
    if (this.#object !== undefined) {
      const others = byObject.get(this.#object);
      others?.delete(this);
      if (others?.size === 0) byObject.delete(this.#object);
      this.#object = undefined;
    }
    BodyMemoryShare.#reserveForWaitingShares(this.#memory);
  }

  #addToTotals(bytes: number): void {
    this.#ownBytes += bytes;
    this.#memory.takenBytes += bytes;
    if (this.#isUnknownSender) this.#memory.unknownSenderBytes += bytes;
  }
}

/** The name by which unknown senders are kept from sending another body that is longer than all others of them. */
const UNKNOWN_SENDERS = '';

/** @returns for whom the bytes of a sender count: the last is the one that is kept out, if it sends too slowly */
function listMemoryHolders({ account, token, group }: BodySender): MemoryHolder[] {
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

function createMemoryFullError(): ApiError {
  const message = 'Too many large requests are being processed. Send the request again in a moment.';
  return createRetryableError(message, 'body_room', { seconds: 2 });
}
