import { LruCache } from '../../cache/lru.ts';
import { Rows } from '../../durable/rows.ts';

const MOST_TOKENS_COUNTED = 1_000;

/** Counts the requests of tokens that may make only so many. A later try, and a step of a run, belong to their request. */
export class RequestCounts extends Rows {
  readonly #counts = new LruCache<string, number>({ most: MOST_TOKENS_COUNTED });

  /** @returns how many requests of a token were admitted, of those that the ledger has. */
  of(jti: string): number {
    const known = this.#counts.get(jti);
    if (known !== undefined) return known;
    const count = this.tables.number("select count(*) from ledger where token = ? and id not like '%.%'", jti);
    this.#counts.set(jti, count);
    return count;
  }

  /** Counts a request that was admitted. */
  add(jti: string, requestId: string): void {
    const known = this.#counts.get(jti);
    if (known !== undefined && isFirstTry(requestId)) this.#counts.set(jti, known + 1);
  }
}

/** @returns whether a ledger's row is a request's own, and not of a later try or step: these have a number. */
export function isFirstTry(requestId: string): boolean {
  return !requestId.includes('.');
}
