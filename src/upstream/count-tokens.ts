import { isCount } from '../pricing/cost.ts';
import type { Settings } from '../settings/settings.ts';
import { readAnswer } from './buffered-answer.ts';
import { NoUpstream } from './choice/pool.ts';
import { Exchange } from './exchange.ts';
import { interrupted, notTheApi } from './failure.ts';
import { headersUp, type PlainHeaders } from './headers.ts';
import type { UpstreamRefusal } from './judge.ts';
import type { BodyMaker } from './kinds/kind.ts';
import type { Upstream } from './upstream.ts';

/** How a count is asked for. */
export interface CountOptions {
  upstream: Upstream;
  settings: Settings;
  /** The model as the body names it. It decides which of several upstreams is chosen. */
  model: string;
  /** The caller's headers. `anthropic-version` and `anthropic-beta` change what is counted. */
  headers: Headers | PlainHeaders;
  /** The name of the only upstream that may be asked. */
  only?: string | undefined;
  /** Aborted when nobody waits for the count any more. */
  signal?: AbortSignal | undefined;
}

/** How many tokens a prompt has, or why it was not counted. */
export type Count = { tokens: number } | { tokens: null; why: Pick<UpstreamRefusal, 'kind' | 'forCaller'> };

/** Milliseconds for all tries together, to the end of the answer. */
const COUNT_TIMEOUT_MS = 20_000;

/**
 * Asks the upstream how many tokens a prompt has.
 *
 * @param body JSON with only the members that counting accepts
 * @throws ApiError while the upstream cannot be reached, or takes too long, and when the signal is aborted
 */
export async function askCount(
  body: BodyMaker,
  { upstream, settings, model, headers, only, signal }: CountOptions,
): Promise<Count> {
  const up = headersUp(new Headers(headers), upstream.apiKey, settings.FORWARD_HEADERS);
  up['content-type'] = 'application/json';
  const timeoutMs = Math.min(COUNT_TIMEOUT_MS, settings.UPSTREAM_TIMEOUT_MS);
  const exchange = new Exchange({ upstream, settings, signal, timeoutMs, wholeMs: timeoutMs });
  const routing = { model, streams: false, isQuick: true, only };
  try {
    const response = await exchange.send(
      { method: 'POST', path: '/v1/messages/count_tokens', headers: up, body, routing },
      { payment: 'free' },
    );
    const { kind, json, refusal } = await readAnswer(response, exchange, 'anything');
    if (kind === 'interrupted') throw interrupted(false);
    const { input_tokens: tokens } = json ?? {};
    if (!refusal && isCount(tokens)) return { tokens };
    return { tokens: null, why: refusal ?? { kind: 'request', forCaller: notTheApi() } };
  } catch (thrown) {
    // No upstream can count this prompt. That is the same as an upstream that refuses to count it.
    if (thrown instanceof NoUpstream) return { tokens: null, why: { kind: 'request', forCaller: thrown } };
    throw thrown;
  } finally {
    exchange.close();
  }
}

/**
 * Has the upstream count the tokens of a prompt.
 *
 * @param body JSON with only the members that counting accepts
 * @throws ApiError if the upstream does not count it
 */
export async function countTokens(body: BodyMaker, counting: CountOptions): Promise<number> {
  const count = await askCount(body, counting);
  if (count.tokens === null) throw count.why.forCaller;
  return count.tokens;
}
