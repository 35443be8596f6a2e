/** How a request ended at the upstream: what it is settled by. */

import type { SendProgress } from './send-progress.ts';
import type { StreamEnding } from './stream.ts';
import { createResponseReport, createUnobserved, type ResponseReport } from './usage/usage-report.ts';
import type { VisibleOutput } from './usage/writing-speeds.ts';

/** How an answer ended, for the ledger and the log. */
export interface RequestOutcome extends ResponseReport {
  /** The upstream's HTTP status; undefined if it sent none. */
  status: number | undefined;
  end: StreamEnding;
  /** Whether a client has stopped it. Then its end is `cut`. */
  stopped?: boolean | undefined;
  /** Whether its object died while it was still read after a stop, so that its further output was not observed. */
  unwatched?: boolean | undefined;
  upstream_request_id: string | undefined;
  /** If there are several upstreams: the name of the one that answered, or was tried last. */
  upstream?: string | undefined;
  /** The names of the upstreams that failed before that; absent if none did. */
  failed_upstreams?: readonly string[] | undefined;
  /** Whether it was sent as a stream, though the caller requested a non-streaming response. */
  streamInternally?: boolean | undefined;
  /** Whether the upstream may have worked on the request, and may bill it. */
  sent: boolean;
  /** Milliseconds from the request to the first byte of a stream, or to the end of a buffered answer. */
  ttft_ms: number;
  /**
   * Milliseconds from the first byte to the end, as the caller took them; 0 for a buffered answer. Absent if nothing has
   * arrived.
   */
  after_first_ms?: number;
  /** If nothing of the response has arrived: the maximum of tokens of its prompt, by a count. */
  prompt_tokens?: number | undefined;
  /** For an answer that did not end by itself: the output tokens that it was settled at. */
  estimated_output?: number | undefined;
  /**
   * The output that was observed as it was written; absent if a reader may have made the upstream wait, so that it seemed
   * slower than it is.
   */
  written?: VisibleOutput | undefined;
}

/** @returns the error type that is logged for an answer that ended like this, if the answer itself contained none */
export function getLogTypeOfStreamEnd(end: Exclude<StreamEnding, 'complete'>): string {
  return end === 'client_gone' ? end : `upstream_${end}`;
}

/** @returns the outcome of an attempt without a response. Times are milliseconds since 1970. */
export function createUnansweredOutcome(
  { sentAt, upstream, failedUpstreams }: SendProgress,
  now: number,
): RequestOutcome {
  return {
    ...createResponseReport(undefined, 0),
    error_type: 'upstream_unreachable',
    seen: createUnobserved(now - (sentAt ?? now)),
    status: undefined,
    sent: sentAt !== undefined,
    end: 'cut',
    upstream_request_id: undefined,
    upstream,
    ...(failedUpstreams && { failed_upstreams: failedUpstreams }),
    ttft_ms: 0,
  };
}
