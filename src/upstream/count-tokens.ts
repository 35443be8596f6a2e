import { ApiError, upstreamRefusedKey } from '../http/errors.ts';
import { masked } from '../http/secrets.ts';
import { memberOf, parseObject, stringOrUndefined } from '../json/object.ts';
import type { Settings } from '../settings/settings.ts';
import { NoUpstream } from './choice/pool.ts';
import { timedOut, typeOfStatus } from './failure.ts';
import { headersUp, type PlainHeaders } from './headers.ts';
import type { BodyMaker } from './kinds/kind.ts';
import { send } from './send.ts';
import type { SendProgress } from './send-request.ts';
import type { Upstream } from './upstream.ts';

/** How a count is asked for. */
export interface CountOptions {
  upstream: Upstream;
  settings: Settings;
  /** The model as the body names it. It decides which of several upstreams is chosen. */
  model: string;
  /** The caller's headers. `anthropic-version` and `anthropic-beta` change what is counted. */
  headers: Headers | PlainHeaders;
  /** Aborted when nobody waits for the count any more. */
  signal?: AbortSignal | undefined;
}

/** The upstream's answer: how many tokens a prompt has, or why it was not counted. */
export type Count =
  | { tokens: number }
  | { tokens: null; status: number /** In the upstream's own words. */; message: string | undefined };

/** Milliseconds for all tries together, to the end of the answer. */
const COUNT_TIMEOUT_MS = 20_000;

/**
 * Asks the upstream how many tokens a prompt has.
 *
 * @param body JSON with only the members that counting accepts
 * @throws ApiError while the upstream cannot be reached, or takes too long
 * @throws the signal's reason when it is aborted
 */
export async function askCount(
  body: BodyMaker,
  { upstream, settings, model, headers, signal }: CountOptions,
): Promise<Count> {
  const up = headersUp(new Headers(headers), upstream.apiKey, settings.FORWARD_HEADERS);
  up['content-type'] = 'application/json';
  const controller = new AbortController();
  const leave = () => controller.abort(signal?.reason);
  if (signal?.aborted) leave();
  signal?.addEventListener('abort', leave, { once: true });
  const timeoutMs = Math.min(COUNT_TIMEOUT_MS, settings.UPSTREAM_TIMEOUT_MS);
  const timer = setTimeout(() => controller.abort(timedOut()), timeoutMs);
  const course: SendProgress = { sentAt: undefined };
  const routing = { model, streams: false, isQuick: true };
  try {
    const response = await send(
      upstream,
      { method: 'POST', path: '/v1/messages/count_tokens', headers: up, body, routing },
      { maxRetries: settings.UPSTREAM_MAX_RETRIES, timeoutMs, controller, isWatched: true, course, payment: 'free' },
    );
    const answer = readCount(masked(await response.text()));
    const { status } = response;
    if (!response.ok) return { tokens: null, status, message: answer.message };
    return answer.tokens === undefined ? { tokens: null, status, message: undefined } : { tokens: answer.tokens };
  } catch (thrown) {
    // No upstream can count this prompt. That is the same as an upstream that refuses to count it.
    if (thrown instanceof NoUpstream) return { tokens: null, status: thrown.status, message: thrown.message };
    throw controller.signal.aborted ? controller.signal.reason : thrown;
  } finally {
    clearTimeout(timer);
    course.leave?.(false);
    signal?.removeEventListener('abort', leave);
  }
}

/**
 * Has the upstream count the tokens of a prompt.
 *
 * @param body JSON with only the members that counting accepts
 * @throws ApiError if the upstream refuses the prompt; 503 while it cannot count
 */
export async function countTokens(body: BodyMaker, counting: CountOptions): Promise<number> {
  const count = await askCount(body, counting);
  if (count.tokens !== null) return count.tokens;
  const { status, message } = count;
  if (status === 401 || status === 402 || status === 403) throw upstreamRefusedKey(`${status} ${message ?? ''}`);
  // If the caller can correct the error, it is told in the upstream's own words.
  const type = status < 500 ? typeOfStatus(status) : undefined;
  if (type !== undefined && message !== undefined) throw new ApiError(type, message);
  throw cannotCount(status);
}

/** @returns the error for an upstream that cannot count at the moment. */
export function cannotCount(status: number): ApiError {
  return new ApiError('api_error', 'The upstream cannot count this prompt at the moment. Try again.', {
    status: 503,
    headers: { 'retry-after': '5' },
    logged: `count_failed: ${status}`,
  });
}

function readCount(text: string): { tokens?: number; message?: string } {
  // If something other than the API has answered, the body may not be JSON. Then only the status is known.
  const { input_tokens: tokens, error } = parseObject(text) ?? {};
  const message = stringOrUndefined(memberOf(error, 'message'));
  return {
    ...(typeof tokens === 'number' && Number.isSafeInteger(tokens) && tokens >= 0 && { tokens }),
    ...(message !== undefined && { message }),
  };
}
