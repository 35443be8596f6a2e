/** Caches the rows of tokens, so that each request is checked against revocations and limits without a read. */

import { TableRowsBase } from '../../durable/rows.ts';

/** The fields of a token's row that decisions need. */
export interface CachedTokenRow {
  mintedAt: number | null;
  isSeen: boolean;
  isRevoked: boolean;
  /** Its own limits, in their stored form; null if it has none. */
  limits: string | null;
  /** The countries from which it was used, if they are watched; null if it was used from none. */
  countries: string | null;
}

type TokenSqlColumns = Record<string, SqlStorageValue> & {
  minted_at: number | null;
  first_seen_at: number | null;
  revoked_at: number | null;
  limits: string | null;
  countries: string | null;
};

const MAX_CACHED_TOKENS = 1_000;

/**
 * Caches the rows of tokens that were read. An account may have thousands, and an object that wakes needs only that of its
 * caller. Code that writes a token's row must invalidate it here.
 */
export class TokenRowCache extends TableRowsBase {
  readonly #known = new Map<string, CachedTokenRow>();

  /** @returns a token's row; undefined if it has none. */
  findTokenRow(jti: string): CachedTokenRow | undefined {
    const cached = this.#known.get(jti);
    if (cached) return cached;
    const [row] = this.tables.readAllRows<TokenSqlColumns>(
      'select minted_at, first_seen_at, revoked_at, limits, countries from tokens where jti = ?',
      jti,
    );
    if (!row) return undefined;
    const token = {
      mintedAt: row.minted_at,
      isSeen: row.first_seen_at !== null,
      isRevoked: row.revoked_at !== null,
      limits: row.limits,
      countries: row.countries,
    };
    if (this.#known.size >= MAX_CACHED_TOKENS) this.#known.clear();
    this.#known.set(jti, token);
    return token;
  }

  /** Records that a token's row has changed. */
  invalidateTokenRow(jti: string): void {
    this.#known.delete(jti);
  }

  /** Records that the rows of many tokens have changed. */
  invalidateAllTokenRows(): void {
    this.#known.clear();
  }
}
