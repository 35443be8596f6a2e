import type { Sendable } from '../http/long-body.ts';
import { type FailedTry, mayRepeat } from './client-retries.ts';
import { timedOut, upstreamUnreachable } from './failure.ts';
import type { Upstream } from './upstream.ts';

/** A wait that the upstream asks for and that is longer than this is the caller's to make. */
const LONGEST_WAIT_MS = 10_000;
const FIRST_WAIT_MS = 500;
const LONGEST_BACKOFF_MS = 8_000;
const RETRYABLE: ReadonlySet<number> = new Set([408, 409]);

export interface SendRequest {
  method: string;
  /** Path and query, beginning with `/v1`. */
  path: string;
  headers: HeadersInit;
  body?: Sendable | undefined;
}

export interface SendOptions {
  maxRetries: number;
  /** For all tries together, until the headers of the last one. */
  timeoutMs: number;
  /** The caller aborts the controller by itself when that time is up. */
  isWatched?: boolean;
  /** Aborted by the caller when nobody waits any more, and here when time is up; it cancels the body as well. */
  controller: AbortController;
  /** The caller's own headers, where this is its own request: one that tries again by itself is not helped twice. */
  caller?: Headers | Readonly<Record<string, string>>;
  /** Kept up to date. */
  course?: SendProgress;
  /** Pays for tries that may have run. Without it such a try is the last; `free` is for what costs nothing. */
  payment?: Payment | 'free' | undefined;
}

/** What has gone up. */
export interface SendProgress {
  /** When the try was sent that may be running now; milliseconds since 1970. Undefined: none can be. */
  sentAt: number | undefined;
  /** From there to its headers. */
  elapsedMs?: number;
}

/** How a request is paid for that is sent again although the try before it may have run. */
export interface Payment {
  /** Books the try that has failed. */
  settle(): Promise<void>;
  /**
   * Sets aside what another try can cost.
   *
   * @returns the body that goes up now
   * @throws ApiError where there is nothing left to pay it with
   */
  admit(): Promise<Sendable>;
}

/** A failure that comes within this time came before the request had gone up. */
const CONNECT_MS = 50;
/** What stands before an upstream says with these, by itself, that it has not reached it. */
const NOT_REACHED: ReadonlySet<number> = new Set([521, 525, 526, 530]);
/** What gives up waiting may say so by a status that blames the client. */
const GAVE_UP: ReadonlySet<number> = new Set([408, 499]);
const MOST_ERROR_BYTES = 65_536;

/**
 * Sends a request upstream, and again before the first byte while the failure is transient.
 *
 * @returns the upstream's last response, whatever its status
 * @throws UpstreamFailure when no headers came in time, or when the network failed to the last
 * @throws the signal's reason when it is aborted
 */
export async function send(upstream: Upstream, request: SendRequest, options: SendOptions): Promise<Response> {
  const { controller, timeoutMs, isWatched } = options;
  const timer = isWatched ? undefined : setTimeout(() => controller.abort(timedOut()), timeoutMs);
  try {
    return await sendUntil(upstream, request, options, Date.now() + timeoutMs);
  } catch (thrown) {
    throw controller.signal.aborted ? controller.signal.reason : thrown;
  } finally {
    if (timer !== undefined) clearTimeout(timer);
  }
}

async function sendUntil(
  upstream: Upstream,
  { method, path, headers, body: first }: SendRequest,
  { maxRetries, controller: { signal }, caller, course = { sentAt: undefined }, payment }: SendOptions,
  deadline: number,
): Promise<Response> {
  const isHelped = (failed: FailedTry) => caller === undefined || mayRepeat(caller, failed);
  let sendable: Sendable | null = first ?? null;
  for (let attempt = 0; ; attempt += 1) {
    const last = attempt >= maxRetries;
    let response: Response | undefined;
    let failure: unknown;
    signal.throwIfAborted();
    const sentAt = Date.now();
    course.sentAt = sentAt;
    const body = typeof sendable === 'function' ? sendable() : sendable;
    try {
      response = await upstream.fetch(upstream.baseURL + path, { method, headers, body, redirect: 'manual', signal });
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      failure = thrown;
    }
    const elapsedMs = Date.now() - sentAt;
    course.elapsedMs = elapsedMs;
    const wait = last ? undefined : waitBeforeRetry(response, attempt);
    const isAnswer = response !== undefined && !NOT_REACHED.has(response.status);
    const again = wait !== undefined && Date.now() + wait < deadline && !(isAnswer && !isHelped('answered'));
    if (response && !again) return response;
    const refusal = response && (await readRefusal(response, elapsedMs));
    const sent = refusal ? refusal.mayHaveRun : wasSent(failure, elapsedMs);
    if (!sent) course.sentAt = undefined;
    /** What there is to say where no other try is made. */
    const give = () => {
      if (refusal) return refusal.response;
      throw upstreamUnreachable(sent, failure);
    };
    if (!again || (sent && !(payment && isHelped('may_have_run')))) return give();
    if (!sent || payment === undefined || payment === 'free') {
      course.sentAt = undefined;
      await sleep(wait, signal);
      continue;
    }
    await payment.settle();
    course.sentAt = undefined;
    await sleep(wait, signal);
    try {
      sendable = await payment.admit();
    } catch {
      // Its price is booked; there is nothing left for another.
      return give();
    }
  }
}

/**
 * Decides whether a request that got no answer can have reached the upstream. The runtime says the same of a connection
 * that was refused and of one that broke later; what it has words of its own for happened before anything was sent.
 */
function wasSent(failure: unknown, elapsedMs: number): boolean {
  if (elapsedMs <= CONNECT_MS) return false;
  return !(failure instanceof Error && /\b(DNS|TLS|SSL|certificate)\b/i.test(failure.message));
}

/**
 * Decides whether a request can have run, and be billed, that was answered by an error.
 *
 * @param isApiError whether the body is an error as the API writes it
 * @param elapsedMs from the send to the headers: what is answered at once was not worked on
 */
export function mayHaveRun(
  { status, headers }: Pick<Response, 'status' | 'headers'>,
  { isApiError, elapsedMs }: { isApiError: boolean; elapsedMs: number },
): boolean {
  if (elapsedMs <= CONNECT_MS || isApiError || headers.has('request-id')) return false;
  return GAVE_UP.has(status) || (status >= 500 && !NOT_REACHED.has(status));
}

/** Reads an error as far as it decides what the request has cost. */
async function readRefusal(
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

async function readStart({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  if (!body) return text;
  try {
    for await (const piece of body) {
      text += decoder.decode(piece, { stream: true });
      if (text.length >= MOST_ERROR_BYTES) break;
    }
  } catch {
    // An error that broke off is one that cannot be read.
  }
  return text;
}

function isApiError(text: string): boolean {
  try {
    return (JSON.parse(text) as { type?: unknown } | null)?.type === 'error';
  } catch {
    return false;
  }
}

/** @returns the milliseconds to wait before the next try, or undefined if there must be none. */
export function waitBeforeRetry(
  response: Pick<Response, 'status' | 'headers'> | undefined,
  attempt: number,
  random: () => number = Math.random,
): number | undefined {
  const backoff = Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_BACKOFF_MS) * (1 - random() * 0.25);
  if (!response) return backoff;
  const { status, headers } = response;
  if (status < 400) return undefined;
  const verdict = headers.get('x-should-retry');
  if (verdict === 'false') return undefined;
  const asked = retryAfterMs(headers);
  if (asked !== undefined && asked > LONGEST_WAIT_MS) return undefined;
  if (verdict === 'true' || RETRYABLE.has(status) || status >= 500) return asked ?? backoff;
  return status === 429 ? asked : undefined;
}

function retryAfterMs(headers: Headers): number | undefined {
  const milliseconds = headers.get('retry-after-ms');
  if (milliseconds !== null && milliseconds.trim() !== '' && Number(milliseconds) >= 0) return Number(milliseconds);
  const value = headers.get('retry-after');
  if (value === null || value.trim() === '') return undefined;
  // Asked first: to `Date.parse` even "-5" is a date.
  if (!Number.isNaN(Number(value))) return Number(value) >= 0 ? Number(value) * 1_000 : undefined;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}
