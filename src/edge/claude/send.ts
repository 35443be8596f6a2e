import { pause } from '../kit/async/pause.ts';
import { isolateCounts } from '../kit/http/isolate-counts.ts';
import { classifyFailure, hasNotReachedUpstream } from './classify-failure.ts';
import { canEdgeRetryForClient } from './client-retries.ts';
import { Failover } from './failover.ts';
import { callWithHeadersTimeout, wouldProbablyFailAgain } from './failure.ts';
import { readStartOfError } from './relay/read-start.ts';
import { classifyRejectedResponse, computeRetryWaitMs } from './retry.ts';
import { canPaymentRepeatRequest, type SendUpstreamOptions, type UpstreamRequest } from './send-request.ts';
import { isStreamRejection, recordStreamRefusal, STREAM_CHANGES, shouldStreamInternally } from './stream-internally.ts';
import type { Upstream } from './upstream.ts';
import { createUpstreamRemovedError } from './upstreams/pool.ts';

/**
 * Sends a request upstream. Before the first byte of an answer, it retries transient failures.
 *
 * @returns the upstream's last response, whatever its status
 * @throws UpstreamFailure when no headers came in time, or when the network failed in every try
 * @throws the signal's reason when it is aborted
 */
export async function sendToUpstream(
  upstream: Upstream,
  request: UpstreamRequest,
  options: SendUpstreamOptions,
): Promise<Response> {
  try {
    const deadline = Date.now() + options.timeoutMs;
    const { pool } = upstream;
    const only = request.routing?.only;
    if (!pool && only !== undefined) throw createUpstreamRemovedError(only);
    if (pool) return await new Failover(pool, request, options, deadline).runUntilAnswered();
    return await sendToSingleUpstreamWithRetries(upstream, request, options, deadline);
  } catch (thrown) {
    const { signal } = options.controller;
    throw signal.aborted ? signal.reason : thrown;
  }
}

async function sendToSingleUpstreamWithRetries(
  upstream: Upstream,
  request: UpstreamRequest,
  {
    maxRetries,
    patienceMs,
    streamHeadersMs,
    controller: { signal },
    caller,
    progress,
    payment,
    createFailedOutcome,
  }: SendUpstreamOptions,
  deadline: number,
): Promise<Response> {
  const { method, path, headers, routing } = request;
  let maker = request.body;
  /** How the answer comes: as a stream, whole as the caller asked, or whole since the stream was refused. */
  let form: 'stream' | 'whole' | 'no stream' = shouldStreamInternally(upstream, request) ? 'stream' : 'whole';
  const sendOnce = () => maker?.(form === 'stream' ? STREAM_CHANGES : {}) ?? null;
  let sendable = sendOnce();
  for (let attempt = 0; ; attempt += 1) {
    const last = attempt >= maxRetries;
    let response: Response | undefined;
    let failure: unknown;
    signal.throwIfAborted();
    const sentAt = Date.now();
    const isStreamedInternally = form === 'stream';
    progress.sentAt = sentAt;
    progress.isStreamedInternally = isStreamedInternally;
    const headersMs = isStreamedInternally || routing?.streams ? streamHeadersMs : undefined;
    const body = typeof sendable === 'function' ? sendable() : sendable;
    try {
      response = await callWithHeadersTimeout(headersMs, signal, (signal) =>
        upstream.fetch(upstream.baseURL + path, { method, headers, body, redirect: 'manual', signal }),
      );
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      failure = thrown;
    }
    const elapsedMs = Date.now() - sentAt;
    progress.elapsedMs = elapsedMs;
    const isOver = last || progress.isAbandoned || wouldProbablyFailAgain(failure);
    const wait = isOver ? undefined : computeRetryWaitMs(response, attempt, patienceMs);
    const again =
      wait !== undefined &&
      Date.now() + wait < deadline &&
      canEdgeRetryForClient(caller, !hasNotReachedUpstream(response));
    if (response && !again) {
      if (response.ok && form === 'no stream') recordStreamRefusal(upstream, request);
      if (!isStreamedInternally || response.ok) return response;
      const { text, response: refused } = await readStartOfError(response);
      if (!isStreamRejection(refused, classifyFailure(refused, { text, elapsedMs }), text)) return refused;
      await refused.body?.cancel();
      // The upstream rejected the stream before the model ran, so send the caller's non-streaming body to the same upstream.
      form = 'no stream';
      sendable = sendOnce();
      continue;
    }
    const failed = response
      ? await classifyRejectedResponse(response, elapsedMs)
      : classifyFailure({ thrown: failure }, { text: '', elapsedMs });
    const { mayHaveRun: sent } = failed;
    if (!sent) progress.sentAt = undefined;
    /** Ends with this try: returns its answer, or throws its failure. */
    const finishWithLastTry = () => {
      if ('response' in failed) return failed.response;
      throw failed.forCaller;
    };
    if (!again || (sent && !(canPaymentRepeatRequest({ payment, progress }) && canEdgeRetryForClient(caller, sent))))
      return finishWithLastTry();
    const payer = sent && payment !== 'free' ? payment : undefined;
    const waitedFrom = Date.now();
    try {
      await pause(wait, signal);
    } finally {
      // A failed try is settled by how long it ran, and this time is no part of that.
      if (progress.sentAt !== undefined) progress.sentAt += Date.now() - waitedFrom;
    }
    if (progress.isAbandoned) return finishWithLastTry();
    await payer?.settleFailedAttempt(createFailedOutcome());
    progress.sentAt = undefined;
    isolateCounts.retries += 1;
    if (!payer) continue;
    try {
      maker = await payer.retry();
      sendable = sendOnce();
    } catch {
      // The failed attempt is settled, but the budget does not allow another one, so return the failure.
      return finishWithLastTry();
    }
    if ('response' in failed) await failed.response.body?.cancel();
  }
}
