/** Knows in this isolate whether an upstream refuses the deployment, by its key or its spending, and what it does not count. */

import { getOrMake } from '../../kit/cache/get-or-make.ts';
import type { ApiError } from '../../kit/http/errors.ts';

/** What the upstream said when it refused the key; null where it has answered again. */
export type KeyNews = string | null;

export class KeyHealth {
  /** When it was first refused, in milliseconds since 1970; undefined while it works, or is not known to be refused. */
  refusedSince: number | undefined;
  /** What the upstream said when it last refused it. */
  words = '';
  /** When an upstream that has not counted a model's tokens may be asked again, by model; milliseconds since 1970. */
  readonly uncounted = new Map<string, number>();
  /** What the operator has not been told yet. */
  #news: KeyNews | undefined;

  /** Notes an answer, or a refusal of any kind. Only one of the deployment itself, which is no caller's fault, counts. */
  note(judged: { kind: string; forCaller?: ApiError } | undefined, now: number): void {
    const kind = judged?.kind ?? 'answer';
    if (kind === 'answer' && this.refusedSince !== undefined) {
      this.refusedSince = undefined;
      this.#news = null;
    } else if (kind === 'refused') {
      const words = judged?.forCaller?.upstreamSaid ?? '';
      if (this.refusedSince === undefined || refusalCause(words) !== refusalCause(this.words)) this.#news = words;
      this.words = words;
      this.refusedSince ??= now;
    }
  }

  /** Whether there is something to tell. */
  get hasNews(): boolean {
    return this.#news !== undefined;
  }

  /** Has somebody tell the operator what has changed, if anything has. If that fails, the next call does. */
  async tell(by: (news: KeyNews) => Promise<void>): Promise<void> {
    const news = this.#news;
    if (news === undefined) return;
    this.#news = undefined;
    try {
      await by(news);
    } catch (thrown) {
      this.#news ??= news;
      throw thrown;
    }
  }
}

/** @returns the cause in what an upstream said: its status, type and code. The message behind them may differ each time */
export function refusalCause(words: string): string {
  return words.split(':', 1)[0] ?? '';
}

const healthByFetch = new WeakMap<object, KeyHealth>();

/** @returns what this isolate knows, which its Worker and its objects share. @param fetchUpstream by which they call */
export function keyHealthOf(fetchUpstream: object): KeyHealth {
  return getOrMake(healthByFetch, fetchUpstream, () => new KeyHealth());
}
