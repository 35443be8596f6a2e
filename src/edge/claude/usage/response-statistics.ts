/** Learns from answers what others are held and booked by: how often models hand over, how long results and thinking are. */

import type { Settings } from '../../config/settings.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { createLruCache } from '../../kit/cache/lru.ts';

/** The models and tools that are remembered. */
const MAX_ENTRIES = 200;
/** Seconds of output in which a model is taken to have handed over once before anything is known of it. */
const PRIOR_SECONDS = 60;
/** Seconds of output after which older ones count half. */
const HALVING_SECONDS = 36_000;

/** The answers from which on what they have thought, beside their signatures, counts. */
const MIN_THINKING_RESPONSES = 16;

interface HandoverRate {
  seconds: number;
  times: number;
}

/** Remembers figures of answers that ended. Keys name a model at an upstream, or a tool of the API. */
export class ResponseStatistics {
  readonly #handOvers = createLruCache<string, HandoverRate>(MAX_ENTRIES);
  readonly #thinking = createLruCache<string, { answers: number; most: number }>(MAX_ENTRIES);
  readonly #results = createLruCache<string, number>(MAX_ENTRIES);

  /** Records how often another model took over in so many seconds of an answer that might have been handed over. */
  recordHandovers(key: string, seconds: number, times: number): void {
    const before = this.#handOvers.get(key) ?? { seconds: 0, times: 0 };
    const after = { seconds: before.seconds + seconds, times: before.times + times };
    const share = after.seconds > HALVING_SECONDS ? 0.5 : 1;
    this.#handOvers.set(key, { seconds: after.seconds * share, times: after.times * share });
  }

  /** @returns how often another model takes over in a second of output; never 0 */
  getModelHandoversPerSecond(key: string): number {
    const { seconds, times } = this.#handOvers.get(key) ?? { seconds: 0, times: 0 };
    return (times + 1) / (seconds + PRIOR_SECONDS);
  }

  /** Records the thinking tokens of an answer, and the length of its signatures. */
  recordThinking(key: string, tokens: number, signed: number): void {
    const { answers, most } = this.#thinking.get(key) ?? { answers: 0, most: 0 };
    this.#thinking.set(key, { answers: answers + 1, most: Math.max(most, tokens / signed) });
  }

  /** @returns the most tokens of thinking for a character of its signature; undefined until enough answers are known */
  getThinkingTokensPerSignatureCharacter(key: string): number | undefined {
    const { answers, most } = this.#thinking.get(key) ?? { answers: 0, most: 0 };
    return answers < MIN_THINKING_RESPONSES ? undefined : most;
  }

  /** Records the tokens of the longest result of each tool in an answer. */
  recordResults(results: Readonly<Record<string, number>>): void {
    for (const [tool, tokens] of Object.entries(results))
      this.#results.set(tool, Math.max(tokens, this.#results.get(tool) ?? 0));
  }

  /** @returns the tokens of the longest known result of a tool; 0 if none is known */
  getLongestToolResultTokens(tool: string): number {
    return this.#results.get(tool) ?? 0;
  }
}

const statisticsByDeployment = new WeakMap<Settings, ResponseStatistics>();

/** @returns what this isolate has learned from a deployment's answers. */
export function getResponseStatistics(settings: Settings): ResponseStatistics {
  return getOrCreate(statisticsByDeployment, settings, () => new ResponseStatistics());
}
