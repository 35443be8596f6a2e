/** Learns how fast models write, from answers that ended. What an interrupted answer can have cost is estimated by it. */

import type { Settings } from '../../config/settings.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { getOrMake } from '../../kit/cache/get-or-make.ts';
import { LruCache } from '../../kit/cache/lru.ts';
import { isCount, type Usage, wholeCount } from '../pricing/cost.ts';
import type { HiddenOutputClock } from './hidden-output.ts';

/** What a model wrote in the open, from the first delta to the last. */
export interface OpenOutput {
  tokens: number;
  /** The least milliseconds that it can have taken for them. */
  ms: number;
}

/** The hours that count, with the one that runs. */
const HOURS = 6;
/** A shorter answer measures the network more than the model. */
const LEAST_TOKENS = 300;
/** The answers, and their accounts, from which on what was learned counts. */
const LEAST_ANSWERS = 50;
const LEAST_ACCOUNTS = 3;
/** How many times the fastest one a model may write now, and the tokens a second below which nothing is taken for its most. */
const MARGIN = 2;
const LEAST_MOST = 100;
/** The models that are remembered, each at each upstream and speed. */
const MOST_SPEEDS = 200;

/** What was learned in an hour. Its size does not grow with the answers. */
interface Hour {
  /** Its number since 1970. */
  number: number;
  answers: number;
  /** Some of the accounts, as many as have to be told apart. */
  accounts: Set<string>;
  /** Tokens a second. */
  fastest: number;
}

/**
 * Remembers how fast models write. A key names a model, its upstream and its speed. Times are milliseconds since 1970.
 *
 * It must never take a model for slower than it is, or an answer would be booked below its bill. So it is told only of
 * answers whose reader waited for nobody, and the fastest of them counts, twice.
 */
export class WritingSpeeds {
  readonly #hours = new LruCache<string, Hour[]>({ most: MOST_SPEEDS });

  /** Notes what was written of an answer that has ended. */
  note(key: string, account: string, { tokens, ms }: OpenOutput, now: number): void {
    if (tokens < LEAST_TOKENS) return;
    const number = Math.floor(now / HOUR_MS);
    const hours = this.#recent(key, number);
    let hour = hours.find((one) => one.number === number);
    if (!hour) {
      hour = { number, answers: 0, accounts: new Set(), fastest: 0 };
      hours.push(hour);
    }
    hour.answers += 1;
    if (hour.accounts.size < LEAST_ACCOUNTS) hour.accounts.add(account);
    hour.fastest = Math.max(hour.fastest, (tokens * 1_000) / ms);
    this.#hours.set(key, hours);
  }

  /** @returns the most tokens a second that a model is taken to write. @param most the price table's figure */
  most(key: string, most: number, now: number): number {
    const hours = this.#recent(key, Math.floor(now / HOUR_MS));
    const answers = hours.reduce((sum, hour) => sum + hour.answers, 0);
    const accounts = new Set(hours.flatMap((hour) => [...hour.accounts]));
    if (answers < LEAST_ANSWERS || accounts.size < LEAST_ACCOUNTS) return most;
    return Math.min(most, Math.max(LEAST_MOST, MARGIN * Math.max(...hours.map(({ fastest }) => fastest))));
  }

  #recent(key: string, number: number): Hour[] {
    return (this.#hours.get(key) ?? []).filter((hour) => Math.abs(number - hour.number) < HOURS);
  }
}

/** A deployment's speeds, in this isolate. */
const speedsByDeployment = new WeakMap<Settings, WritingSpeeds>();

/** @returns what this isolate has learned of a deployment's models. */
export function speedsOf(settings: Settings): WritingSpeeds {
  return getOrMake(speedsByDeployment, settings, () => new WritingSpeeds());
}

/**
 * @param clock the times of an answer whose reader waited for nobody
 * @returns what was written in the open; undefined if that cannot be told
 */
export function openOutputIn(
  usage: Usage | undefined,
  { openMs, hasThought }: Pick<HiddenOutputClock, 'openMs' | 'hasThought'>,
): OpenOutput | undefined {
  const thinking = usage?.output_tokens_details?.thinking_tokens;
  if (openMs === undefined || (hasThought && !isCount(thinking))) return undefined;
  return { tokens: wholeCount(usage?.output_tokens) - wholeCount(thinking), ms: openMs };
}
