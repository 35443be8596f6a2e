/** A clock that stands still until it is moved, in the place of the machine's: with its timers, its dice and its ids. */
import { createHash, createHmac } from 'node:crypto';

interface Timer {
  at: number;
  order: number;
  run: () => void;
}

const START_MS = Date.parse('2026-11-20T12:00:00Z');

export class Clock {
  now = START_MS;
  #timers: Timer[] = [];
  #timerCount = 0;
  #seed = 1;
  #idCount = 0;

  /** When the next timer runs out. */
  get nextTimerAt(): number | undefined {
    return this.#timers[0]?.at;
  }

  addTimer(run: () => void, milliseconds: number): Timer {
    this.#timerCount += 1;
    const timer = { at: this.now + Math.max(1, Math.ceil(milliseconds)), order: this.#timerCount, run };
    const place = this.#timers.findIndex(({ at }) => at > timer.at);
    this.#timers.splice(place < 0 ? this.#timers.length : place, 0, timer);
    return timer;
  }

  clear(timer: Timer | undefined): void {
    const place = timer === undefined ? -1 : this.#timers.indexOf(timer);
    if (place >= 0) this.#timers.splice(place, 1);
  }

  /** Moves to when the next timer runs out, and runs it. */
  runNextTimer(): void {
    const timer = this.#timers.shift();
    if (!timer) return;
    this.now = Math.max(this.now, timer.at);
    timer.run();
  }

  /** @returns a number from 0 to 1, the same ones in each run. */
  random(): number {
    this.#seed = (this.#seed * 48_271) % 2_147_483_647;
    return this.#seed / 2_147_483_647;
  }

  /** @returns an id of the form that the machine gives, the same ones in each run */
  createId(): ReturnType<typeof crypto.randomUUID> {
    this.#idCount += 1;
    return `00000000-0000-4000-8000-${String(this.#idCount).padStart(12, '0')}`;
  }
}

const realFunctions = {
  setTimeout,
  clearTimeout,
  setInterval,
  clearInterval,
  now: Date.now,
  random: Math.random,
  log: console.log,
  error: console.error,
  timeout: AbortSignal.timeout,
  randomUUID: crypto.randomUUID,
  importKey: crypto.subtle.importKey,
  sign: crypto.subtle.sign,
  digest: crypto.subtle.digest,
};
const realSetImmediate = setImmediate;

/** Waits until all that can go on without another event has done so. */
export function settleTasks(): Promise<void> {
  return new Promise((resolve) => {
    realSetImmediate(resolve);
  });
}

/** Puts a clock in the place of the machine's. @param bind has a timer run as whoever has set it */
export function installClock(clock: Clock, bind: (run: () => void) => () => void): void {
  const setSimulatedTimeout = (run: () => void, milliseconds = 0) => clock.addTimer(bind(run), milliseconds);
  globalThis.setTimeout = setSimulatedTimeout as unknown as typeof setTimeout;
  globalThis.clearTimeout = ((timer: Timer | undefined) => clock.clear(timer)) as unknown as typeof clearTimeout;
  globalThis.setInterval = ((run: () => void, milliseconds = 0) => {
    const interval: { next: Timer | undefined } = { next: undefined };
    const runInterval = () => {
      interval.next = setSimulatedTimeout(runInterval, milliseconds);
      run();
    };
    interval.next = setSimulatedTimeout(runInterval, milliseconds);
    return interval;
  }) as unknown as typeof setInterval;
  globalThis.clearInterval = ((interval: { next: Timer | undefined } | undefined) =>
    clock.clear(interval?.next)) as unknown as typeof clearInterval;
  AbortSignal.timeout = (milliseconds) => {
    const late = new AbortController();
    setSimulatedTimeout(() => late.abort(new DOMException('The operation timed out.', 'TimeoutError')), milliseconds);
    return late.signal;
  };
  Date.now = () => clock.now;
  Math.random = () => clock.random();
  crypto.randomUUID = () => clock.createId();
  // The machine signs and hashes in a thread of its own, which is done whenever it is: here it is at once.
  crypto.subtle.importKey = (async (_: string, secret: Uint8Array, { hash }: { hash: string }) => ({
    secret,
    hash: hash.replace('-', ''),
  })) as unknown as typeof realFunctions.importKey;
  crypto.subtle.sign = (async (
    _: string,
    { hash, secret }: { hash: string; secret: Uint8Array },
    content: Uint8Array,
  ) => createHmac(hash, secret).update(content).digest()) as unknown as typeof realFunctions.sign;
  crypto.subtle.digest = (async (hash: string, content: Uint8Array) => {
    const digest = createHash(hash.replace('-', '')).update(content).digest();
    return digest.buffer.slice(digest.byteOffset, digest.byteOffset + digest.length);
  }) as unknown as typeof realFunctions.digest;
  // What objects log is not what is looked at here.
  console.log = () => {};
  console.error = () => {};
}

/** Gives the machine its own clock back. */
export function uninstallClock(): void {
  globalThis.setTimeout = realFunctions.setTimeout;
  globalThis.clearTimeout = realFunctions.clearTimeout;
  globalThis.setInterval = realFunctions.setInterval;
  globalThis.clearInterval = realFunctions.clearInterval;
  AbortSignal.timeout = realFunctions.timeout;
  Date.now = realFunctions.now;
  Math.random = realFunctions.random;
  crypto.randomUUID = realFunctions.randomUUID;
  crypto.subtle.importKey = realFunctions.importKey;
  crypto.subtle.sign = realFunctions.sign;
  crypto.subtle.digest = realFunctions.digest;
  console.log = realFunctions.log;
  console.error = realFunctions.error;
}
