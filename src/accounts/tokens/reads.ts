import { level, take } from '../../budget/bucket.ts';
import { rateRefusal } from '../../budget/refusals.ts';
import { LruCache } from '../../cache/lru.ts';
import type { CountedRead, Refusal } from '../../durable/contracts/admission.ts';

const MOST_READERS = 1_000;
/** For so long a lost stream may be resumed again for nothing, and so often. */
const FREE_MS = 5_000;
const MOST_AGAIN = 3;

interface Reader {
  fullAt: number;
  /** The stream that it has resumed last, and what it may do again. */
  stream?: string | undefined;
  until: number;
  again: number;
}

/** Counts what tokens read. Only in memory: an object that has slept was not asked for long. */
export class Reads {
  readonly #readers = new LruCache<string, Reader>({ most: MOST_READERS });

  /** Counts a read. @returns the refusal of one too many */
  take({ token: { jti = '' }, most, stream }: CountedRead, now: number): Refusal | undefined {
    const reader = this.#readers.get(jti) ?? { fullAt: 0, until: 0, again: 0 };
    if (stream !== undefined && stream === reader.stream && now < reader.until && reader.again > 0) {
      reader.again -= 1;
      return undefined;
    }
    const { fullAt } = reader;
    if (level(fullAt, most, now) < 1) {
      return { ...rateRefusal('reads_per_minute', fullAt, most, now, 1, 0), by: 'token' };
    }
    reader.fullAt = take(fullAt, most, now, 1);
    if (stream !== undefined) Object.assign(reader, { stream, until: now + FREE_MS, again: MOST_AGAIN });
    this.#readers.set(jti, reader);
    return undefined;
  }
}
