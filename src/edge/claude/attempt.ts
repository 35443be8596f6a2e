/**
 * One attempt to send a request to one upstream: from the call to the first bytes of the response.
 *
 * Several of these attempts may belong to one `BilledAttempt` (`money/admission/`): only after an attempt that may have run is the
 * hold settled, and another one reserved.
 */

import { decoder } from '../kit/http/bytes.ts';
import { type ClassifiedFailure, classifyFailure, toMissingModelFailure } from './classify-failure.ts';
import { isBinary, isEventStream } from './content-type.ts';
import {
  callWithHeadersTimeout,
  createHeadersTimeoutError,
  createInterruptedError,
  createNotApiResponseError,
  getAbortReasonOrError,
  rejectInformationalStatus,
  wouldProbablyFailAgain,
} from './failure.ts';
import type { RequestBodyFactory, UpstreamCall } from './providers/provider.ts';
import { prependBytes, readStartOfError } from './relay/read-start.ts';
import { returnPooledBuffer, takePooledBuffer } from './relay/tee-reader.ts';
import type { SendUpstreamOptions, UpstreamRequest } from './send-request.ts';
import { isStreamRejection, recordStreamRefusal, STREAM_CHANGES, shouldStreamInternally } from './stream-internally.ts';
import type { Fetch, Upstream } from './upstream.ts';
import type { UpstreamPermit } from './upstream-permit.ts';
import { recordLastUpstream, type UpstreamRoutingInput } from './upstreams/pool.ts';

/** Milliseconds to wait for a quick response, such as a count, which arrives at once or not at all. */
const QUICK_RESPONSE_MS = 5_000;

/** An attempt that failed, and why. Its response, or the error for the caller, is returned if no other attempt succeeds. */
export interface FailedAttempt {
  /** The name of its upstream; empty for the only upstream. */
  upstream: string;
  failure: ClassifiedFailure;
  response?: Response;
  /** The first bytes of the response, if they were read. The body of a stream continues after them. */
  opening?: Uint8Array | undefined;
  /** Whether it was sent as a stream although the caller requested a non-streaming response. */
  isStreamedInternally: boolean;
  /** Whether this upstream is not tried again for the model: it would probably fail again, and each attempt may be billed. */
  isExcluded?: boolean;
  /** Whether its breaker has counted the failure already. */
  isRecorded: boolean;
  /** Whether the same upstream is tried again in this round, after the short wait that it asked for. */
  isRepeated?: boolean;
}

/** The context of an attempt. */
export interface AttemptContext {
  upstream: Upstream;
  /** The permit of an upstream of UPSTREAMS. Undefined for the only upstream. */
  permit: UpstreamPermit | undefined;
  request: UpstreamRequest;
  options: SendUpstreamOptions;
  routing: UpstreamRoutingInput;
  body: RequestBodyFactory | undefined;
  /** Whether several upstreams can serve the request. */
  isOneOfSeveral: boolean;
  /** Whether another attempt can follow this one. */
  hasOther: boolean;
}

/** One attempt. It updates the request's progress: `sentAt` is undefined after a failure if the model cannot have run. */
export class Attempt {
  readonly #context: AttemptContext;
  readonly #name: string;
  readonly #fetch: Fetch;
  readonly #isStreamedInternally: boolean;
  readonly #streams: boolean;
  /** Aborts only this attempt. With one upstream, an attempt ends only when the whole request does. */
  readonly #controller: AbortController | undefined;
  readonly #signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sentAt = Date.now();
  #hasBegun = false;
  /** Whether the breaker has counted the attempt as late. */
  #isRecorded = false;

  constructor(context: AttemptContext) {
    const { upstream, permit, request, options, routing, isOneOfSeveral } = context;
    const { signal } = options.controller;
    this.#context = context;
    this.#name = permit?.upstream.name ?? '';
    this.#fetch = permit ? permit.pool.fetchOf(permit.upstream) : upstream.fetch;
    this.#isStreamedInternally = shouldStreamInternally(upstream.pool ?? upstream, request, this.#name);
    this.#streams = routing.streams || this.#isStreamedInternally;
    this.#controller = isOneOfSeveral ? new AbortController() : undefined;
    this.#signal = this.#controller ? AbortSignal.any([signal, this.#controller.signal]) : signal;
  }

  /**
   * Sends the request.
   *
   * @returns the response, or why the attempt failed
   * @throws the reason of the request's controller when it was aborted
   */
  async run(): Promise<Response | FailedAttempt> {
    const { options, routing } = this.#context;
    options.progress.isStreamedInternally = this.#isStreamedInternally;
    if (this.#streams || routing.isQuick) this.#limitTimeToFirstBytes();
    try {
      const response = await this.#send();
      return response.status < 300 ? await this.#readOpening(response) : await this.#handleRejection(response);
    } catch (thrown) {
      if (options.controller.signal.aborted) throw thrown;
      return this.#classifyThrown(thrown);
    } finally {
      clearTimeout(this.#timer);
    }
  }

  /** Starts the timer for the first bytes. If it ends, the next upstream is tried; without one, a late response is better. */
  #limitTimeToFirstBytes(): void {
    const { permit, routing, isOneOfSeveral, hasOther } = this.#context;
    if (!permit || !isOneOfSeveral || this.#timer !== undefined) return;
    const handleLateness = () => {
      this.#isRecorded = true;
      permit.recordLateness();
      if (hasOther) this.#controller?.abort(createHeadersTimeoutError());
    };
    const { first_byte_ms: limitMs } = permit.upstream.entry;
    this.#timer = setTimeout(handleLateness, routing.isQuick ? Math.min(limitMs, QUICK_RESPONSE_MS) : limitMs);
  }

  async #send(): Promise<Response> {
    const { progress, streamHeadersMs } = this.#context.options;
    const { method, url, headers, body } = await this.#prepareCall();
    const sendable = typeof body === 'function' ? body() : (body ?? null);
    // If the caller has disconnected by now, stop before the call: nothing has been sent, so nothing is billed.
    this.#signal.throwIfAborted();
    this.#sentAt = Date.now();
    progress.sentAt = this.#sentAt;
    const response = await callWithHeadersTimeout(this.#streams ? streamHeadersMs : undefined, this.#signal, (signal) =>
      this.#fetch(url, { method, headers, body: sendable, redirect: 'manual', signal }),
    );
    progress.elapsedMs = Date.now() - this.#sentAt;
    return response;
  }

  /** Converts the request into the form of its upstream. */
  async #prepareCall(): Promise<UpstreamCall> {
    const { upstream, permit, request, options, routing, body: makeBody } = this.#context;
    const { method, path, headers } = request;
    const changes = this.#isStreamedInternally ? STREAM_CHANGES : {};
    if (!permit) return { method, url: upstream.baseURL + path, headers, body: makeBody?.(changes) };
    const { 'x-api-key': _, 'sluice-simulate': simulate, ...others } = headers;
    const own =
      permit.upstream.isSimulated && simulate !== undefined ? { ...others, 'sluice-simulate': simulate } : others;
    const body: RequestBodyFactory | undefined = makeBody && ((more) => makeBody({ ...changes, ...more }));
    const { waitUntil = () => {} } = options;
    return await permit.upstream.prepare(
      { method, path, headers: own, model: routing.model, streams: this.#streams, body },
      { signal: this.#signal, waitUntil, fetch: this.#fetch },
    );
  }

  /** Handles a success. One of several upstreams counts as working only once its first bytes have arrived. */
  async #readOpening(response: Response): Promise<Response | FailedAttempt> {
    const { permit, routing, isOneOfSeveral, options } = this.#context;
    const { progress } = options;
    this.#hasBegun = true;
    if (!permit) return response;
    rejectInformationalStatus(response);
    progress.opening = undefined;
    if (!isOneOfSeveral) {
      permit.recordAnswer();
      return response;
    }
    // The headers of a non-streaming response arrive only when it is complete, so start the timeout for the first bytes only
    // now.
    this.#limitTimeToFirstBytes();
    const { opening, answer } = await awaitFirstBytes(response);
    const text = opening && decoder.decode(opening);
    // The API answers every relayed call with text. Treat a binary response as a failure whose cost is unknown, because the
    // model may have run.
    const isUnusable = text === undefined || (!isEventStream(answer) && isBinary(text));
    const classified = isUnusable
      ? classifyFailure({ thrown: createNotApiResponseError() }, { text: '', elapsedMs: progress.elapsedMs ?? 0 })
      : classifyFailure(answer, { text, elapsedMs: 0 });
    if (classified.kind !== 'answer') return this.#fail(classified, { response: answer, opening });
    if (!this.#isRecorded) permit.recordAnswer();
    recordLastUpstream(permit.pool, routing, this.#name);
    if (isEventStream(answer)) progress.opening = opening;
    return answer;
  }

  async #handleRejection(response: Response): Promise<Response | FailedAttempt> {
    const { permit, routing, isOneOfSeveral, hasOther, options } = this.#context;
    const { elapsedMs = 0 } = options.progress;
    const byStatus = classifyFailure(response, { text: '', elapsedMs });
    // With a single upstream there is no permit and no breaker. Then read the text of the error only if it decides whether, or
    // in which form, the request is sent again.
    const needsText =
      permit || (hasOther && byStatus.mayHaveRun) || (this.#isStreamedInternally && byStatus.kind === 'request');
    const { text, response: whole } = needsText ? await readStartOfError(response) : { text: '', response };
    const failure = classifyFailure(response, { text, elapsedMs });
    if (failure.kind === 'answer') return whole;
    const { progress } = options;
    if (this.#isStreamedInternally && !progress.isAbandoned && isStreamRejection(response, failure, text)) {
      clearTimeout(this.#timer);
      // Nothing is running: a caller that leaves from now on aborts the request, instead of having it read.
      progress.sentAt = undefined;
      await whole.body?.cancel();
      return await this.#sendWithoutStream();
    }
    if (failure.kind === 'refused' || failure.kind === 'unclear') permit?.upstream.forgetCredential();
    const { model } = routing;
    // If one upstream answers 404 for the model, another upstream may still offer it.
    const mayBeElsewhere = response.status === 404 && isOneOfSeveral && model !== undefined;
    const isMissing = mayBeElsewhere && permit?.upstream.isMissingModelBody(text, model);
    return this.#fail(isMissing ? toMissingModelFailure(failure) : failure, { response: whole });
  }

  /** Sends the caller's non-streaming body: the upstream has rejected the stream before the model ran. */
  async #sendWithoutStream(): Promise<Response | FailedAttempt> {
    const { upstream, request } = this.#context;
    const whole = await new Attempt({ ...this.#context, request: { ...request, streamInternally: false } }).run();
    if (whole instanceof Response && whole.ok) recordStreamRefusal(upstream.pool ?? upstream, request, this.#name);
    return whole;
  }

  #classifyThrown(thrown: unknown): FailedAttempt {
    const elapsedMs = Date.now() - this.#sentAt;
    this.#context.options.progress.elapsedMs = elapsedMs;
    const cause = this.#controller ? getAbortReasonOrError(this.#controller.signal, thrown) : thrown;
    const failure = classifyFailure({ thrown: cause }, { text: '', elapsedMs });
    // If the response has begun or the upstream was late, it has received the request, even if the failure followed quickly.
    const mayHaveRun = failure.mayHaveRun || this.#hasBegun || this.#isRecorded;
    return this.#fail({ ...failure, mayHaveRun }, { isExcluded: wouldProbablyFailAgain(cause) });
  }

  #fail(failure: ClassifiedFailure, more: Pick<FailedAttempt, 'response' | 'opening' | 'isExcluded'>): FailedAttempt {
    if (!failure.mayHaveRun) this.#context.options.progress.sentAt = undefined;
    return {
      upstream: this.#name,
      isStreamedInternally: this.#isStreamedInternally,
      isRecorded: this.#isRecorded,
      failure,
      ...more,
    };
  }
}

/**
 * Waits for the first bytes of a response. If it breaks before them, another upstream can still answer.
 *
 * @returns the bytes, and the response. The body of a stream continues after these bytes
 * @throws UpstreamFailure if no bytes arrived
 */
async function awaitFirstBytes(response: Response): Promise<{ opening: Uint8Array | undefined; answer: Response }> {
  const { body } = response;
  if (!body) return { opening: undefined, answer: response };
  const streams = isEventStream(response);
  const reader = body.getReader({ mode: 'byob' });
  const { value, done } = await reader.read(new Uint8Array(takePooledBuffer()));
  if (done || !value || value.length === 0) throw createInterruptedError(false);
  if (streams) {
    reader.releaseLock();
    // Copy the bytes into a buffer of their own size: a slow stream would otherwise hold the large pooled buffer while it is
    // open.
    const opening = value.slice();
    returnPooledBuffer(value);
    return { opening, answer: response };
  }
  return { opening: value, answer: new Response(prependBytes(value, reader), response) };
}
