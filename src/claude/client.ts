/** Requests of this edge's own, by the official SDK: its retries, and an account of how each ended. */
import { BaseAnthropic } from '@anthropic-ai/sdk/client';
import { APIConnectionError, APIError } from '@anthropic-ai/sdk/error';
import { ApiError, toApiError, upstreamRefusedKey } from '../errors.ts';
import type { Settings } from '../settings.ts';
import { cutError, type Outcome, parseObject, readWhole } from './relay.ts';
import { late, redirected, waitBeforeRetry } from './send.ts';
import type { Upstream } from './upstream.ts';
import { reportOf } from './usage.ts';

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

const clients = new WeakMap<Upstream, BaseAnthropic>();
/** The SDK's own timer is never the first to run out. */
const BEYOND_OURS_MS = 5_000;

function clientOf(upstream: Upstream, { UPSTREAM_MAX_RETRIES, UPSTREAM_TIMEOUT_MS }: Settings): BaseAnthropic {
  let client = clients.get(upstream);
  if (!client) {
    client = new BaseAnthropic({
      baseURL: upstream.baseURL,
      // A credential that is given keeps the SDK from looking for others in its environment.
      apiKey: upstream.apiKey,
      webhookKey: null,
      defaultHeaders: { authorization: null, 'x-api-key': upstream.apiKey, 'accept-encoding': 'identity' },
      maxRetries: UPSTREAM_MAX_RETRIES,
      timeout: UPSTREAM_TIMEOUT_MS + BEYOND_OURS_MS,
      openTelemetry: false,
      logLevel: 'off',
      fetch: async (url, init = {}) =>
        withVerdict(await upstream.fetch(String(url), { ...init, redirect: 'manual' }), init),
    });
    clients.set(upstream, client);
  }
  return client;
}

/** The SDK retries by the rule of everything else here: it does not sit out waits that are the caller's to make. */
function withVerdict(response: Response, init: { headers?: unknown }): Response {
  if (response.status < 400) return response;
  const attempt = Number(new Headers(init.headers as HeadersInit).get('x-stainless-retry-count'));
  const headers = new Headers(response.headers);
  headers.set('x-should-retry', String(waitBeforeRetry(response, attempt) !== undefined));
  return new Response(response.body, { status: response.status, headers });
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
  const timer = setTimeout(() => controller.abort(late()), settings.UPSTREAM_TIMEOUT_MS);
  try {
    const response = await clientOf(upstream, settings)
      .post('/v1/messages', {
        body,
        signal: controller.signal,
        headers: {
          'content-type': 'application/json',
          'anthropic-version': API_VERSION,
          ...(upstream.simulated && simulate !== undefined ? { 'sluice-simulate': simulate } : {}),
        },
      })
      .asResponse();
    clearTimeout(timer);
    observed.status = response.status;
    observed.upstream_request_id = response.headers.get('request-id') ?? undefined;
    const bytes = await readWhole(response, settings.STREAM_IDLE_MS, controller);
    const message = parseObject(bytes) as Record<string, unknown> | undefined;
    const report = reportOf(message, bytes.length);
    if (message && report.completed) return { outcome: ended('complete', report), message, error: undefined };
    return {
      outcome: ended('cut', { ...report, error_type: 'upstream_cut' }),
      message: undefined,
      error: cutError(false),
    };
  } catch (thrown) {
    const { aborted, reason } = controller.signal;
    const error = aborted ? toApiError(reason) : apiErrorOf(thrown);
    if (thrown instanceof APIError && thrown.status !== undefined) {
      observed.status = thrown.status;
      observed.upstream_request_id = thrown.headers?.get('request-id') ?? undefined;
    }
    const end = signal?.aborted ? 'client_gone' : (observed.status ?? 200) >= 300 ? 'error' : endOf(error);
    return {
      outcome: ended(end, { ...reportOf(undefined, 0), error_type: error.logged }),
      message: undefined,
      error,
    };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', leave);
  }
}

function endOf({ logged }: ApiError): Outcome['end'] {
  return logged === 'upstream_silent' ? 'silent' : 'cut';
}

/** @returns the upstream's refusal as a caller may see it: what is theirs to mend in its own words. */
function apiErrorOf(thrown: unknown): ApiError {
  if (thrown instanceof APIConnectionError) {
    return new ApiError('api_error', 'The upstream could not be reached. Try again in a moment.', {
      logged: `upstream_unreachable: ${thrown.cause instanceof Error ? thrown.cause.message : 'unknown'}`,
      cause: thrown,
    });
  }
  if (!(thrown instanceof APIError) || thrown.status === undefined) return toApiError(thrown);
  const { status, headers } = thrown;
  if (status === 401 || status === 402 || status === 403) return upstreamRefusedKey();
  if (status >= 300 && status < 400) return redirected();
  const words = (thrown.error as { error?: { message?: unknown } } | undefined)?.error?.message;
  const message = typeof words === 'string' ? words : `The upstream answered ${status} without an explanation.`;
  const wait = headers?.get('retry-after');
  const after = wait ? { 'retry-after': wait } : {};
  switch (status) {
    case 400:
      return new ApiError('invalid_request_error', message);
    case 404:
      return new ApiError('not_found_error', message);
    case 413:
      return new ApiError('request_too_large', message);
    case 429:
      return new ApiError('rate_limit_error', message, { headers: { ...after, 'sluice-limited-by': 'upstream' } });
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
