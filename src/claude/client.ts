/**
 * Messages that this edge asks for by itself, and an account of how each ended.
 *
 * They are sent as everything else is. The SDK's client, which would retry as well, is a fifth of what may be deployed.
 */
import { ApiError, toApiError, upstreamRefusedKey } from '../errors.ts';
import type { Settings } from '../settings.ts';
import { cutError } from './cut.ts';
import type { Outcome } from './relay.ts';
import { redirected, send } from './send.ts';
import type { Upstream } from './upstream.ts';
import { upstreamLimited } from './upstream-limit.ts';
import { reportOf } from './usage.ts';
import { parseObject, readWhole } from './whole.ts';

/** The version of the API whose form the requests have. */
export const API_VERSION = '2026-10-21';

export interface MessageCall {
  upstream: Upstream;
  settings: Settings;
  /** Aborted when nobody waits for the answer any more. */
  signal?: AbortSignal | undefined;
  /** Faults that are asked of the simulator; anybody else never sees them. */
  simulate?: string | undefined;
}

/** What became of a request: a message, or why there is none; and how it is to be settled. */
export interface Reply {
  outcome: Outcome;
  message: Record<string, unknown> | undefined;
  error: ApiError | undefined;
}

/**
 * Asks for a message and reads it whole. Never rejects: whatever happens is in the reply.
 *
 * @param body a Messages request that does not stream
 */
export async function askMessage(body: Uint8Array, call: MessageCall): Promise<Reply> {
  const { upstream, settings, signal, simulate } = call;
  const started = Date.now();
  const observed = { status: undefined as number | undefined, upstream_request_id: undefined as string | undefined };
  const ended = (end: Outcome['end'], report = reportOf(undefined, 0), sent = true): Outcome => ({
    ...report,
    ...observed,
    end,
    sent,
    ttft_ms: Date.now() - started,
  });
  if (signal?.aborted) return { outcome: ended('client_gone', undefined, false), message: undefined, error: gone() };
  const controller = new AbortController();
  const leave = () => controller.abort(gone());
  signal?.addEventListener('abort', leave, { once: true });
  const headers = new Headers({
    'content-type': 'application/json',
    'anthropic-version': API_VERSION,
    'x-api-key': upstream.apiKey,
    'accept-encoding': 'identity',
    ...(upstream.simulated && simulate !== undefined ? { 'sluice-simulate': simulate } : {}),
  });
  try {
    const response = await send(
      upstream,
      { method: 'POST', path: '/v1/messages', headers, body },
      { maxRetries: settings.UPSTREAM_MAX_RETRIES, timeoutMs: settings.UPSTREAM_TIMEOUT_MS, controller },
    );
    observed.status = response.status;
    observed.upstream_request_id = response.headers.get('request-id') ?? undefined;
    const bytes = await readWhole(response, settings.STREAM_IDLE_MS, controller);
    const message = parseObject(bytes) as Record<string, unknown> | undefined;
    const report = reportOf(message, bytes.length);
    if (!response.ok) {
      const error = refusalOf(response, message);
      return { outcome: ended('error', { ...report, error_type: error.logged }), message: undefined, error };
    }
    if (message && report.completed) return { outcome: ended('complete', report), message, error: undefined };
    return {
      outcome: ended('cut', { ...report, error_type: 'upstream_cut' }),
      message: undefined,
      error: cutError(false),
    };
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
    signal?.removeEventListener('abort', leave);
  }
}

function endOf({ logged }: ApiError): Outcome['end'] {
  return logged === 'upstream_silent' ? 'silent' : 'cut';
}

/** @returns the upstream's refusal as a caller may see it: what is theirs to mend in its own words. */
function refusalOf({ status, headers }: Response, body: Record<string, unknown> | undefined): ApiError {
  if (status === 401 || status === 402 || status === 403) return upstreamRefusedKey();
  if (status >= 300 && status < 400) return redirected();
  const words = (body?.error as { message?: unknown } | undefined)?.message;
  const message = typeof words === 'string' ? words : `The upstream answered ${status} without an explanation.`;
  const wait = headers.get('retry-after');
  const after = wait ? { 'retry-after': wait } : {};
  switch (status) {
    case 400:
      return new ApiError('invalid_request_error', message);
    case 404:
      return new ApiError('not_found_error', message);
    case 413:
      return new ApiError('request_too_large', message);
    case 429:
      return upstreamLimited(headers);
    case 504:
      return new ApiError('timeout_error', message, { headers: after });
    case 529:
      return new ApiError('overloaded_error', message, { headers: after });
    default:
      return new ApiError('api_error', message, { headers: after, logged: `upstream_${status}` });
  }
}

function gone(): ApiError {
  return new ApiError('api_error', 'The caller left before the answer ended.', { logged: 'client_gone' });
}
