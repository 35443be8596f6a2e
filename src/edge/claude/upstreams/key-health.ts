/** Knows in this isolate whether an upstream rejects the deployment, by its key or its spending, and what it does not count. */

import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import { RateLimitObserver } from './rate-limits.ts';

/** The upstream's message when it rejected the key; null if it has responded again since. */
export type KeyHealthChange = string | null;

export class KeyHealth {
  /** When it was first rejected, in milliseconds since 1970; undefined while it works, or is not known to be rejected. */
  rejectedSince: number | undefined;
  /** The upstream's message when it last rejected the key. */
  reason = '';
  /** When an upstream that has not counted a model's tokens may be asked again, by model; and how long it was not asked before. */
  readonly countFailures = new Map<string, { until: number; ms: number }>();
  /** The rate limits of the key, as responses have reported them. */
  readonly rateLimits = new RateLimitObserver();
  /** The change that has not been reported to the operator yet. */
  #change: KeyHealthChange | undefined;

  /** Records an answer, or a rejection of any kind. Only one of the deployment itself, which is no caller's fault, counts. */
  recordAnswerOrRejection(judged: { kind: string; forCaller?: ApiError } | undefined, now: number): void {
    const kind = judged?.kind ?? 'answer';
    if (kind === 'answer' && this.rejectedSince !== undefined) {
      this.rejectedSince = undefined;
      this.#change = null;
    } else if (kind === 'refused') {
      const words = judged?.forCaller?.upstreamSaid ?? '';
      if (this.rejectedSince === undefined || parseRejectionCause(words) !== parseRejectionCause(this.reason))
        this.#change = words;
      this.reason = words;
      this.rejectedSince ??= now;
    }
  }

  /** Whether a change must be reported. */
  get hasChange(): boolean {
    return this.#change !== undefined;
  }

  /** Reports changes of the key health to the operator, if there are any. If that fails, the next call retries. */
  async reportChangeToOperator(report: (news: KeyHealthChange) => Promise<void>): Promise<void> {
    const news = this.#change;
    if (news === undefined) return;
    this.#change = undefined;
    try {
      await report(news);
    } catch (thrown) {
      this.#change ??= news;
      throw thrown;
    }
  }
}

/** @returns the cause in what an upstream said: its status, type and code. The message behind them may differ each time */
export function parseRejectionCause(words: string): string {
  return words.split(':', 1)[0] ?? '';
}

const healthByFetch = new WeakMap<object, KeyHealth>();

/** @returns what this isolate knows, which its Worker and its objects share. @param fetchUpstream by which they call */
export function getKeyHealth(fetchUpstream: object): KeyHealth {
  return getOrCreate(healthByFetch, fetchUpstream, () => new KeyHealth());
}
