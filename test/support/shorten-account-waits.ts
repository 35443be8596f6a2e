import { vi } from 'vitest';

/** An account that waits for money looks each second, and tells its pools what it owes once it has rested for two. */
const SHORTENED_WAITS_MS = [1_000, 2_000];

/** Has accounts do both sooner, up to the end of a test that waits for it. */
export function shortenAccountWaits(): void {
  const { setTimeout: wait } = globalThis;
  const setShortTimeout = (work: () => void, ms = 0) => wait(work, SHORTENED_WAITS_MS.includes(ms) ? 20 : ms);
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(setShortTimeout as never);
}
