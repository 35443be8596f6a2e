/** Gateways that answer messages, and do not count their tokens: they hang, fail, or do not know the path. */

import { onTestFinished, vi } from 'vitest';
import type { Sent } from '#test/support/app.ts';

/** How long all tries of a count together may take before a request is admitted without it; milliseconds. */
const COUNT_MS = 3_000;

type Answer = (sent: Sent) => Response | Promise<Response>;

/** What a gateway answers to a count that it does not make. */
export const UNCOUNTED: readonly [name: string, count: () => Response | Promise<Response>][] = [
  ['hangs', () => new Promise(() => {})],
  ['breaks', () => Promise.reject(new Error('connection reset'))],
  ['is not found', () => Response.json({ detail: 'Not Found' }, { status: 404 })],
  ['fails', () => Response.json({ error: { message: 'no such path' } }, { status: 500 })],
  ['is not implemented', () => new Response('', { status: 501 })],
  [
    'is overloaded',
    () => Response.json({ type: 'error', error: { type: 'overloaded_error', message: 'busy' } }, { status: 529 }),
  ],
  ['is a page', () => new Response('<html>')],
];

/** @returns whether a request is a count */
export function isCount({ url }: Pick<Sent, 'url'>): boolean {
  return url.pathname.endsWith('/count_tokens');
}

/** @returns the answers of a gateway that does not count @param count what it answers instead. Default: it hangs */
export function countless(
  answer: Answer,
  count: () => Response | Promise<Response> = () => new Promise(() => {}),
): Answer {
  return (sent) => (isCount(sent) ? count() : answer(sent));
}

/** Has the time for a count be over at once, until the test ends. @returns a function that ends it sooner */
export function hastenCounts(): () => void {
  const { setTimeout } = globalThis;
  const soon = (run: () => void, ms?: number) => setTimeout(run, ms === COUNT_MS ? 0 : ms);
  const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(soon as never);
  const end = () => spy.mockRestore();
  onTestFinished(end);
  return end;
}
