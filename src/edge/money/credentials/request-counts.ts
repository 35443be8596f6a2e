/** Enforces `max_requests` of a token: it counts requests, not their attempts, steps and votes. */

import { TableRowsBase } from '../../durable/rows.ts';
import { createLruCache } from '../../kit/cache/lru.ts';

const MAX_COUNTED_TOKENS = 1_000;

/** The routes of requests that belong to another request but have a separate id. They are not counted. */
const BESIDE = ['choice', 'summary'];
/** The beginning of a row's id that all rows of a request have. */
const REQUEST = "substr(id, 1, instr(id || '.', '.') - 1)";

/** Counts the requests of tokens that may make only so many. Later attempts, steps and votes have their request's id and a number. */
export class TokenRequestCounts extends TableRowsBase {
  readonly #counts = createLruCache<string, number>(MAX_COUNTED_TOKENS);

  /** @returns how many requests of a token were admitted, of those that the ledger has. */
  countRequestsOfToken(jti: string): number {
    const soFar = this.#counts.get(jti);
    if (soFar !== undefined) return soFar;
    const count = this.tables.queryNumberOrZero(
      `select count(distinct ${REQUEST}) from ledger where token = ? and route not in ('${BESIDE.join("', '")}')`,
      jti,
    );
    this.#counts.set(jti, count);
    return count;
  }

  hasLedgerRow(requestId: string): boolean {
    const [id = ''] = requestId.split('.');
    return this.tables.hasRows("ledger where id >= ?1 and id < ?1 || '/'", id);
  }

  /** Counts what is admitted now. Call it before its row is there. */
  countAdmittedRequest(jti: string, requestId: string, route: string): void {
    const soFar = this.#counts.get(jti);
    if (soFar !== undefined && !BESIDE.includes(route) && !this.hasLedgerRow(requestId))
      this.#counts.set(jti, soFar + 1);
  }
}
