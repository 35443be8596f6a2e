import { ApiError } from '../http/errors.ts';
import { isCount } from '../pricing/cost.ts';
import type { Settings } from '../settings/settings.ts';
import { readAnswer } from './buffered-answer.ts';
import { NoUpstream } from './choice/pool.ts';
import { Exchange } from './exchange.ts';
import { interrupted, notTheApi } from './failure.ts';
import { headersUp, type PlainHeaders } from './headers.ts';
import type { BodyMaker } from './kinds/kind.ts';
import { keyHealths, type Upstream } from './upstream.ts';

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
  /** Whether a request waits to be admitted. It waits less, and not for an upstream that has just failed to count. */
  admits?: boolean;
  /** Aborted when nobody waits for the count any more. */
  signal?: AbortSignal | undefined;
}

/** How many tokens a prompt has, or why it was not counted. */
type Count = { tokens: number } | { tokens: null; why: ApiError };

/** Milliseconds for all tries together, to the end of the answer; and where a request waits to be admitted. */
const COUNT_TIMEOUT_MS = 20_000;
const ADMISSION_COUNT_MS = 3_000;
/** Milliseconds for which an upstream that has failed to count is not asked for an admission. */
const UNCOUNTED_MS = 60_000;

/** @returns whether any upstream may count the tokens of a model now, for an admission */
export function mayCount({
  upstream,
  settings,
  model,
}: Pick<CountOptions, 'upstream' | 'settings' | 'model'>): boolean {
  const all = [...keyHealths(upstream).values()];
  return all.length === 0 || all.some((one) => !one.isUncounted(idOf(model, settings), Date.now()));
}

/**
 * Asks the upstream how many tokens a prompt has.
 *
 * @param body JSON with only the members that counting accepts
 * @throws ApiError when the signal is aborted
 */
export async function askCount(
  body: BodyMaker,
  { upstream, settings, model, headers, only, admits = false, signal }: CountOptions,
): Promise<Count> {
  const up = headersUp(new Headers(headers), upstream.apiKey, settings.FORWARD_HEADERS);
  up['content-type'] = 'application/json';
  const timeoutMs = Math.min(admits ? ADMISSION_COUNT_MS : COUNT_TIMEOUT_MS, settings.UPSTREAM_TIMEOUT_MS);
  const exchange = new Exchange({ upstream, settings, signal, timeoutMs, wholeMs: timeoutMs });
  const healths = keyHealths(upstream);
  const id = idOf(model, settings);
  const avoids = (name: string) => admits && healths.get(name)?.isUncounted(id, Date.now()) === true;
  const routing = { model, streams: false, isQuick: true, only, avoids };
  const failed = (why: ApiError): Count => {
    if (why.status !== 429) healths.get(exchange.course.upstream ?? '')?.uncounted.set(id, Date.now() + UNCOUNTED_MS);
    return { tokens: null, why };
  };
  try {
    const response = await exchange.send(
      { method: 'POST', path: '/v1/messages/count_tokens', headers: up, body, routing },
      { payment: 'free' },
    );
    const { kind, json, refusal } = await readAnswer(response, exchange, 'anything');
    if (kind === 'interrupted') return failed(interrupted(false));
    const { input_tokens: tokens } = json ?? {};
    if (!refusal && isCount(tokens)) return { tokens };
    // What the API says of a prompt says nothing of the next one.
    if (refusal?.kind === 'request' && refusal.isVerbatim) return { tokens: null, why: refusal.forCaller };
    return failed(refusal?.forCaller ?? notTheApi());
  } catch (thrown) {
    if (signal?.aborted || !(thrown instanceof ApiError)) throw thrown;
    // That no upstream can count this prompt is the same as an upstream that refuses to count it.
    return thrown instanceof NoUpstream ? { tokens: null, why: thrown } : failed(thrown);
  } finally {
    exchange.close();
  }
}

/** @returns the name by which it is remembered that a model is not counted. Models that no table has share one */
function idOf(model: string, { models }: Settings): string {
  return models.find(model)?.id ?? '';
}

/**
 * Has the upstream count the tokens of a prompt.
 *
 * @param body JSON with only the members that counting accepts
 * @throws ApiError if the upstream does not count it
 */
export async function countTokens(body: BodyMaker, counting: CountOptions): Promise<number> {
  const count = await askCount(body, counting);
  if (count.tokens === null) throw count.why;
  return count.tokens;
}
