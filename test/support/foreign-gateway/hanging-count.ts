/** Gateways that answer messages, and do not count their tokens: they hang, fail, or do not know the path. */

import { onTestFinished, vi } from 'vitest';
import type { SentRequest } from '#test/support/app.ts';

/** How long all tries of a count together may take before a request is admitted without it; milliseconds. */
const MAX_COUNT_MS = 3_000;

type AnswerRequest = (request: SentRequest) => Response | Promise<Response>;

/** What a gateway answers to a count that it does not make. */
export const COUNT_NOT_SUPPORTED: readonly [name: string, count: () => Response | Promise<Response>][] = [
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
export function isCountRequest({ url }: Pick<SentRequest, 'url'>): boolean {
  return url.pathname.endsWith('/count_tokens');
}

/** @returns the answers of a gateway that does not count @param count what it answers instead. Default: it hangs */
export function withoutCounts(
  answer: AnswerRequest,
  count: () => Response | Promise<Response> = () => new Promise(() => {}),
): AnswerRequest {
  return (request) => (isCountRequest(request) ? count() : answer(request));
}

/** Has the time for a count be over at once, until the test ends. @returns a function that ends it sooner */
export function shortenCountTimeout(): () => void {
  const { setTimeout } = globalThis;
  const setShortTimeout = (run: () => void, ms?: number) => setTimeout(run, ms === MAX_COUNT_MS ? 0 : ms);
  const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(setShortTimeout as never);
  const restore = () => spy.mockRestore();
  onTestFinished(restore);
  return restore;
}
