/** Learns how fast models write, from answers that ended. What an interrupted answer can have cost is estimated by it. */

import type { Settings } from '../../config/settings.ts';
import { HOUR_MS } from '../../kit/async/durations.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { createLruCache } from '../../kit/cache/lru.ts';
import { isCount, toValidCountOrZero, type Usage } from '../pricing/cost.ts';
import type { HiddenOutputClock } from './hidden-output.ts';

/** The output of a model that was observed as it was written, from the first delta to the last. */
export interface VisibleOutput {
  tokens: number;
  /** The least milliseconds that it can have taken for them. */
  ms: number;
}

/** The hours that count, with the one that runs. */
const COUNTED_HOURS = 6;
/** A shorter answer measures the network more than the model. */
const MIN_TOKENS = 300;
/** The answers, and their accounts, from which on what was learned counts. */
const MIN_RESPONSES = 50;
const MIN_ACCOUNTS = 3;
/** How many times the fastest one a model may write now, and the tokens a second below which nothing is taken for its most. */
const SPEED_MARGIN = 2;
const MIN_TOKENS_PER_SECOND = 100;
/** The models that are remembered, each at each upstream and speed. */
const MAX_SPEEDS = 200;

/** The observations of an hour. Their size does not grow with the number of responses. */
interface HourlySpeedRecord {
  /** Its number since 1970. */
  number: number;
  answers: number;
  /** Some of the accounts, as many as must be distinguished. */
  accounts: Set<string>;
  /** Tokens a second. */
  fastest: number;
}

/**
 * Remembers how fast models write. A key names a model, its upstream and its speed. Times are milliseconds since 1970.
 *
 * A speed must never be too low, or an answer would be booked below its bill. So only answers whose reader never waited are
 * recorded, and twice the speed of the fastest one is used.
 */
export class WritingSpeeds {
  readonly #hours = createLruCache<string, HourlySpeedRecord[]>(MAX_SPEEDS);

  /** Records what was written of an answer that has ended. */
  recordVisibleOutput(key: string, account: string, { tokens, ms }: VisibleOutput, now: number): void {
    if (tokens < MIN_TOKENS) return;
    const number = Math.floor(now / HOUR_MS);
    const hours = this.#getRecentHours(key, number);
    let hour = hours.find((one) => one.number === number);
    if (!hour) {
      hour = { number, answers: 0, accounts: new Set(), fastest: 0 };
      hours.push(hour);
    }
    hour.answers += 1;
    if (hour.accounts.size < MIN_ACCOUNTS) hour.accounts.add(account);
    hour.fastest = Math.max(hour.fastest, (tokens * 1_000) / ms);
    this.#hours.set(key, hours);
  }

  /** @returns the most tokens a second that a model is taken to write; undefined as long as too few answers are known */
  getMaxTokensPerSecond(key: string, now: number): number | undefined {
    const hours = this.#getRecentHours(key, Math.floor(now / HOUR_MS));
    const answers = hours.reduce((sum, hour) => sum + hour.answers, 0);
    const accounts = new Set(hours.flatMap((hour) => [...hour.accounts]));
    if (answers < MIN_RESPONSES || accounts.size < MIN_ACCOUNTS) return undefined;
    return Math.max(MIN_TOKENS_PER_SECOND, SPEED_MARGIN * Math.max(...hours.map(({ fastest }) => fastest)));
  }

  #getRecentHours(key: string, number: number): HourlySpeedRecord[] {
    return (this.#hours.get(key) ?? []).filter((hour) => Math.abs(number - hour.number) < COUNTED_HOURS);
  }
}

/** A deployment's speeds, in this isolate. */
const speedsByDeployment = new WeakMap<Settings, WritingSpeeds>();

/** @returns what this isolate has learned of a deployment's models. */
export function getModelWritingSpeeds(settings: Settings): WritingSpeeds {
  return getOrCreate(speedsByDeployment, settings, () => new WritingSpeeds());
}

/**
 * @param clock the times of a response whose reader never waited
 * @returns the output that was observed as it was written; undefined if that is unknown
 */
export function measureVisibleOutput(
  usage: Usage | undefined,
  { visibleOutputMs: openMs, hasThought }: Pick<HiddenOutputClock, 'visibleOutputMs' | 'hasThought'>,
): VisibleOutput | undefined {
  const thinking = usage?.output_tokens_details?.thinking_tokens;
  if (openMs === undefined || (hasThought && !isCount(thinking))) return undefined;
  return { tokens: toValidCountOrZero(usage?.output_tokens) - toValidCountOrZero(thinking), ms: openMs };
}
