import { vi } from 'vitest';

/** Longer than a busy machine needs. What holds is not waited for. */
const MAX_WAIT_MS = 240_000;

/** Waits until something holds: as long as `expect.poll` does, where a single value is not enough. */
export async function eventually(check: () => void | Promise<void>): Promise<void> {
  await vi.waitFor(check, { timeout: MAX_WAIT_MS, interval: 5 });
}

/** Waits until something is so that another object says: no promise of one object wakes another one. */
export async function waitForCondition(isSo: () => boolean): Promise<void> {
  await vi.waitUntil(isSo, { timeout: MAX_WAIT_MS, interval: 1 });
}
