import { parseObject } from '../json/object.ts';
/** When a request is sent again: whether the try before can have run, and how long to wait. */

/** If the upstream asks to wait longer than this, its answer goes to the caller, who can wait. */
export const LONGEST_WAIT_MS = 10_000;
const FIRST_WAIT_MS = 500;
const LONGEST_BACKOFF_MS = 8_000;
const RETRYABLE: ReadonlySet<number> = new Set([408, 409]);
/** Milliseconds. What fails sooner has failed before the request was sent: a connection takes about that long. */
const CONNECT_MS = 50;
/** Statuses by which a proxy before the upstream says that it has not reached it. */
export const NOT_REACHED: ReadonlySet<number> = new Set([521, 525, 526, 530]);
/** Statuses by which a proxy says that it has stopped waiting: the upstream may still work on the request. */
const GAVE_UP: ReadonlySet<number> = new Set([408, 499]);
const MOST_ERROR_BYTES = 65_536;

/**
 * Decides whether a request that got no answer can have reached the upstream. The runtime has the same error for a
 * connection that was refused and for one that broke later, so the time decides. Only for DNS and TLS it has errors of their
 * own, and those happen before anything is sent.
 */
export function wasSent(failure: unknown, elapsedMs: number): boolean {
  if (elapsedMs <= CONNECT_MS) return false;
  return !(failure instanceof Error && /\b(DNS|TLS|SSL|certificate)\b/i.test(failure.message));
}

/**
 * Decides whether a request that was answered by an error can have run at the upstream, and be billed.
 *
 * @param isApiError whether the body is an error as the API writes it
 * @param elapsedMs milliseconds from sending to the headers: what is answered at once was not worked on
 */
export function mayHaveRun(
  { status, headers }: Pick<Response, 'status' | 'headers'>,
  { isApiError, elapsedMs }: { isApiError: boolean; elapsedMs: number },
): boolean {
  if (elapsedMs <= CONNECT_MS || isApiError || headers.has('request-id')) return false;
  return GAVE_UP.has(status) || (status >= 500 && !NOT_REACHED.has(status));
}

/** Decides whether a refused request may have run; if that depends on the body, reads as much of it as is needed. */
export async function readRefusal(
  response: Response,
  elapsedMs: number,
): Promise<{ mayHaveRun: boolean; response: Response }> {
  if (!mayHaveRun(response, { isApiError: false, elapsedMs })) {
    await response.body?.cancel();
    return { mayHaveRun: false, response };
  }
  const text = await readStart(response);
  return {
    mayHaveRun: mayHaveRun(response, { isApiError: isApiError(text), elapsedMs }),
    response: new Response(text, response),
  };
}

/** @returns the beginning of a body, as far as it came. */
export async function readStart({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  if (!body) return text;
  try {
    for await (const piece of body) {
      text += decoder.decode(piece, { stream: true });
      if (text.length >= MOST_ERROR_BYTES) break;
    }
  } catch {
    // What has come of it is judged.
  }
  return text;
}

/** @returns whether a text is an error as the API writes it. */
export function isApiError(text: string): boolean {
  return parseObject(text)?.type === 'error';
}

/** @returns milliseconds to wait before the next try; undefined if there must be no other try. */
export function waitBeforeRetry(
  response: Pick<Response, 'status' | 'headers'> | undefined,
  attempt: number,
  random: () => number = Math.random,
): number | undefined {
  const backoff = Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_BACKOFF_MS) * (1 - random() * 0.25);
  if (!response) return backoff;
  const { status, headers } = response;
  if (status < 400) return undefined;
  const shouldRetry = headers.get('x-should-retry');
  if (shouldRetry === 'false') return undefined;
  const asked = retryAfterMs(headers);
  if (asked !== undefined && asked > LONGEST_WAIT_MS) return undefined;
  if (shouldRetry === 'true' || RETRYABLE.has(status) || status >= 500) return asked ?? backoff;
  return status === 429 ? asked : undefined;
}

/** @returns the milliseconds that an upstream asks to wait; undefined where it asks for nothing. */
export function retryAfterMs(headers: Headers): number | undefined {
  const milliseconds = headers.get('retry-after-ms');
  if (milliseconds !== null && milliseconds.trim() !== '' && Number(milliseconds) >= 0) return Number(milliseconds);
  const value = headers.get('retry-after');
  if (value === null || value.trim() === '') return undefined;
  // Numbers are handled before dates: for `Date.parse` even "-5" is a date.
  if (!Number.isNaN(Number(value))) return Number(value) >= 0 ? Number(value) * 1_000 : undefined;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
