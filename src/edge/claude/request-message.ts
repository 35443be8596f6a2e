/**
 * Sends the edge's own requests, such as a classification.
 *
 * They are sent by the same exchange as a caller's own. The SDK's client could retry as well, but it would take a fifth of the
 * Worker's allowed size.
 */

import { type ApiError, toApiError } from '../kit/http/errors.ts';
import { readBufferedResponse } from './buffered-response.ts';
import { rejectEncoding } from './content-type.ts';
import { type ExchangeOptions, UpstreamExchange } from './exchange.ts';
import { createInterruptedError, createNotApiResponseError, getRequestEndOfError } from './failure.ts';
import type { RequestOutcome } from './outcome.ts';
import type { RequestBodyFactory } from './providers/provider.ts';
import type { Payment, SendUpstreamOptions, UpstreamRequest } from './send-request.ts';
import type { ResponseReport } from './usage/usage-report.ts';

/** The `anthropic-version` of the edge's own requests. */
export const API_VERSION = '2026-10-21';

export interface RequestMessageOptions
  extends Pick<ExchangeOptions, 'upstream' | 'settings' | 'signal'>,
    Pick<UpstreamRequest, 'routing'>,
    Pick<SendUpstreamOptions, 'waitUntil'> {
  /** Faults that the simulator should make, as in the header `sluice-simulate`. A real upstream does not get them. */
  simulate?: string | undefined;
  /** Pays for another attempt after an attempt that may have run. Without it there is no other attempt. */
  payment?: Payment | undefined;
}

/** The result of a request: either `message` or `error` is defined. `outcome` is what it is settled by. */
export interface RequestMessageResult {
  outcome: RequestOutcome;
  message: Record<string, unknown> | undefined;
  error: ApiError | undefined;
}

/**
 * Requests a message and reads it to its end. It never rejects: an error is part of the reply.
 *
 * @param body a Messages request that does not stream
 */
export async function requestWholeMessage(
  body: RequestBodyFactory,
  call: RequestMessageOptions,
): Promise<RequestMessageResult> {
  const { upstream, settings, signal, simulate } = call;
  const exchange = new UpstreamExchange({ upstream, settings, signal });
  const headers = {
    'content-type': 'application/json',
    'anthropic-version': API_VERSION,
    'x-api-key': upstream.apiKey,
    'accept-encoding': 'identity',
    ...(upstream.isSimulated && simulate !== undefined ? { 'sluice-simulate': simulate } : {}),
  };
  const createFailure = (
    end: RequestOutcome['end'],
    error: ApiError,
    report?: ResponseReport,
  ): RequestMessageResult => {
    return { outcome: exchange.createFailedOutcome(error.logged, end, report), message: undefined, error };
  };
  try {
    const { waitUntil } = call;
    const response = await exchange.sendToUpstream(
      { method: 'POST', path: '/v1/messages', headers, body, routing: call.routing },
      {
        payment: call.payment,
        ...(waitUntil && { waitUntil }),
      },
    );
    rejectEncoding(response);
    const { kind, json, report, refusal } = await readBufferedResponse(response, exchange, 'message');
    if (kind === 'answer')
      return { outcome: exchange.createOutcome(report, 'complete'), message: json, error: undefined };
    if (kind === 'interrupted') throw createInterruptedError(false);
    return createFailure('error', refusal?.forCaller ?? createNotApiResponseError(), report);
  } catch (thrown) {
    const error = toApiError(thrown);
    const isRefused = (exchange.status ?? 0) >= 300;
    return createFailure(signal?.aborted ? 'client_gone' : isRefused ? 'error' : getRequestEndOfError(error), error);
  } finally {
    exchange.closeExchange();
  }
}
