/** One call to the upstream, from its first attempt to the end of its response. */

import type { Settings } from '../config/settings.ts';
import { IdleTimeout } from '../kit/async/idle-timeout.ts';
import { StreamPieceReader } from '../kit/http/body/piece-reader.ts';
import { type ClassifiedFailure, classifyIfFailed } from './classify-failure.ts';
import {
  createCallerLeftError,
  createHeadersTimeoutError,
  createInterruptedError,
  rejectInformationalStatus,
} from './failure.ts';
import { getUpstreamRequestId, toUpstreamHeaders } from './headers.ts';
import type { RequestOutcome } from './outcome.ts';
import { sendToUpstream } from './send.ts';
import type { SendProgress } from './send-progress.ts';
import type { SendUpstreamOptions, UpstreamRequest } from './send-request.ts';
import type { Upstream } from './upstream.ts';
import type { KeyHealth } from './upstreams/key-health.ts';
import { createResponseReport, createUnobserved, type ResponseReport } from './usage/usage-report.ts';

/** The options of a call to the upstream. */
export interface ExchangeOptions {
  upstream: Upstream;
  settings: Settings;
  /** Aborted when the caller no longer waits for the response. */
  signal?: AbortSignal | undefined;
  /** Milliseconds for all attempts together, until the headers of the last one. Default: the setting UPSTREAM_TIMEOUT_MS. */
  timeoutMs?: number;
  /** Milliseconds to the end of the answer. Default: no limit. */
  wholeMs?: number;
  /** Set to read on for a while when the caller disconnects. Default: the call is aborted at once. */
  drainAfterCallerLeft?: DrainAfterCallerLeftOptions | undefined;
}

/** The options of a call whose response is read on when its caller disconnects, so that its cost is known. */
interface DrainAfterCallerLeftOptions {
  /** Whether its response is a stream. Other responses arrive only at their end. */
  streams: boolean;
  /**
   * Called when the caller has disconnected and the call continues. @param finished settles when the call has ended; never rejects
   */
  onCallerLeft(finished: Promise<void>): void;
}

/** The maximum of milliseconds for which a conversation's stopped turn waits for the headers of its stream, to learn its cost. */
export const ABANDONED_HEADERS_MS = 60_000;
/**
 * Milliseconds between two checks whether an abandoned stream has reported its first usage and can be aborted. Until the first check
 * it is read in any case, so that output which is in flight is observed.
 */
export const DRAIN_CHECK_MS = 250;
/**
 * The maximum of milliseconds for which `abandon` waits for the first event of a stream. After a response, the platform lets work
 * run for 30 seconds in all.
 */
const FIRST_EVENT_MS = 25_000;

/** An answer whose body has not been read, and its call, which its reader closes. */
export interface AnsweredExchange {
  response: Response;
  exchange: UpstreamExchange;
}

/** The controls of a caller that watches the upstream call with its own timer. */
export interface ExternalTimeoutControl {
  /** Aborted at the timeout, or when the caller no longer waits. */
  controller: AbortController;
  /** How far the call has gone. */
  progress: SendProgress;
}

/**
 * A call to the upstream. It owns the controller, the handling of a disconnect, the timeouts, the progress of the call, and the
 * outcome of an attempt without a response. Each call must be closed.
 */
export class UpstreamExchange {
  readonly controller: AbortController;
  readonly progress: SendProgress;
  /** When the call began; milliseconds since 1970. */
  readonly startedAt = Date.now();
  /** The HTTP status of the answer, and the upstream's name for it, as soon as its headers have arrived. */
  status: number | undefined;
  upstreamRequestId: string | undefined;
  /** Reports what has been observed so far of an answer that is read as a stream. Undefined if nothing has been observed. */
  reportSoFar: (() => ResponseReport) | undefined;
  readonly #options: ExchangeOptions;
  readonly #timeoutMs: number;
  readonly #isWatched: boolean;
  readonly #callerLeaving = Promise.withResolvers<never>();
  /** Settles when nothing is read on any more. */
  readonly #finished = Promise.withResolvers<void>();
  /** The API's own sentence in the latest rejection, if it is known. */
  #storedSentence: string | undefined;
  #drainTimer: ReturnType<typeof setInterval> | undefined;
  #payment: SendUpstreamOptions['payment'];
  #watchdog: IdleTimeout | undefined;
  #wholeTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param watch if the caller watches the call until its headers have arrived */
  constructor(options: ExchangeOptions, watch?: ExternalTimeoutControl) {
    const { signal, settings, timeoutMs = settings.UPSTREAM_TIMEOUT_MS, wholeMs } = options;
    this.#options = options;
    this.#timeoutMs = timeoutMs;
    this.#isWatched = watch !== undefined;
    this.controller = watch?.controller ?? new AbortController();
    this.progress = watch?.progress ?? { sentAt: undefined };
    this.#callerLeaving.promise.catch(() => {});
    if (signal?.aborted) void this.abandon();
    signal?.addEventListener('abort', this.abandon, { once: true });
    if (wholeMs !== undefined)
      this.#wholeTimer = setTimeout(() => this.controller.abort(createHeadersTimeoutError()), wholeMs);
  }

  /**
   * Records that the response is no longer wanted: aborts the call, or lets it be read up to its first event, or for a moment.
   * A repeated call has no effect.
   *
   * @returns a promise that settles when reading has ended. It never rejects
   */
  readonly abandon = (): Promise<void> => {
    const { drainAfterCallerLeft: drain } = this.#options;
    const { progress, controller } = this;
    const { promise: finished, resolve: end } = this.#finished;
    if (progress.isAbandoned) return finished;
    progress.isAbandoned = true;
    if (!drain || progress.sentAt === undefined || !(drain.streams || progress.isStreamedInternally)) {
      controller.abort(createCallerLeftError());
      end();
      return finished;
    }
    const since = Date.now();
    this.#drainTimer = setInterval(() => {
      // If the upstream call has ended, stop waiting. Otherwise abort it as soon as it has reported its first usage, or after
      // the limit.
      if (controller.signal.aborted) end();
      else if (this.reportSoFar?.().usage || Date.now() - since >= FIRST_EVENT_MS)
        controller.abort(createCallerLeftError());
    }, DRAIN_CHECK_MS);
    drain.onCallerLeft(finished);
    this.#callerLeaving.reject(createCallerLeftError());
    return finished;
  };

  /** Settles when the call is closed, or is read on no more after its caller has left. Never rejects. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Waits for work on the answer, but not for what is read on. @throws UpstreamFailure when the caller has left */
  async raceWithCallerLeaving<T>(work: Promise<T>): Promise<T> {
    return await Promise.race([work, this.#callerLeaving.promise]);
  }

  /** Aborts the call when nothing has happened for too long: at first, until the headers have arrived. */
  get watchdog(): IdleTimeout {
    const { STREAM_IDLE_MS: idleMs } = this.#options.settings;
    const limitMs = this.#timeoutMs;
    this.#watchdog ??= new IdleTimeout(this.controller, Math.min(idleMs, limitMs), limitMs, createHeadersTimeoutError);
    return this.#watchdog;
  }

  /** @returns the headers of a caller's own request, as they are sent. Only a simulator gets the faults that it should make */
  createForwardedHeaders(caller: Headers): Record<string, string> {
    const { upstream, settings } = this.#options;
    const headers = toUpstreamHeaders(caller, upstream.apiKey, settings.FORWARD_HEADERS);
    const simulate = upstream.isSimulated ? caller.get('sluice-simulate') : null;
    if (simulate !== null) headers['sluice-simulate'] = simulate;
    return headers;
  }

  /**
   * Sends the request up.
   *
   * @returns the upstream's last response, whatever its status from 200 on
   * @throws as `sendToUpstream` of `send.ts`, and for a status below 200
   */
  async sendToUpstream(
    request: UpstreamRequest,
    options: Partial<Omit<SendUpstreamOptions, 'controller' | 'progress'>> = {},
  ): Promise<Response> {
    const { upstream, settings } = this.#options;
    const { STREAM_HEADERS_MS } = settings;
    this.#payment = options.payment;
    if (!this.#isWatched) this.watchdog.setIdleLimit(this.#timeoutMs, createHeadersTimeoutError);
    const response = await sendToUpstream(upstream, request, {
      maxRetries: settings.UPSTREAM_MAX_RETRIES,
      timeoutMs: this.#timeoutMs,
      streamHeadersMs: STREAM_HEADERS_MS < this.#timeoutMs ? STREAM_HEADERS_MS : undefined,
      controller: this.controller,
      progress: this.progress,
      createFailedOutcome: () => this.createFailedOutcome('upstream_unreachable'),
      ...options,
    });
    this.status = response.status;
    this.upstreamRequestId = getUpstreamRequestId(response.headers);
    this.#recordRateLimits(request, response.headers);
    rejectInformationalStatus(response);
    if (!this.#isWatched) this.startBodyIdleTimeout();
    return response;
  }

  /** Records what is left of the key's rate limits. Counting tokens has separate limits. */
  #recordRateLimits({ path, routing }: UpstreamRequest, headers: Headers): void {
    if (path.split('?', 1)[0] !== '/v1/messages') return;
    const { settings } = this.#options;
    const { upstream = '' } = this.progress;
    const model = routing?.model === undefined ? undefined : settings.models.findRow(routing.model);
    this.#keyHealth?.rateLimits.recordResponse(headers, upstream, model, Date.now());
  }

  /** The health of the key of the upstream that was tried last. */
  get #keyHealth(): KeyHealth | undefined {
    const { key, pool } = this.#options.upstream;
    const { upstream } = this.progress;
    return upstream === undefined ? key : pool?.health.getKeyHealth(upstream);
  }

  /** @returns the outcome of the call. @param firstByte when its answer began; milliseconds since 1970 */
  createOutcome(report: ResponseReport, end: RequestOutcome['end'], firstByte = Date.now()): RequestOutcome {
    const { status, upstreamRequestId: upstream_request_id } = this;
    const { sentAt, upstream, failedUpstreams: failed_upstreams, isStreamedInternally } = this.progress;
    const times = { ttft_ms: firstByte - this.startedAt, after_first_ms: Date.now() - firstByte };
    const from = { status, upstream_request_id, upstream, ...(failed_upstreams && { failed_upstreams }) };
    const error_message = report.error_message ?? (report.error_type && this.#storedSentence);
    const reason = error_message ? { error_message } : {};
    return {
      ...report,
      ...reason,
      ...from,
      streamInternally: isStreamedInternally,
      sent: sentAt !== undefined,
      end,
      ...times,
    };
  }

  /** @returns the report of an answer that cannot be used. It is settled by what was seen, or by how long the call ran */
  createUnusableReport(
    error_type: string | undefined,
    report = this.reportSoFar?.() ?? createResponseReport(undefined, 0),
  ): ResponseReport {
    const now = Date.now();
    return { ...report, error_type, seen: report.seen ?? createUnobserved(now - (this.progress.sentAt ?? now)) };
  }

  /** @returns the outcome of a call that ended without an answer that can be used */
  createFailedOutcome(
    why: string | undefined,
    end: RequestOutcome['end'] = 'cut',
    report?: ResponseReport,
  ): RequestOutcome {
    return this.createOutcome(this.createUnusableReport(why, report), end);
  }

  /** Records the upstream's response in its health: the classification of a rejection, or undefined for a success. */
  recordHealth(refusal: ClassifiedFailure | undefined): void {
    this.#storedSentence = refusal?.storedSentence;
    this.#keyHealth?.recordAnswerOrRejection(refusal, Date.now());
    if (refusal && this.#payment !== 'free') this.#payment?.recordRejection?.(refusal);
  }

  /** Judges how a stream begins. @returns what it means if it is nothing but an error: then it is free, and the call aborted */
  classifyStart(head: Pick<Response, 'status' | 'headers'>, text: string): ClassifiedFailure | undefined {
    if (text === '') return undefined;
    const refusal = classifyIfFailed(head, text);
    this.recordHealth(refusal);
    if (!refusal) return undefined;
    this.progress.sentAt = undefined;
    this.controller.abort(refusal.forCaller);
    return refusal;
  }

  /** Watches the silences of the body from now on. */
  startBodyIdleTimeout(): void {
    this.watchdog.setIdleLimit(this.#options.settings.STREAM_IDLE_MS, () => createInterruptedError(true));
  }

  /** Yields a body as it arrives. Only the upstream's silence counts, not the time of the work on a piece. */
  async *readPieces({ body }: Response): AsyncGenerator<Uint8Array, void> {
    if (!body) return;
    const reader = new StreamPieceReader(body);
    this.startBodyIdleTimeout();
    try {
      for (let piece = await reader.read(); piece; piece = await reader.read()) {
        this.watchdog.pauseUntilTouched();
        yield piece;
        this.watchdog.restartIdleTime();
      }
    } finally {
      // Cancelling a stream that has ended or broken rejects. Ignore that rejection: nobody reads the stream any more.
      reader.cancel().catch(() => undefined);
    }
  }

  /** Ends the call. A repeated call has no effect. */
  closeExchange(end: RequestOutcome['end'] = 'complete'): void {
    this.#options.signal?.removeEventListener('abort', this.abandon);
    clearInterval(this.#drainTimer);
    this.#finished.resolve();
    this.#watchdog?.stopWatching();
    clearTimeout(this.#wholeTimer);
    this.progress.recordResponseEnd?.(end === 'cut' || end === 'silent');
  }
}
