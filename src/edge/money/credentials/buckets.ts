/** Limits the rate of requests that cost no money, such as resumed streams. Only in memory. */

import { createLruCache } from '../../kit/cache/lru.ts';
import { computeUnitsInBucket, takeUnitsFromBucket } from '../budget/bucket.ts';
import { createRateRejection } from '../budget/refusals.ts';
import type { LimitRejection, RateLimitedRequest } from '../contracts/admission.ts';

const MAX_BUCKETS = 1_000;
/** For so long a stream may be resumed again for nothing, and so often. */
const FREE_RESUME_MS = 5_000;
const MAX_FREE_RESUMES = 3;

/** Keeps buckets in memory alone: an object that has slept was not asked for long. */
export class InMemoryRateBuckets {
  readonly #fullAt = createLruCache<string, number>(MAX_BUCKETS);
  /** The streams that were resumed, and how often each still may be for nothing. */
  readonly #resumes = createLruCache<string, { until: number; left: number }>(MAX_BUCKETS);

  /** Counts a request. @returns the rejection of a request that exceeds the limit */
  takeRequest({ bucket, name, by, limit, stream }: RateLimitedRequest, now: number): LimitRejection | undefined {
    const resumed = stream === undefined ? undefined : this.#resumes.get(stream);
    if (resumed && now < resumed.until && resumed.left > 0) {
      resumed.left -= 1;
      return undefined;
    }
    const refusal = this.takeUnitsOrReject(bucket, name, limit, now, 1);
    if (!refusal && stream !== undefined)
      this.#resumes.set(stream, { until: now + FREE_RESUME_MS, left: MAX_FREE_RESUMES });
    return refusal && { ...refusal, by };
  }

  /** Takes units from a bucket. @param name the limit's @returns the rejection if they are not in it */
  takeUnitsOrReject(
    bucket: string,
    name: string,
    limit: number,
    now: number,
    units: number,
  ): LimitRejection | undefined {
    const fullAt = this.#fullAt.get(bucket) ?? 0;
    if (computeUnitsInBucket(fullAt, limit, now) < units)
      return createRateRejection(name, fullAt, limit, now, units, 0);
    this.#fullAt.set(bucket, takeUnitsFromBucket(fullAt, limit, now, units));
    return undefined;
  }
}
