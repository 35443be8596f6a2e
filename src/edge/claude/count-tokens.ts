import type { Settings } from '../config/settings.ts';
import { ApiError } from '../kit/http/errors.ts';
import { readBufferedResponse } from './buffered-response.ts';
import { UpstreamExchange } from './exchange.ts';
import { createInterruptedError, createNotApiResponseError } from './failure.ts';
import { type PlainHeaders, toUpstreamHeaders } from './headers.ts';
import { isCount } from './pricing/cost.ts';
import type { RequestBodyFactory } from './providers/provider.ts';
import { listKeyHealths, type Upstream } from './upstream.ts';
import { NoUpstreamError } from './upstreams/pool.ts';

export interface CountOptions {
  upstream: Upstream;
  settings: Settings;
  /** The model as the body names it. It decides which of several upstreams is chosen. */
  model: string;
  /** The caller's headers. `anthropic-version` and `anthropic-beta` change what is counted. */
  headers: Headers | PlainHeaders;
  /** The name of the only upstream that may be asked. */
  requiredUpstream?: string | undefined;
  /** Whether a request waits to be admitted. It waits less, and not for an upstream that has just failed to count. */
  isForAdmission?: boolean;
  /** Aborted when the count is no longer needed. */
  signal?: AbortSignal | undefined;
}

/** Milliseconds for all attempts together, to the end of the answer; and where a request waits to be admitted. */
export const COUNT_TIMEOUT_MS = 20_000;
const ADMISSION_COUNT_MS = 3_000;
/**
 * Milliseconds for which an upstream that has failed to count is not asked for an admission: at first, and at most. The time doubles
 * with each failure behind which no count has succeeded.
 */
const FIRST_UNCOUNTED_MS = 2_000;
const COUNT_FAILURE_MS = 60_000;
/** Statuses by which a gateway, or a proxy before the API, rejects a prompt. Without the path it answers another one. */
const PROMPT_REJECTION_STATUSES: ReadonlySet<number> = new Set([400, 413, 422]);

type TokenCountingTarget = Pick<CountOptions, 'upstream' | 'settings' | 'model'>;

/** @returns whether any upstream may count the tokens of a model now, for an admission */
export function canAnyUpstreamCountTokens(counting: TokenCountingTarget): boolean {
  const names = [...listKeyHealths(counting.upstream).keys()];
  return names.length === 0 || !names.every(createCountFailureCheck(counting));
}

/**
 * @returns a function that checks, by an upstream's name, whether this upstream has recently failed to count tokens for a model
 */
function createCountFailureCheck({ upstream, settings, model }: TokenCountingTarget): (name: string) => boolean {
  const healths = listKeyHealths(upstream);
  return (name) =>
    Date.now() < (healths.get(name)?.countFailures.get(getModelIdForCountFailures(model, settings))?.until ?? 0);
}

/** @returns the name by which it is remembered that a model is not counted. Models that no table has share one */
function getModelIdForCountFailures(model: string, { models }: Settings): string {
  return models.findRow(model)?.id ?? '';
}

/**
 * Counts the tokens of a prompt at the upstream.
 *
 * @param body JSON with only the members that counting accepts
 * @throws ApiError if the upstream does not count it, and when the signal is aborted
 */
export async function countTokens(body: RequestBodyFactory, counting: CountOptions): Promise<number> {
  const { upstream, settings, model, headers, requiredUpstream, isForAdmission = false, signal } = counting;
  const up = toUpstreamHeaders(new Headers(headers), upstream.apiKey, settings.FORWARD_HEADERS);
  up['content-type'] = 'application/json';
  const timeoutMs = Math.min(isForAdmission ? ADMISSION_COUNT_MS : COUNT_TIMEOUT_MS, settings.UPSTREAM_TIMEOUT_MS);
  const exchange = new UpstreamExchange({ upstream, settings, signal, timeoutMs, wholeMs: timeoutMs });
  const avoids = isForAdmission ? createCountFailureCheck(counting) : undefined;
  const routing = { model, streams: false, isQuick: true, requiredUpstream, avoids };
  let isOfPrompt = false;
  try {
    const response = await exchange.sendToUpstream(
      { method: 'POST', path: '/v1/messages/count_tokens', headers: up, body, routing },
      { payment: 'free' },
    );
    const { kind, json, refusal } = await readBufferedResponse(response, exchange, 'anything');
    const { input_tokens: tokens } = json ?? {};
    if (!refusal && isCount(tokens)) {
      listKeyHealths(upstream)
        .get(exchange.progress.upstream ?? '')
        ?.countFailures.delete(getModelIdForCountFailures(model, settings));
      return tokens;
    }
    // A rejection of this prompt does not mean that counting the next prompt fails, too, so do not count it as a failure of the
    // upstream.
    isOfPrompt =
      refusal?.kind === 'request' && (refusal.isVerbatim || PROMPT_REJECTION_STATUSES.has(refusal.forCaller.status));
    throw kind === 'interrupted' ? createInterruptedError(false) : (refusal?.forCaller ?? createNotApiResponseError());
  } catch (thrown) {
    isOfPrompt ||=
      signal?.aborted || thrown instanceof NoUpstreamError || (thrown instanceof ApiError && thrown.status === 429);
    const health = listKeyHealths(upstream).get(exchange.progress.upstream ?? '');
    if (!isOfPrompt && health) {
      const id = getModelIdForCountFailures(model, settings);
      const before = health.countFailures.get(id)?.ms ?? FIRST_UNCOUNTED_MS / 2;
      const ms = Math.min(COUNT_FAILURE_MS, before * 2);
      health.countFailures.set(id, { until: Date.now() + ms, ms });
    }
    throw thrown;
  } finally {
    exchange.closeExchange();
  }
}
