/** Decides when a request is sent again: whether the try before may have run, and how long to wait. */

import { type ClassifiedResponse, classifyFailure } from './classify-failure.ts';
import { readStartOfError } from './relay/read-start.ts';

/** If the upstream asks for a longer wait than this, its answer goes to the caller, who can wait. Milliseconds. */
export const MAX_RETRY_WAIT_MS = 10_000;
const FIRST_WAIT_MS = 500;
const MAX_BACKOFF_MS = 8_000;
/** What may pass by itself. */
const TRANSIENT_STATUSES: ReadonlySet<ClassifiedResponse['kind']> = new Set(['again', 'down', 'overloaded']);

/** Decides whether a refused request may have run. If that depends on the body, it reads as much of it as needed. */
export async function classifyRejectedResponse(
  response: Response,
  elapsedMs: number,
): Promise<{ mayHaveRun: boolean; response: Response }> {
  if (!classifyFailure(response, { text: '', elapsedMs }).mayHaveRun) {
    await response.body?.cancel();
    return { mayHaveRun: false, response };
  }
  const { text, response: whole } = await readStartOfError(response);
  return { mayHaveRun: classifyFailure(response, { text, elapsedMs }).mayHaveRun, response: whole };
}

/**
 * @param patienceMs the longest wait that is waited for, if the upstream asks for one
 * @returns milliseconds to wait before the next try; undefined if there must be no other try
 */
export function computeRetryWaitMs(
  response: Pick<Response, 'status' | 'headers'> | undefined,
  attempt: number,
  patienceMs: number = MAX_RETRY_WAIT_MS,
  random: () => number = Math.random,
): number | undefined {
  const backoff = Math.min(FIRST_WAIT_MS * 2 ** attempt, MAX_BACKOFF_MS) * (1 - random() * 0.25);
  if (!response) return backoff;
  const judged = classifyFailure(response, { text: '', elapsedMs: 0 });
  const shouldRetry = response.headers.get('x-should-retry');
  if (!TRANSIENT_STATUSES.has(judged.kind) || shouldRetry === 'false') return undefined;
  const { waitMs } = judged;
  if (waitMs !== undefined) return waitMs > patienceMs ? undefined : waitMs;
  return response.status === 429 && shouldRetry !== 'true' ? undefined : backoff;
}
