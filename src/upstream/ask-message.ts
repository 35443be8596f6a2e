/**
 * Asks for messages that the edge itself needs, such as a classification.
 *
 * They are sent by the same `send` as a caller's own. The SDK's client could retry as well, but it would take a fifth of the
 * Worker's allowed size.
 */

import { type ApiError, toApiError } from '../http/errors.ts';
import type { Settings } from '../settings/settings.ts';
import { readAnswer } from './buffered-answer.ts';
import type { Routing } from './choice/pool.ts';
import { callerLeft, endOf, interrupted, notTheApi } from './failure.ts';
import { upstreamRequestId } from './headers.ts';
import type { BodyMaker } from './kinds/kind.ts';
import type { RequestOutcome } from './relay.ts';
import { send } from './send.ts';
import type { Payment, SendProgress } from './send-request.ts';
import type { Upstream } from './upstream.ts';
import { nothingSeen, reportOf } from './usage/usage-report.ts';

/** The `anthropic-version` of the edge's own requests. */
export const API_VERSION = '2026-10-21';

/** How a message is asked for. */
export interface MessageCall {
  upstream: Upstream;
  settings: Settings;
  /** Aborted when nobody waits for the answer any more. */
  signal?: AbortSignal | undefined;
  /** Faults that the simulator should make, as in the header `sluice-simulate`. A real upstream does not get them. */
  simulate?: string | undefined;
  /** What decides the choice between several upstreams. */
  routing?: Routing | undefined;
  /** Keeps work alive that the answer does not wait for. */
  waitUntil?: ((work: Promise<unknown>) => void) | undefined;
  /** Pays for another try after a try that may have run. Without it there is no other try. */
  payment?: ((tried: () => RequestOutcome) => Payment) | undefined;
}

/** The result of a request: either `message` or `error` is defined. `outcome` is what it is settled by. */
export interface Reply {
  outcome: RequestOutcome;
  message: Record<string, unknown> | undefined;
  error: ApiError | undefined;
}

/**
 * Asks for a message and reads it to its end. It never rejects: an error is part of the reply.
 *
 * @param body a Messages request that does not stream
 */
export async function askMessage(body: BodyMaker, call: MessageCall): Promise<Reply> {
  const { upstream, settings, signal, simulate } = call;
  const started = Date.now();
  const observed = { status: undefined as number | undefined, upstream_request_id: undefined as string | undefined };
  const course: SendProgress = { sentAt: undefined };
  const ended = (end: RequestOutcome['end'], report = reportOf(undefined, 0)): RequestOutcome => ({
    ...report,
    // A complete answer reports its usage. Any other is settled by how long it ran.
    ...(end === 'complete' ? {} : { seen: nothingSeen(Date.now() - (course.sentAt ?? Date.now())) }),
    ...observed,
    upstream: course.upstream,
    end,
    sent: course.sentAt !== undefined,
    ttft_ms: Date.now() - started,
  });
  if (signal?.aborted) return { outcome: ended('client_gone'), message: undefined, error: callerLeft() };
  const controller = new AbortController();
  const leave = () => controller.abort(callerLeft());
  signal?.addEventListener('abort', leave, { once: true });
  const headers = {
    'content-type': 'application/json',
    'anthropic-version': API_VERSION,
    'x-api-key': upstream.apiKey,
    'accept-encoding': 'identity',
    ...(upstream.simulated && simulate !== undefined ? { 'sluice-simulate': simulate } : {}),
  };
  const payment = call.payment?.(() => ended('cut', { ...reportOf(undefined, 0), error_type: 'upstream_unreachable' }));
  try {
    const response = await send(
      upstream,
      { method: 'POST', path: '/v1/messages', headers, body, routing: call.routing },
      {
        maxRetries: settings.UPSTREAM_MAX_RETRIES,
        timeoutMs: settings.UPSTREAM_TIMEOUT_MS,
        controller,
        course,
        payment,
        ...(call.waitUntil && { waitUntil: call.waitUntil }),
      },
    );
    observed.status = response.status;
    observed.upstream_request_id = upstreamRequestId(response.headers);
    const { STREAM_IDLE_MS: idleMs } = settings;
    const { kind, json, report, refusal } = await readAnswer(response, {
      idleMs,
      controller,
      course,
      expected: 'message',
    });
    if (kind === 'answer') return { outcome: ended('complete', report), message: json, error: undefined };
    if (kind === 'interrupted') throw interrupted(false);
    const error = refusal?.forCaller ?? notTheApi();
    return { outcome: ended('error', { ...report, error_type: error.logged }), message: undefined, error };
  } catch (thrown) {
    const error = toApiError(thrown);
    const refused = (observed.status ?? 0) >= 300;
    const end = signal?.aborted ? 'client_gone' : refused ? 'error' : endOf(error);
    return {
      outcome: ended(end, { ...reportOf(undefined, 0), error_type: error.logged }),
      message: undefined,
      error,
    };
  } finally {
    course.leave?.(false);
    signal?.removeEventListener('abort', leave);
  }
}
