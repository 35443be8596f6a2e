/** One try at one of several upstreams: from the call to the first bytes of its answer. */

import { decoder } from '../kit/http/bytes.ts';
import {
  type ClassifiedFailure,
  type ClassifiedResponse,
  classifyFailure,
  toMissingModelFailure,
} from './classify-failure.ts';
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
import type { ConfiguredUpstream } from './providers/entry.ts';
import type { RequestBodyFactory } from './providers/provider.ts';
import { prependBytes, readStartOfError } from './relay/read-start.ts';
import { returnPooledBuffer, takePooledBuffer } from './relay/tee-reader.ts';
import type { SendUpstreamOptions, UpstreamRequest } from './send-request.ts';
import { isStreamRejection, recordStreamRefusal, STREAM_CHANGES, shouldStreamInternally } from './stream-internally.ts';
import type { BreakerPermit } from './upstreams/breaker.ts';
import type { UpstreamChoice } from './upstreams/order.ts';
import { recordLastUpstream, type UpstreamPool, type UpstreamRoutingInput } from './upstreams/pool.ts';

/** Milliseconds to wait for a quick answer, such as a count: it comes at once, or not at all. */
const QUICK_RESPONSE_MS = 5_000;

/** A failed try. Its response, or the error for the caller, is the answer if no other try succeeds. */
export interface FailedAttempt {
  failure: ClassifiedFailure;
  response?: Response;
  opening?: Uint8Array;
  /** Whether its breaker has noted the failure already. */
  isNoted?: boolean;
  /** Whether this upstream is not tried again for the request. */
  isExcluded?: boolean;
  /** Whether it was sent as a stream, though the caller requested a non-streaming response; and its upstream. */
  isStreamedInternally?: boolean | undefined;
  upstream?: string | undefined;
}

/** What a try needs. */
export interface AttemptContext {
  pool: UpstreamPool;
  request: UpstreamRequest;
  options: SendUpstreamOptions;
  routing: UpstreamRoutingInput;
  body: RequestBodyFactory | undefined;
  /** Whether several upstreams can take the request. */
  isOneOfSeveral: boolean;
  /** Whether another try can follow this one. */
  hasOther: boolean;
}

/**
 * Tries one upstream.
 *
 * @param permit the breaker's permission for this try
 * @returns the answer, or how the try has failed
 * @throws the reason of the controller when it was aborted
 */
export async function tryUpstreamOnce(
  choice: UpstreamChoice,
  permit: BreakerPermit,
  context: AttemptContext,
): Promise<Response | FailedAttempt> {
  const { upstream, breaker } = choice;
  const { pool, options, routing, isOneOfSeveral, hasOther } = context;
  const { controller, progress, streamHeadersMs, waitUntil = () => {} } = options;
  const isStreamedInternally = shouldStreamInternally(pool, context.request, upstream.name);
  progress.isStreamedInternally = isStreamedInternally;
  // With only one upstream, an attempt ends only when the whole request does, so it needs no controller of its own.
  const own = isOneOfSeveral ? new AbortController() : undefined;
  const signal = own ? AbortSignal.any([controller.signal, own.signal]) : controller.signal;
  const { isQuick = false } = routing;
  const streams = routing.streams || isStreamedInternally;
  const limit = isQuick ? Math.min(upstream.entry.first_byte_ms, QUICK_RESPONSE_MS) : upstream.entry.first_byte_ms;
  let isNoted = false;
  /** The time is up: the next upstream is tried, if there is one. If not, a late answer is better than none. */
  const handleLateHeaders = () => {
    isNoted = true;
    breaker.recordFailure(permit, Date.now());
    if (hasOther) own?.abort(createHeadersTimeoutError());
  };
  let timer = isOneOfSeveral && (streams || isQuick) ? setTimeout(handleLateHeaders, limit) : undefined;
  let sentAt = Date.now();
  let hasBegun = false;
  try {
    const fetchIt = pool.fetchOf(upstream);
    const call = await upstream.prepare(createClaudeApiCall(upstream, context, isStreamedInternally), {
      signal,
      waitUntil,
      fetch: fetchIt,
    });
    const { method, url, headers } = call;
    const body = typeof call.body === 'function' ? call.body() : (call.body ?? null);
    // Nothing was sent for a caller who has left by now, so nothing is billed.
    signal.throwIfAborted();
    sentAt = Date.now();
    progress.sentAt = sentAt;
    const response = await callWithHeadersTimeout(streams ? streamHeadersMs : undefined, signal, (signal) =>
      fetchIt(url, { method, headers, body, redirect: 'manual', signal }),
    );
    progress.elapsedMs = Date.now() - sentAt;
    if (response.status >= 300) {
      const refused = await classifyRejection(response, upstream, context);
      if (refused === 'takes no stream') {
        // The upstream rejected the stream before the model ran, so send the caller's non-streaming body to the same upstream.
        clearTimeout(timer);
        timer = undefined;
        const whole = await tryUpstreamOnce(choice, permit, {
          ...context,
          request: { ...context.request, streamInternally: false },
        });
        if (whole instanceof Response && whole.ok) recordStreamRefusal(pool, context.request, upstream.name);
        return whole;
      }
      return refused instanceof Response ? refused : { ...refused, isNoted };
    }
    hasBegun = true;
    rejectInformationalStatus(response);
    // A non-streaming response sends its headers when it is complete, so the timeout for its first bytes starts only here.
    if (isOneOfSeveral && !timer) timer = setTimeout(handleLateHeaders, limit);
    const { opening, answer } = isOneOfSeveral
      ? await awaitFirstBytes(response)
      : { opening: undefined, answer: response };
    const judged = isOneOfSeveral ? classifyOpening(answer, opening, progress.elapsedMs) : undefined;
    if (judged && judged.kind !== 'answer') {
      // The upstream responded with an error or a web page instead of a message, so the model has not run and nothing is
      // billed.
      if (!judged.mayHaveRun) progress.sentAt = undefined;
      return { failure: judged, response: answer, isNoted, ...(opening && { opening }) };
    }
    if (!isNoted) breaker.recordSuccess(permit, Date.now());
    if (isOneOfSeveral) recordLastUpstream(pool, routing, upstream.name);
    progress.opening = isEventStream(answer) ? opening : undefined;
    return answer;
  } catch (thrown) {
    if (controller.signal.aborted) throw thrown;
    const elapsedMs = Date.now() - sentAt;
    progress.elapsedMs = elapsedMs;
    // If the response has begun or the upstream was late, it has received the request, even if the failure followed quickly.
    const isThere = hasBegun || isNoted;
    const cause = own ? getAbortReasonOrError(own.signal, thrown) : thrown;
    const judged = classifyFailure({ thrown: cause }, { text: '', elapsedMs });
    if (!isThere && !judged.mayHaveRun) progress.sentAt = undefined;
    return { failure: judged, isNoted, isExcluded: wouldProbablyFailAgain(cause) };
  } finally {
    if (timer !== undefined) clearTimeout(timer);
  }
}

function createClaudeApiCall(
  upstream: ConfiguredUpstream,
  { request, routing, body: makeBody }: AttemptContext,
  isStreamedInternally: boolean,
) {
  const { method, path, headers } = request;
  const { model } = routing;
  const streams = routing.streams || isStreamedInternally;
  const body: RequestBodyFactory | undefined =
    isStreamedInternally && makeBody ? (changes) => makeBody({ ...STREAM_CHANGES, ...changes }) : makeBody;
  const { 'x-api-key': _, 'sluice-simulate': simulate, ...others } = headers;
  const own = upstream.isSimulated && simulate !== undefined ? { ...others, 'sluice-simulate': simulate } : others;
  return { method, path, headers: own, model, streams, body };
}

/**
 * Judges an error of the upstream.
 *
 * @returns that the upstream takes no stream; otherwise how the try has failed
 */
async function classifyRejection(
  response: Response,
  upstream: ConfiguredUpstream,
  context: AttemptContext,
): Promise<Response | FailedAttempt | 'takes no stream'> {
  const { progress } = context.options;
  const { model } = context.routing;
  const { text, response: whole } = await readStartOfError(response);
  const judged = classifyFailure(response, { text, elapsedMs: progress.elapsedMs ?? 0 });
  if (progress.isStreamedInternally === true && isStreamRejection(response, judged, text)) {
    await whole.body?.cancel();
    return 'takes no stream';
  }
  // With a 404 for the model, another upstream may still offer it.
  const othersMayHaveIt = response.status === 404 && context.isOneOfSeveral && model !== undefined;
  const isMissed = othersMayHaveIt && upstream.isMissingModelBody(text, model);
  if (judged.kind === 'answer') return whole;
  if (!judged.mayHaveRun) progress.sentAt = undefined;
  if (judged.kind === 'refused' || judged.kind === 'unclear') upstream.forgetCredential();
  return { failure: isMissed ? toMissingModelFailure(judged) : judged, response: whole };
}

/**
 * Waits for the first bytes of an answer. If it breaks before them, another upstream can still answer.
 *
 * @returns the bytes, and the answer. The body of a stream goes on after these bytes
 * @throws UpstreamFailure if no bytes came
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

function classifyOpening(answer: Response, opening: Uint8Array | undefined, elapsedMs: number): ClassifiedResponse {
  // Every relayed call expects a body that is text, so any other response is not as the API sends it. The model may have run.
  if (!opening || (!isEventStream(answer) && isBinary(decoder.decode(opening))))
    return classifyFailure({ thrown: createNotApiResponseError() }, { text: '', elapsedMs });
  return classifyFailure(answer, { text: decoder.decode(opening), elapsedMs: 0 });
}
