import { Rows } from '../../durable/rows.ts';

/** What decisions need of a token's row. */
export interface StoredToken {
  mintedAt: number | null;
  isSeen: boolean;
  isRevoked: boolean;
  /** Its own limits, in their stored form; null if it has none. */
  limits: string | null;
}

type TokenColumns = Record<string, SqlStorageValue> & {
  minted_at: number | null;
  first_seen_at: number | null;
  revoked_at: number | null;
  limits: string | null;
};

const MAX_CACHED_TOKENS = 1_000;

/**
 * Remembers the rows of tokens that were asked for. An account may have thousands, and an object that wakes needs the one
 * with which it is asked. Whoever writes a token's row must say so here.
 */
export class TokenRowCache extends Rows {
  readonly #known = new Map<string, StoredToken>();

  /** @returns what a token's row says; undefined if it has no row. */
  find(jti: string): StoredToken | undefined {
    const cached = this.#known.get(jti);
    if (cached) return cached;
    const [row] = this.tables.read<TokenColumns>(
      'select minted_at, first_seen_at, revoked_at, limits from tokens where jti = ?',
      jti,
    );
    if (!row) return undefined;
    const token = {
      mintedAt: row.minted_at,
      isSeen: row.first_seen_at !== null,
      isRevoked: row.revoked_at !== null,
      limits: row.limits,
    };
    if (this.#known.size >= MAX_CACHED_TOKENS) this.#known.clear();
    this.#known.set(jti, token);
    return token;
  }

  /** Notes that a token's row has changed. */
  noteChange(jti: string): void {
    this.#known.delete(jti);
  }

  /** Notes that the rows of many tokens have changed. */
  noteAllChanged(): void {
    this.#known.clear();
  }
}
