import { vi } from 'vitest';
import { STREAM_HEADERS_MS } from '../../src/edge/claude/exchange.ts';

/** Has a test's edge wait 80 milliseconds for the headers of a stream. */
export function waitsBriefly(): void {
  const { setTimeout: wait } = globalThis;
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((call: () => void, ms?: number) =>
    wait(call, ms === STREAM_HEADERS_MS ? 80 : ms)) as typeof setTimeout);
}
