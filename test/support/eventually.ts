import { vi } from 'vitest';

/** Waits until something holds: as long as `expect.poll` does, where a single value is not enough. */
export async function eventually(check: () => void | Promise<void>): Promise<void> {
  await vi.waitFor(check, { timeout: 240_000 });
}
