import { MINUTE_MS } from '../../../kit/async/durations.ts';
import { BATCH_STAGE, type Hold } from '../../../money/budget/state.ts';
import type { SettledRequestFields } from '../../../money/ledger/tables.ts';
import type { OutcomeCount } from '../contracts/pool.ts';

/** For how many minutes the outcomes of requests are reported. */
export const REPORTED_MINUTES = 10;
/** The most counts of one minute: callers can send any model's name. Requests beyond count without a model. */
const MAX_COUNTS_PER_MINUTE = 50;

/** Errors for which the upstream is responsible. A rejected key has alerts of its own. */
const UPSTREAM_FAULT = /^(?:overloaded_error|api_error|timeout_error|rate_limit_error|upstream_(?!auth|4(?!08)\d\d))/;
const UNFINISHED_STATUSES: ReadonlySet<string> = new Set(['cut', 'silent', 'unreachable']);

/**
 * Counts the outcomes of an account's requests at upstreams. They are only in memory, because pools add up the reported counts.
 */
export class RecentOutcomes {
  readonly #counts = new Map<number, Map<string, OutcomeCount>>();

  /** Counts a settled request, and the upstreams that failed before it was answered. */
  recordOutcome({ stage, model = '' }: Pick<Hold, 'stage' | 'model'>, closing: SettledRequestFields): void {
    const { status, errorType, upstream, failedUpstreams, at } = closing;
    if (stage === BATCH_STAGE || status === 'orphaned') return;
    const minute = Math.floor(at / MINUTE_MS);
    const others = failedUpstreams === null ? [] : (JSON.parse(failedUpstreams) as string[]);
    const error = errorType ?? (UNFINISHED_STATUSES.has(status) ? `upstream_${status}` : '');
    const isKeyRejected = error.startsWith('upstream_auth');
    const hasUpstreamFailed = UPSTREAM_FAULT.test(error);
    const isAnswered = !hasUpstreamFailed && !isKeyRejected;
    for (const other of others) this.#count(minute, { upstream: other, model }, 'upstream_error', isAnswered);
    if (!isKeyRejected) this.#count(minute, { upstream: upstream ?? '', model }, hasUpstreamFailed ? error : '', false);
  }

  /** @param findModelId returns the id of a model in the model table. @returns the counts of the last minutes */
  listRecentCounts(now: number, findModelId: (model: string) => string | undefined): OutcomeCount[] {
    this.#dropExpired(Math.floor(now / MINUTE_MS));
    const counts = [...this.#counts.values()].flatMap((ofMinute) => [...ofMinute.values()]);
    const named = counts.map((count) => ({ ...count, model: findModelId(count.model) ?? '' }));
    return mergeOutcomeCounts(named);
  }

  #count(
    minute: number,
    { upstream, model }: Pick<OutcomeCount, 'upstream' | 'model'>,
    error: string,
    isRerouted: boolean,
  ): void {
    let ofMinute = this.#counts.get(minute);
    if (!ofMinute) {
      this.#dropExpired(minute);
      ofMinute = new Map();
      this.#counts.set(minute, ofMinute);
    }
    const isFull = ofMinute.size >= MAX_COUNTS_PER_MINUTE && !ofMinute.has(createCountKey({ upstream, model }));
    const place = { upstream, model: isFull ? '' : model };
    const key = createCountKey(place);
    const count = ofMinute.get(key) ?? { minute, ...place, requests: 0, failed: 0, rerouted: 0, error: '' };
    count.requests += 1;
    count.rerouted += Number(isRerouted);
    if (error !== '') Object.assign(count, { failed: count.failed + 1, error: error.split(':', 1)[0] });
    ofMinute.set(key, count);
  }

  #dropExpired(minute: number): void {
    for (const one of this.#counts.keys()) if (one <= minute - REPORTED_MINUTES) this.#counts.delete(one);
  }
}

/** @returns one count for each minute, upstream and model */
export function mergeOutcomeCounts(counts: readonly OutcomeCount[]): OutcomeCount[] {
  const merged = new Map<string, OutcomeCount>();
  for (const count of counts) {
    const key = `${count.minute}\n${createCountKey(count)}`;
    const before = merged.get(key);
    merged.set(
      key,
      before
        ? {
            ...before,
            requests: before.requests + count.requests,
            failed: before.failed + count.failed,
            rerouted: before.rerouted + count.rerouted,
            error: count.error || before.error,
          }
        : count,
    );
  }
  return [...merged.values()];
}

function createCountKey({ upstream, model }: Pick<OutcomeCount, 'upstream' | 'model'>): string {
  return `${upstream}\n${model}`;
}
