/** One try to reach an upstream: whether it can have run, and when another one makes sense. */

import type { Routing } from './choice/pool.ts';
import type { BodyMaker } from './kinds/kind.ts';

/** A request as it goes up. */
export interface SendRequest {
  method: string;
  /** Path and query, beginning with `/v1`. */
  path: string;
  headers: Readonly<Record<string, string>>;
  body?: BodyMaker | undefined;
  /** What the choice between several upstreams goes by. */
  routing?: Routing | undefined;
}

/** How a request is sent. */
export interface SendOptions {
  maxRetries: number;
  /** Milliseconds for all tries together, until the headers of the last one. */
  timeoutMs: number;
  /** Whether whoever calls `send` aborts the controller itself when that time is up. */
  isWatched?: boolean;
  /** Aborted from outside when nobody waits any more, and here when time is up. It ends the reading of the body as well. */
  controller: AbortController;
  /** The caller's own headers, if this is its own request: if the client retries by itself, the edge does not. */
  caller?: Headers | Readonly<Record<string, string>>;
  /** Changed as the request goes up, for whoever must know what may have run. */
  course?: SendProgress;
  /** Pays for another try after one that may have run; without it there is none. `free` is for what costs nothing. */
  payment?: Payment | 'free' | undefined;
  /** Lets work run on that the answer does not wait for. Default: nothing keeps it alive. */
  waitUntil?(work: Promise<unknown>): void;
}

/** How far a request has gone. */
export interface SendProgress {
  /** When the try was sent that may run at the upstream now, in milliseconds since 1970. Undefined if none can. */
  sentAt: number | undefined;
  /** Milliseconds from sending the last try to its headers, or to its failure. */
  elapsedMs?: number;
  /** Where there are several upstreams: the name of the one that was tried last. */
  upstream?: string | undefined;
  /** The beginning of a stream, where it has been read already: its body goes on behind it. */
  opening?: Uint8Array | undefined;
  /** Is to be called when the answer has ended, in whatever way; more than once does no harm. */
  leave?(isCut: boolean): void;
}

/** How a request is paid for that is sent again after a try that may have run, and be billed. */
export interface Payment {
  /** Books the try that has failed. */
  settle(): Promise<void>;
  /**
   * Sets aside what another try can cost.
   *
   * @returns the body that goes up now
   * @throws ApiError where there is nothing left to pay it with
   */
  admit(): Promise<BodyMaker>;
  /**
   * Books the try that has failed, and sets aside what the next model can cost that is named for this case.
   *
   * @returns `none` where there is no other model, and nothing has changed; `refused` where none is admitted: then nothing is
   * set aside any more, and `admit` does so for the model that was asked for
   */
  fallBack?(): Promise<{ model: string; body: BodyMaker } | 'none' | 'refused'>;
}

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
  try {
    return (JSON.parse(text) as { type?: unknown } | null)?.type === 'error';
  } catch {
    return false;
  }
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
