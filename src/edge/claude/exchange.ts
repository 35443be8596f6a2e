/** One call of the upstream, from its first try to the end of its answer. */

import type { Settings } from '../config/settings.ts';
import { IdleTimeout } from '../kit/async/idle-timeout.ts';
import { PieceReader } from '../kit/http/body/piece-reader.ts';
import { refusalIn, type UpstreamRefusal } from './classify-failure.ts';
import { callerLeft, interrupted, refuseProvisional, timedOut } from './failure.ts';
import { headersUp, upstreamRequestId } from './headers.ts';
import type { RequestOutcome } from './outcome.ts';
import { send } from './send.ts';
import type { SendOptions, SendProgress, SendRequest } from './send-request.ts';
import type { Upstream } from './upstream.ts';
import { nothingSeen, type Report, reportOf } from './usage/usage-report.ts';

/** What a call of the upstream needs. */
export interface ExchangeOptions {
  upstream: Upstream;
  settings: Settings;
  /** Aborted when nobody waits for the answer any more. */
  signal?: AbortSignal | undefined;
  /** Milliseconds for all tries together, until the headers of the last one. Default: the setting UPSTREAM_TIMEOUT_MS. */
  timeoutMs?: number;
  /** Milliseconds to the end of the answer. Default: as long as it goes on. */
  wholeMs?: number;
  /** Has the call read on when its caller leaves. Default: it is aborted at once. */
  readsOn?: ReadingOn | undefined;
}

/** A call that is read on when its caller leaves, so that what it has cost is seen. */
interface ReadingOn {
  /** Whether its answer comes as a stream: others come only at their end. */
  streams: boolean;
  /** Called when the caller has left and the call goes on. @param over settles when it does not any more; never rejects */
  onLeft(over: Promise<void>): void;
}

/** The most milliseconds to wait for the headers of a stream that nobody wants any more, to learn what it costs. */
export const UNWANTED_HEADERS_MS = 60_000;
/** Milliseconds for which a stream is read on that nobody wants any more: what was on its way until then is seen. */
export const READ_ON_MS = 250;
/** The most milliseconds that its first event is waited for: what runs behind an answer may take 30 seconds in all. */
const FIRST_EVENT_MS = 25_000;

/** An answer whose body has not been read, and its call, which its reader closes. */
export interface AnsweredCall {
  response: Response;
  exchange: Exchange;
}

/** What somebody has who watches a call by a timer of his own. */
export interface OwnWatch {
  /** Aborted when the time is up, or nobody waits any more. */
  controller: AbortController;
  /** How far the call has gone. */
  progress: SendProgress;
}

/**
 * A call of the upstream. It owns what every call has: the controller, the leaving of the caller, the time that may pass, how
 * far the call has gone, and the outcome of a try that nobody answered. Each call must be closed.
 */
export class Exchange {
  readonly controller: AbortController;
  readonly course: SendProgress;
  /** When the call began; milliseconds since 1970. */
  readonly startedAt = Date.now();
  /** The HTTP status of the answer, and the upstream's name for it, as soon as its headers have come. */
  status: number | undefined;
  upstreamRequestId: string | undefined;
  /** Tells what has been seen of an answer that is read as a stream. Without it, nothing has been seen. */
  seen: (() => Report) | undefined;
  readonly #options: ExchangeOptions;
  readonly #timeoutMs: number;
  readonly #isWatched: boolean;
  readonly #left = Promise.withResolvers<never>();
  /** Settles when nothing is read on any more. */
  readonly #over = Promise.withResolvers<void>();
  #readingOn: ReturnType<typeof setInterval> | undefined;
  #payment: SendOptions['payment'];
  #watchdog: IdleTimeout | undefined;
  #wholeTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param own if somebody else watches the call until its headers have come */
  constructor(options: ExchangeOptions, own?: OwnWatch) {
    const { signal, settings, timeoutMs = settings.UPSTREAM_TIMEOUT_MS, wholeMs } = options;
    this.#options = options;
    this.#timeoutMs = timeoutMs;
    this.#isWatched = own !== undefined;
    this.controller = own?.controller ?? new AbortController();
    this.course = own?.progress ?? { sentAt: undefined };
    this.#left.promise.catch(() => {});
    if (signal?.aborted) void this.leave();
    signal?.addEventListener('abort', this.leave, { once: true });
    if (wholeMs !== undefined) this.#wholeTimer = setTimeout(() => this.controller.abort(timedOut()), wholeMs);
  }

  /**
   * Notes that nobody wants the answer any more: aborts the call, or has it read on to its first event, or for a moment. More
   * than one call does no harm.
   *
   * @returns a promise that settles when nothing is read on any more. It never rejects
   */
  readonly leave = (): Promise<void> => {
    const { readsOn } = this.#options;
    const { course, controller } = this;
    const { promise: over, resolve: end } = this.#over;
    if (course.isAbandoned) return over;
    course.isAbandoned = true;
    if (!readsOn || course.sentAt === undefined || !(readsOn.streams || course.rides)) {
      controller.abort(callerLeft());
      end();
      return over;
    }
    const since = Date.now();
    this.#readingOn = setInterval(() => {
      // What has come until the end is still read.
      if (controller.signal.aborted) end();
      else if (this.seen?.().usage || Date.now() - since >= FIRST_EVENT_MS) controller.abort(callerLeft());
    }, READ_ON_MS);
    readsOn.onLeft(over);
    this.#left.reject(callerLeft());
    return over;
  };

  /** Settles when the call is closed, or is read on no more after its caller has left. Never rejects. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** Waits for work on the answer, but not for what is read on. @throws UpstreamFailure when the caller has left */
  async unlessLeft<T>(work: Promise<T>): Promise<T> {
    return await Promise.race([work, this.#left.promise]);
  }

  /** Aborts the call when nothing has happened for too long: at first, until the headers have come. */
  get watchdog(): IdleTimeout {
    const { STREAM_IDLE_MS: idleMs } = this.#options.settings;
    const limitMs = this.#timeoutMs;
    this.#watchdog ??= new IdleTimeout(this.controller, Math.min(idleMs, limitMs), limitMs, timedOut);
    return this.#watchdog;
  }

  /** @returns the headers of a caller's own request, as they go up. Only a simulator gets the faults that it should make */
  headersOf(caller: Headers): Record<string, string> {
    const { upstream, settings } = this.#options;
    const headers = headersUp(caller, upstream.apiKey, settings.FORWARD_HEADERS);
    const simulate = upstream.simulated ? caller.get('sluice-simulate') : null;
    if (simulate !== null) headers['sluice-simulate'] = simulate;
    return headers;
  }

  /**
   * Sends the request up.
   *
   * @returns the upstream's last response, whatever its status from 200 on
   * @throws as `send`, and for a status below 200
   */
  async send(request: SendRequest, how: Partial<Omit<SendOptions, 'controller' | 'course'>> = {}): Promise<Response> {
    const { upstream, settings } = this.#options;
    const { STREAM_HEADERS_MS } = settings;
    this.#payment = how.payment;
    if (!this.#isWatched) this.watchdog.expect(this.#timeoutMs, timedOut);
    const response = await send(upstream, request, {
      maxRetries: settings.UPSTREAM_MAX_RETRIES,
      timeoutMs: this.#timeoutMs,
      streamHeadersMs: STREAM_HEADERS_MS < this.#timeoutMs ? STREAM_HEADERS_MS : undefined,
      controller: this.controller,
      course: this.course,
      ...how,
    });
    this.status = response.status;
    this.upstreamRequestId = upstreamRequestId(response.headers);
    refuseProvisional(response);
    if (!this.#isWatched) this.expectBody();
    return response;
  }

  /** @returns the outcome of the call. @param firstByte when its answer began; milliseconds since 1970 */
  outcome(report: Report, end: RequestOutcome['end'], firstByte = Date.now()): RequestOutcome {
    const { status, upstreamRequestId: upstream_request_id } = this;
    const { sentAt, upstream, failedUpstreams: failed_upstreams, rides } = this.course;
    const times = { ttft_ms: firstByte - this.startedAt, after_first_ms: Date.now() - firstByte };
    const from = { status, upstream_request_id, upstream, ...(failed_upstreams && { failed_upstreams }) };
    return { ...report, ...from, streamInternally: rides, sent: sentAt !== undefined, end, ...times };
  }

  /** @returns the report of an answer that cannot be used. It is settled by what was seen, or by how long the call ran */
  unusable(error_type: string | undefined, report = this.seen?.() ?? reportOf(undefined, 0)): Report {
    const now = Date.now();
    return { ...report, error_type, seen: report.seen ?? nothingSeen(now - (this.course.sentAt ?? now)) };
  }

  /** @returns the outcome of a call that ended without an answer that can be used */
  failed(why: string | undefined, end: RequestOutcome['end'] = 'cut', report?: Report): RequestOutcome {
    return this.outcome(this.unusable(why, report), end);
  }

  /** Notes how the upstream has answered: what a refusal means, or undefined for an answer. */
  judged(refusal: UpstreamRefusal | undefined): void {
    const { key, pool } = this.#options.upstream;
    const { upstream } = this.course;
    (upstream === undefined ? key : pool?.health.key(upstream))?.note(refusal, Date.now());
    if (refusal && this.#payment !== 'free') this.#payment?.refused?.(refusal);
  }

  /** Judges how a stream begins. @returns what it means if it is nothing but an error: then it is free, and the call aborted */
  refusedIn(head: Pick<Response, 'status' | 'headers'>, text: string): UpstreamRefusal | undefined {
    if (text === '') return undefined;
    const refusal = refusalIn(head, text);
    this.judged(refusal);
    if (!refusal) return undefined;
    this.course.sentAt = undefined;
    this.controller.abort(refusal.forCaller);
    return refusal;
  }

  /** Watches the silences of the body from now on. */
  expectBody(): void {
    this.watchdog.expect(this.#options.settings.STREAM_IDLE_MS, () => interrupted(true));
  }

  /** Yields a body as it comes. Only the upstream's silence counts, not the time of the work on a piece. */
  async *pieces({ body }: Response): AsyncGenerator<Uint8Array, void> {
    if (!body) return;
    const reader = new PieceReader(body);
    this.expectBody();
    try {
      for (let piece = await reader.read(); piece; piece = await reader.read()) {
        this.watchdog.pause();
        yield piece;
        this.watchdog.touch();
      }
    } finally {
      // A stream that has ended or broken cannot be cancelled.
      reader.cancel().catch(() => undefined);
    }
  }

  /** Ends the call. More than one call does no harm. */
  close(end: RequestOutcome['end'] = 'complete'): void {
    this.#options.signal?.removeEventListener('abort', this.leave);
    clearInterval(this.#readingOn);
    this.#over.resolve();
    this.#watchdog?.stop();
    clearTimeout(this.#wholeTimer);
    this.course.leave?.(end === 'cut' || end === 'silent');
  }
}
