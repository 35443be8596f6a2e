/** The types of a request that is sent to an upstream: how it is sent, and how further attempts are paid for. */

import type { ClassifiedFailure } from './classify-failure.ts';
import type { RequestOutcome } from './outcome.ts';
import type { RequestBodyFactory } from './providers/provider.ts';
import type { SendProgress } from './send-progress.ts';
import type { UpstreamRoutingInput } from './upstreams/pool.ts';

/** A request as it is sent. */
export interface UpstreamRequest {
  method: string;
  /** Path and query, beginning with `/v1`. */
  path: string;
  headers: Readonly<Record<string, string>>;
  body?: RequestBodyFactory | undefined;
  /** The input of the choice between several upstreams. */
  routing?: UpstreamRoutingInput | undefined;
  /** Whether it is sent as a stream, though the caller requested a non-streaming response. */
  streamInternally?: boolean | undefined;
}

export interface SendUpstreamOptions {
  maxRetries: number;
  /** Milliseconds for all attempts together, until the headers of the last one. */
  timeoutMs: number;
  /** Milliseconds until the headers of each attempt that streams. Default: as long as all attempts together may take. */
  streamHeadersMs?: number | undefined;
  /** The longest wait before another attempt that an upstream may ask for, in milliseconds. Default: MAX_RETRY_WAIT_MS of `retry.ts`. */
  patienceMs?: number | undefined;
  /** Aborted at the timeout, or when the caller no longer waits. This also ends the reading of the body. */
  controller: AbortController;
  /** The headers of the caller, if this is the caller's own request. If the client retries by itself, the edge does not. */
  caller?: Headers | Readonly<Record<string, string>>;
  /** Updated while the request is sent, so that others know what may have run. */
  progress: SendProgress;
  /** Whether the request is sent again without its thinking if an upstream rejects that. */
  repairsThinking?: boolean;
  /**
   * Pays for another attempt after an attempt that may have run. Without it there is no other attempt. `free`: attempts cost
   * nothing.
   */
  payment?: Payment | 'free' | undefined;
  /** Creates the outcome of an attempt that failed and may have run, by which it is settled. */
  createFailedOutcome(): RequestOutcome;
  /** Keeps work alive that the answer does not wait for. Default: nothing keeps it alive. */
  waitUntil?(work: Promise<unknown>): void;
}

/** @returns whether a request may be sent again after an attempt that may have run. */
export function canPaymentRepeatRequest({
  payment,
  progress,
}: Pick<SendUpstreamOptions, 'payment' | 'progress'>): boolean {
  return payment === 'free' || payment?.canRetry(progress) === true;
}

/**
 * Pays for sending a request again after an attempt that may have run, and may be billed. `BilledRequest` (in
 * `money/admission/`) implements it: code in `claude/` does not import from `money/`.
 */
export interface Payment {
  /** @returns whether the request may be sent again although its latest attempt may have run. */
  canRetry(progress: Pick<SendProgress, 'isStreamedInternally'>): boolean;
  /** Records a rejection that is the response. */
  recordRejection?(rejection: ClassifiedFailure): void;
  /** Settles a failed attempt. */
  settleFailedAttempt(outcome: RequestOutcome): Promise<void>;
  /**
   * Reserves the maximum cost of another attempt.
   *
   * @returns the body that is sent now
   * @throws ApiError if the budget does not allow it
   */
  retry(): Promise<RequestBodyFactory>;
  /**
   * Settles the failed attempt, and reserves the maximum cost of one by the next fallback model.
   *
   * @returns `none` if there is no other model: then nothing has changed. `refused` if no other model is admitted: then there
   *   is no hold any more, and `retry` can place one for the requested model
   */
  fallBack?(outcome: RequestOutcome): Promise<{ model: string; body: RequestBodyFactory } | 'none' | 'refused'>;
}
