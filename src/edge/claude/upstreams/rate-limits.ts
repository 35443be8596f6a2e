/** Reads what an upstream's responses report about the rate limits of the deployment's key. */

import { OTHER_LABEL } from '../../kit/http/isolate-counts.ts';
import type { Model } from '../models/models.ts';

/** The quantities that the API limits in a minute, by the names in its headers. */
export const RATE_LIMIT_KINDS = ['requests', 'tokens', 'input_tokens', 'output_tokens'] as const;
type RateLimitKind = (typeof RATE_LIMIT_KINDS)[number];

/** How often an isolate reports the limits of a model class, at most. Milliseconds. */
const REPORT_INTERVAL_MS = 10_000;
/** The most upstreams and model classes whose limits an isolate knows. */
const MAX_OBSERVED = 100;

/** One rate limit of a key, as the last response has reported it. */
interface ObservedRateLimit {
  limit: number;
  remaining: number;
  /** When the limit is full again; milliseconds since 1970. */
  resetsAt: number;
}

/** The rate limits of a key for one class of models, such as Opus. */
export interface KeyRateLimits {
  /** The upstream's name; empty for the only upstream. */
  upstream: string;
  modelClass: string;
  /** When the response came; milliseconds since 1970. */
  at: number;
  limits: Partial<Record<RateLimitKind, ObservedRateLimit>>;
}

/** Keeps the last rate limits that this isolate has seen, until they are reported. */
export class RateLimitObserver {
  readonly #observed = new Map<string, { last: KeyRateLimits; reportedAt: number; isNew: boolean }>();

  /** @param model the model of the request; undefined if the model table does not contain it */
  recordResponse(headers: Headers, upstream: string, model: Pick<Model, 'line'> | undefined, now: number): void {
    const limits = parseRateLimits(headers, now);
    if (!limits) return;
    const modelClass = model?.line ?? OTHER_LABEL;
    const key = `${upstream}\n${modelClass}`;
    const before = this.#observed.get(key);
    if (!before && this.#observed.size >= MAX_OBSERVED) return;
    const reportedAt = before?.reportedAt ?? Number.NEGATIVE_INFINITY;
    this.#observed.set(key, { last: { upstream, modelClass, at: now, limits }, reportedAt, isNew: true });
  }

  /** @returns the limits that were seen since they were last taken, each at most once in ten seconds; undefined if there are none */
  takeUnreported(now: number): KeyRateLimits[] | undefined {
    let taken: KeyRateLimits[] | undefined;
    for (const one of this.#observed.values()) {
      if (!one.isNew || now < one.reportedAt + REPORT_INTERVAL_MS) continue;
      Object.assign(one, { isNew: false, reportedAt: now });
      taken ??= [];
      taken.push(one.last);
    }
    return taken;
  }
}

/** The beginning of the names of each limit's headers. It is built once, because each response is searched for them. */
const RATE_LIMIT_HEADERS = RATE_LIMIT_KINDS.map((kind) => ({
  kind,
  name: `anthropic-ratelimit-${kind.replace('_', '-')}`,
}));

/** @returns the limits in a response's headers; undefined if it has none */
function parseRateLimits(headers: Headers, now: number): KeyRateLimits['limits'] | undefined {
  let limits: KeyRateLimits['limits'] | undefined;
  for (const { kind, name } of RATE_LIMIT_HEADERS) {
    const remainingText = headers.get(`${name}-remaining`);
    if (remainingText === null) continue;
    const remaining = Number(remainingText);
    const limit = Number(headers.get(`${name}-limit`) ?? Number.NaN);
    if (!(limit > 0 && remaining >= 0)) continue;
    const reset = Date.parse(headers.get(`${name}-reset`) ?? '');
    limits ??= {};
    limits[kind] = { limit, remaining, resetsAt: Number.isNaN(reset) ? now : reset };
  }
  return limits;
}

/** @returns the newest limits of each upstream and model class */
export function mergeKeyRateLimits(all: Iterable<KeyRateLimits>): KeyRateLimits[] {
  const newest = new Map<string, KeyRateLimits>();
  for (const one of all) {
    const key = `${one.upstream}\n${one.modelClass}`;
    const before = newest.get(key);
    if (!before || before.at <= one.at) newest.set(key, one);
  }
  return [...newest.values()];
}
