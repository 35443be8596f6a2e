import { LruCache } from '../../kit/cache/lru.ts';
import { level, take } from '../budget/bucket.ts';
import { rateRefusal } from '../budget/refusals.ts';
import type { CountedRead, Refusal } from '../contracts/admission.ts';

const MOST_BUCKETS = 1_000;
/** For so long a stream may be resumed again for nothing, and so often. */
const FREE_MS = 5_000;
const MOST_FREE = 3;

/** Keeps buckets in memory alone: an object that has slept was not asked for long. */
export class MemoryBuckets {
  readonly #fullAt = new LruCache<string, number>({ most: MOST_BUCKETS });
  /** The stream that each token has resumed last, and how often it still may for nothing. */
  readonly #resumed = new LruCache<string, { stream: string; until: number; left: number }>({ most: MOST_BUCKETS });

  /** Counts a read by its token. @returns the refusal of one too many */
  read(jti = '', { most, stream }: CountedRead, now: number): Refusal | undefined {
    const resumed = this.#resumed.get(jti);
    if (resumed?.stream === stream && resumed && now < resumed.until && resumed.left > 0) {
      resumed.left -= 1;
      return undefined;
    }
    const refusal = this.take(`token ${jti}`, 'reads_per_minute', most, now, 1);
    if (refusal) return { ...refusal, by: 'token' };
    if (stream !== undefined) this.#resumed.set(jti, { stream, until: now + FREE_MS, left: MOST_FREE });
    return undefined;
  }

  /** Takes units from a bucket. @param name the limit's @returns the refusal if they are not in it */
  take(bucket: string, name: string, limit: number, now: number, units: number): Refusal | undefined {
    const fullAt = this.#fullAt.get(bucket) ?? 0;
    if (level(fullAt, limit, now) < units) return rateRefusal(name, fullAt, limit, now, units, 0);
    this.#fullAt.set(bucket, take(fullAt, limit, now, units));
    return undefined;
  }
}
