import type { Settings } from '../config/settings.ts';
import { decoder, NO_BYTES } from '../kit/http/bytes.ts';
import { toApiError } from '../kit/http/errors.ts';
import { maskSecretsInBytes } from '../kit/http/secrets.ts';
import {
  type BufferedResult,
  readBufferedResponse,
  requireAnswerForCaller,
  toCallerResponse,
} from './buffered-response.ts';
import { isEventStream, rejectEncoding } from './content-type.ts';
import { UpstreamExchange } from './exchange.ts';
import { getRequestEndOfError } from './failure.ts';
import { readStreamAsWholeMessage, toHeadOfWholeResponse } from './internal-stream.ts';
import type { RequestOutcome } from './outcome.ts';
import type { RequestBodyFactory } from './providers/provider.ts';
import type { Payment } from './send-request.ts';
import { relayStream } from './stream.ts';
import type { Upstream } from './upstream.ts';
import type { UpstreamRoutingInput } from './upstreams/pool.ts';
import { findCreatedIds } from './usage/created-ids.ts';
import type { ResponseReport } from './usage/usage-report.ts';

/** An error is searched for in this many bytes of a stream. */
const ERROR_START_BYTES = 2_048;

export interface RelayRequest {
  /** The caller's own request. Its method, headers and query are sent. Its signal is aborted when the caller disconnects. */
  caller: Request;
  /** The path at the upstream, beginning with `/v1`. */
  path: string;
  /** The caller's bytes, or the text after changes that were needed. */
  body?: RequestBodyFactory | undefined;
  /** The input of the choice between several upstreams. */
  routing?: UpstreamRoutingInput | undefined;
  /** Whether only a message or an error counts as an answer. */
  expectsMessage?: boolean;
  /** Whether its answer cannot be a stream. */
  isCount?: boolean;
  /** Whether it is sent as a stream although the caller requested a non-streaming response, which is assembled from the stream. */
  streamInternally?: boolean;
  /**
   * Whether another model may take over in the middle of the answer. Then the answer's blocks are read, since they say so.
   */
  hasApiFallbacks?: boolean;
  /** Whether results of tools in its answer may repeat a secret that was sent. */
  repeatsSecrets?: boolean;
  /** Whether to read the ids of what the answer makes: its container, its thread, its files. */
  readsIds?: boolean;
  /** The caller's `idempotency-key`, in the form that is sent. */
  idempotencyKey?: string | undefined;
}

/** The options of a relay, and the functions that it calls. */
export interface RelayOptions {
  upstream: Upstream;
  settings: Settings;
  requestId: string;
  waitUntil(work: Promise<unknown>): void;
  /** Aborted when the response must end before its end. The reason is the error for the caller. */
  stop?: AbortSignal | undefined;
  /** Milliseconds to the end of the answer. Default: no limit. */
  wholeMs?: number;
  /** Pays for another attempt after an attempt that may have run. Default: the request costs nothing. */
  payment?: Payment | undefined;
  /**
   * Called when the answer is made; for a buffered answer after `onEnd`.
   *
   * @param buffered whether a buffered answer has the status of a success; undefined for a stream
   * @returns the edge's own headers for it. Default: none
   */
  ownHeaders?(buffered?: { ok: boolean }): Record<string, string>;
  /**
   * Called once when the upstream's headers have arrived. No other attempt will be made, so the request body is not needed any
   * more.
   *
   * @param upstream its name, if there are several
   */
  onHeaders?(upstream: string | undefined): void;
  /** Called when the caller has disconnected and the response is still read. `onEnd` follows when its cost is known. */
  onCallerLeft?(): void;
  /**
   * Called once with how the answer ended, even if the caller has left. It must return at once. Longer work must continue by
   * itself.
   *
   * @returns text for a comment after a complete stream, without the colon
   */
  onEnd?(outcome: RequestOutcome): string | undefined;
}

/**
 * Relays a caller's own request: its bytes are forwarded to the upstream, the response's bytes to the caller, and usage is read
 * from a copy.
 *
 * @returns the upstream's answer, streaming if the upstream streams; its 400 and 413 word for word
 * @throws ApiError when nothing can be relayed: no answer, the deployment's key was rejected, or the body was interrupted
 */
export async function relayRequest(request: RelayRequest, options: RelayOptions): Promise<Response> {
  const { upstream, settings, wholeMs, payment, onCallerLeft, stop, waitUntil } = options;
  const { signal } = request.caller;
  const exchange = new UpstreamExchange({
    upstream,
    settings,
    signal,
    ...(wholeMs !== undefined && { wholeMs }),
    drainAfterCallerLeft: payment && {
      streams: request.routing?.streams === true,
      onCallerLeft: (finished) => {
        waitUntil(finished);
        onCallerLeft?.();
      },
    },
  });
  stop?.addEventListener('abort', () => exchange.controller.abort(stop.reason), { once: true });
  const relayed = relayThroughExchange(exchange, request, options);
  try {
    return await exchange.raceWithCallerLeaving(relayed);
  } finally {
    // The caller has left and cannot read the response, so cancel its body.
    if (exchange.progress.isAbandoned) relayed.then(({ body }) => body?.cancel()).catch(() => undefined);
  }
}

async function relayThroughExchange(
  exchange: UpstreamExchange,
  request: RelayRequest,
  options: RelayOptions,
): Promise<Response> {
  const { caller } = request;
  const { signal } = caller;
  const { progress, controller, watchdog, startedAt } = exchange;
  const headers = exchange.createForwardedHeaders(caller.headers);
  if (request.idempotencyKey !== undefined) headers['idempotency-key'] = request.idempotencyKey;

  let hasEnded = false;
  const closeAndSettle = (report: ResponseReport, end: RequestOutcome['end'], firstByte: number) => {
    hasEnded = true;
    exchange.closeExchange(end);
    return options.onEnd?.(exchange.createOutcome(report, end, firstByte));
  };

  const payment = options.payment ?? 'free';
  /** `error` as soon as the upstream has rejected the request. Errors that are thrown later do not change it. */
  let failed: 'error' | undefined;
  /** The report of a buffered answer, by which it is settled even if it cannot be returned to the caller. */
  let bufferedReport: ResponseReport | undefined;
  const settleAndRespond = (
    { report, ...read }: Omit<BufferedResult, 'json'>,
    head: Pick<Response, 'status' | 'headers'>,
  ) => {
    // If this throws, the `catch` below settles the request.
    bufferedReport = report;
    requireAnswerForCaller(read);
    const billedReport = failed ? exchange.createUnusableReport(report.error_type, report) : report;
    closeAndSettle(billedReport, failed ?? 'complete', Date.now());
    // The headers contain the cost, which the settlement above has computed, so create them only now.
    const ownHeaders = options.ownHeaders?.({ ok: read.refusal === undefined });
    return toCallerResponse(head, read, options.requestId, ownHeaders);
  };
  try {
    const { body, routing, streamInternally = false } = request;
    const path = request.path + getQueryString(caller.url);
    const call = { method: caller.method, path, headers, body, routing, streamInternally };
    const response = await exchange.sendToUpstream(call, {
      caller: caller.headers,
      payment,
      waitUntil: options.waitUntil,
    });
    options.onHeaders?.(progress.upstream);
    rejectEncoding(response);
    const isStream = response.ok && !request.isCount && isEventStream(response);
    const isStreamedInternally = isStream && progress.isStreamedInternally === true;
    const { hasApiFallbacks: readsBlocks = false, readsIds = false, repeatsSecrets } = request;
    const usageReaderOptions = { sentAt: progress.sentAt ?? startedAt, readsBlocks, readsIds };
    if (isStream && response.body && !isStreamedInternally) {
      const classifyOpening = (bytes: Uint8Array) => {
        const refusal = exchange.classifyStart(response, decoder.decode(bytes.subarray(0, ERROR_START_BYTES)));
        if (!refusal) return undefined;
        failed = 'error';
        const report = exchange.createUnusableReport(refusal.forOperator);
        return settleAndRespond({ kind: 'error', body: NO_BYTES, report, refusal }, response);
      };
      const state = {
        exchange,
        signal,
        controller,
        watchdog,
        usageReaderOptions,
        opening: progress.opening,
        repeatsSecrets,
        classifyOpening,
      };
      return await relayStream(response, response.body, state, options, closeAndSettle);
    }
    if (!response.ok) failed = 'error';
    const expected = request.expectsMessage ? 'message' : 'anything';
    const read =
      isStreamedInternally && response.body
        ? await readStreamAsWholeMessage(response, response.body, exchange, usageReaderOptions)
        : await readBufferedResponse(response, exchange, expected);
    // Search the body for created ids, unless the response was streamed internally: then the report already contains them.
    const report =
      readsIds && !isStreamedInternally ? { ...read.report, createdIds: findCreatedIds(read.json) } : read.report;
    if (read.kind === 'error' || read.kind === 'nothing') failed = 'error';
    const masked = repeatsSecrets ? { ...read, body: maskSecretsInBytes(read.body) } : read;
    return settleAndRespond({ ...masked, report }, isStreamedInternally ? toHeadOfWholeResponse(response) : response);
  } catch (thrown) {
    const end = signal.aborted ? 'client_gone' : (failed ?? getRequestEndOfError(thrown));
    if (!hasEnded)
      closeAndSettle(exchange.createUnusableReport(toApiError(thrown).logged, bufferedReport), end, Date.now());
    throw thrown;
  }
}

/** @returns the query of a URL, unchanged and with its question mark; empty if it has none. */
export function getQueryString(url: string): string {
  const at = url.indexOf('?');
  return at < 0 ? '' : url.slice(at);
}
