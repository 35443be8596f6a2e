import { vi } from 'vitest';

/** An account that waits for money looks each second, and tells its pools what it owes once it has rested for two. */
const WAITS_MS = [1_000, 2_000];

/** Has accounts do both sooner, up to the end of a test that waits for it. */
export function restSooner(): void {
  const { setTimeout: wait } = globalThis;
  const sooner = (work: () => void, ms = 0) => wait(work, WAITS_MS.includes(ms) ? 20 : ms);
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(sooner as never);
}
