import { IdleTimeout } from '../async/idle-timeout.ts';
import { toApiError } from '../http/errors.ts';
import type { Settings } from '../settings/settings.ts';
import { bufferedResponse, readAnswer } from './buffered-answer.ts';
import type { Routing } from './choice/pool.ts';
import { isEventStream, refuseEncoding } from './content-type.ts';
import { callerLeft, endOf, interrupted, timedOut } from './failure.ts';
import { headersUp, upstreamRequestId } from './headers.ts';
import type { BodyMaker } from './kinds/kind.ts';
import { send } from './send.ts';
import type { Payment, SendProgress } from './send-request.ts';
import { relayStream, type StreamEnding } from './stream.ts';
import type { Upstream } from './upstream.ts';
import { idsMade } from './usage/made-ids.ts';
import { nothingSeen, type Report, reportOf } from './usage/usage-report.ts';

/** The request to relay. */
export interface RelayRequest {
  /** The caller's own request. Its method, headers and query go up. Its signal says when the caller has left. */
  caller: Request;
  /** The path at the upstream, beginning with `/v1`. */
  path: string;
  /** The caller's bytes, or the text after changes that were needed. */
  body?: BodyMaker | undefined;
  /** What decides the choice between several upstreams. */
  routing?: Routing | undefined;
  /** Whether only a message or an error counts as an answer. */
  expectsMessage?: boolean;
  /**
   * Whether another model may take over in the middle of the answer. Then the answer's blocks are read, since they say so.
   */
  hasFallbacks?: boolean;
  /** Whether to read the ids of what the answer makes: its container, its thread, its files. */
  readsIds?: boolean;
  /** The caller's `idempotency-key`, in the form that goes up. */
  idempotencyKey?: string | undefined;
}

/** How an answer ended, for the ledger and the log. */
export interface RequestOutcome extends Report {
  /** The upstream's HTTP status; undefined if it sent none. */
  status: number | undefined;
  end: StreamEnding;
  upstream_request_id: string | undefined;
  /** If there are several upstreams: the name of the one that answered, or was tried last. */
  upstream?: string | undefined;
  /** Whether the upstream may have worked on the request, and may bill it. */
  sent: boolean;
  /** Milliseconds from the request to the first byte of a stream, or to the end of a buffered answer. */
  ttft_ms: number;
  /** For an answer that did not end by itself: the output tokens that it was settled at. */
  estimated_output?: number | undefined;
}

/** What a relay needs, and the functions that it calls. */
export interface RelayOptions {
  upstream: Upstream;
  settings: Settings;
  requestId: string;
  waitUntil(work: Promise<unknown>): void;
  /** Pays for another try after a try that may have run. Default: the request costs nothing. */
  payment?: ((tried: () => RequestOutcome) => Payment) | undefined;
  /**
   * Called when the answer is made; for a buffered answer after `onEnd`.
   *
   * @param buffered whether a buffered answer has the status of a success; undefined for a stream
   * @returns the edge's own headers for it. Default: none
   */
  ownHeaders?(buffered?: { ok: boolean }): Record<string, string>;
  /**
   * Called once when the upstream's headers have come. No other try will be made, so the request body is not needed any more.
   *
   * @param upstream its name, if there are several
   */
  onHeaders?(upstream: string | undefined): void;
  /**
   * Called once with how the answer ended, even if the caller has left. It must return at once. Longer work must go on by
   * itself.
   *
   * @returns text for a comment after a complete stream, without the colon
   */
  onEnd?(outcome: RequestOutcome): string | undefined;
}

/**
 * Relays a caller's own request: its bytes up, the answer's bytes down, usage read from a copy.
 *
 * @returns the upstream's answer, streaming if the upstream streams; its 400 and 413 word for word
 * @throws ApiError when nothing can be relayed: no answer, the deployment's key was refused, or the body was interrupted
 */
export async function relay(request: RelayRequest, options: RelayOptions): Promise<Response> {
  const { upstream, settings } = options;
  const { caller } = request;
  const { signal } = caller;
  const started = Date.now();
  const controller = new AbortController();
  const leave = () => controller.abort(callerLeft());
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  const headers = headersUp(caller.headers, upstream.apiKey, settings.FORWARD_HEADERS);
  if (request.idempotencyKey !== undefined) headers['idempotency-key'] = request.idempotencyKey;
  const simulate = upstream.simulated ? caller.headers.get('sluice-simulate') : null;
  if (simulate !== null) headers['sluice-simulate'] = simulate;

  const observed: Pick<RequestOutcome, 'status' | 'upstream_request_id'> = {
    status: undefined,
    upstream_request_id: undefined,
  };
  const course: SendProgress = { sentAt: undefined };
  /** @returns the outcome of a request if nothing of its answer was seen. */
  const unseen = (end: RequestOutcome['end'], error_type: string | undefined): RequestOutcome => ({
    ...reportOf(undefined, 0),
    ...observed,
    error_type,
    end,
    sent: course.sentAt !== undefined,
    upstream: course.upstream,
    seen: nothingSeen(Date.now() - (course.sentAt ?? Date.now())),
    ttft_ms: Date.now() - started,
  });
  let hasEnded = false;
  const finish = (report: Report, end: RequestOutcome['end'], firstByte: number) => {
    hasEnded = true;
    signal.removeEventListener('abort', leave);
    const sent = course.sentAt !== undefined;
    const { upstream: answered } = course;
    course.leave?.(end === 'cut' || end === 'silent');
    const { status, upstream_request_id } = observed;
    const ttft_ms = firstByte - started;
    return options.onEnd?.({ ...report, status, upstream_request_id, upstream: answered, sent, end, ttft_ms });
  };

  const { STREAM_IDLE_MS: idleMs, UPSTREAM_TIMEOUT_MS: timeoutMs } = settings;
  const watchdog = new IdleTimeout(controller, Math.min(idleMs, timeoutMs), timeoutMs, timedOut);
  const payment = options.payment?.(() => unseen('cut', 'upstream_unreachable')) ?? 'free';
  let streams = false;
  /** `error` as soon as the upstream has refused. Errors that are thrown later do not change it. */
  let failed: 'error' | undefined;
  try {
    const response = await send(
      upstream,
      {
        method: caller.method,
        path: request.path + queryOf(caller.url),
        headers,
        body: request.body,
        routing: request.routing,
      },
      {
        maxRetries: settings.UPSTREAM_MAX_RETRIES,
        timeoutMs,
        controller,
        isWatched: true,
        caller: caller.headers,
        course,
        payment,
        waitUntil: options.waitUntil,
      },
    );
    options.onHeaders?.(course.upstream);
    observed.status = response.status;
    observed.upstream_request_id = upstreamRequestId(response.headers);
    refuseEncoding(response);
    if (response.ok && response.body && isEventStream(response)) {
      streams = true;
      watchdog.expect(idleMs, () => interrupted(true));
      const { hasFallbacks: readsBlocks = false, readsIds = false } = request;
      const reading = { sentAt: course.sentAt ?? started, readsBlocks, readsIds };
      const state = { signal, controller, watchdog, reading, opening: course.opening };
      return await relayStream(response, response.body, state, options, finish);
    }
    if (!response.ok) failed = 'error';
    const expected = request.expectsMessage ? 'message' : 'anything';
    const read = await readAnswer(response, { idleMs, controller, course, expected, watchdog });
    const report = request.readsIds ? { ...read.report, made: idsMade(read.json) } : read.report;
    if (read.kind === 'error' || read.kind === 'nothing') failed = 'error';
    return bufferedResponse(response, read, {
      requestId: options.requestId,
      ownHeaders: (ok) => {
        finish(failed ? { ...report, seen: unseen(failed, undefined).seen } : report, failed ?? 'complete', Date.now());
        return options.ownHeaders?.({ ok });
      },
    });
  } catch (thrown) {
    const end = signal.aborted ? 'client_gone' : (failed ?? endOf(thrown));
    signal.removeEventListener('abort', leave);
    course.leave?.(end === 'cut' || end === 'silent');
    if (!hasEnded) options.onEnd?.(unseen(end, toApiError(thrown).logged));
    throw thrown;
  } finally {
    if (!streams) watchdog.stop();
  }
}

/** @returns the query of a URL, unchanged and with its question mark; empty if it has none. */
export function queryOf(url: string): string {
  const at = url.indexOf('?');
  return at < 0 ? '' : url.slice(at);
}
