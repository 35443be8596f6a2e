/** Keeps the credentials of an account: which were minted or seen, and which are revoked. */

import { LEEWAY_S } from '../../auth/identity/caller.ts';
import { isTokenId } from '../../auth/identity/identity.ts';
import type { ListPage, PageSelection } from '../../durable/page.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import { DAY_MS, HOUR_MS } from '../../kit/async/durations.ts';
import { createLruCache } from '../../kit/cache/lru.ts';
import { toIsoTime, toIsoTimeOrNull } from '../../kit/http/times.ts';
import type { TokenRow } from '../account/usage-answers.schema.ts';
import type { TokenLimits } from '../budget/limits.schema.ts';
import type { MintedToken } from '../contracts/account.ts';
import type { CredentialClaims } from '../contracts/admission.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { IS_OPERATOR_TOKEN } from '../ledger/tables.ts';
import { MAX_LOCATIONS_PER_TOKEN, type TokenLocationTable } from '../ledger/token-locations.ts';
import { LimitedTokensTracker, type TokenLimitsRow } from './token-limits.ts';
import type { TokenRowCache } from './token-row-cache.ts';

type TokenTableRow = Record<string, SqlStorageValue> &
  TokenLimitsRow & {
    label: string | null;
    scopes: string | null;
    minted_at: number | null;
    first_seen_at: number | null;
    last_seen_at: number | null;
    expires_at: number | null;
    revoked_at: number | null;
  };

const MAX_OPERATOR_USES = 1_000;
/** How many locations of each token are listed beside other tokens. */
const MAX_LISTED_LOCATIONS = 5;
/** How many valid tokens an operator may mint for one account. */
export const MAX_MINTED_TOKENS = 1_000;
/** The most tokens in the list, including those of an identity provider that were seen in use. */
const MAX_LISTED_TOKENS = 10_000;

/** Milliseconds after its expiry for which it is known whether a token was revoked. */
const REVOCATION_KNOWN_MS = 90 * DAY_MS;

/**
 * @returns whether a token expired so long ago that its revocation is no longer known. Turns that it began must not continue.
 */
export function isRevocationForgotten({ exp }: CredentialClaims, now: number): boolean {
  return exp !== undefined && exp * 1_000 < now - REVOCATION_KNOWN_MS;
}

/** Keeps the rows of an account's tokens. */
export class TokenTable extends TableRowsBase {
  readonly #rows: TokenRowCache;
  readonly #limitedTokens: LimitedTokensTracker;
  readonly #locations: TokenLocationTable;
  #revokedBefore: number;
  /** When the last use of each token for operators was noted; a few tokens. */
  readonly #operatorUses = createLruCache<string, number>(MAX_OPERATOR_USES);
  /** How many tokens are listed; undefined until it is first read. */
  #count: number | undefined;

  /** @param limited the tokens that have limits of their own */
  constructor(ledger: Ledger, rows: TokenRowCache, limited: LimitedTokensTracker) {
    super(ledger);
    this.#locations = ledger.locations;
    this.#rows = rows;
    this.#limitedTokens = limited;
    this.#revokedBefore = Number(ledger.readMetaValue('revoked_before') ?? 0);
  }

  /**
   * @returns whether the token is revoked: by its own id, or with all tokens that were issued until some time. Of a token that was
   *   not minted here, that includes those dated up to `LEEWAY_S` later
   */
  isTokenRevoked(token: CredentialClaims): boolean {
    const row = token.jti === undefined ? undefined : this.#rows.findTokenRow(token.jti);
    if (row?.isRevoked) return true;
    if (this.#revokedBefore === 0) return false;
    if (row?.mintedAt) return row.mintedAt <= this.#revokedBefore;
    // The clock of the token's issuer may be ahead, so a token dated shortly after the revocation may have been issued before
    // it. Treat it as revoked.
    return ((token.iat ?? 0) - LEEWAY_S) * 1_000 <= this.#revokedBefore;
  }

  /** Records the first use of a token, so that it can be listed. Writes one row, once for each token. */
  recordFirstUse(token: CredentialClaims, now: number): void {
    const { jti } = token;
    if (!isTokenId(jti)) return;
    const row = this.#rows.findTokenRow(jti);
    if (row?.isSeen) return;
    // Stop listing new tokens when the table is full. A token that is not listed works, and can still be revoked by its id.
    if (!row && this.#countTokenRows >= MAX_LISTED_TOKENS) return;
    this.tables.runWriteStatement(
      `insert into tokens (jti, first_seen_at, expires_at, scopes, countries) values (?, ?, ?, ?, ?)
       on conflict (jti) do update set first_seen_at = excluded.first_seen_at, countries = excluded.countries`,
      jti,
      now,
      secondsToMs(token.exp),
      token.operatorScopes ?? null,
      getWatchedCountry(token) ?? null,
    );
    this.#recordRowChange(jti, row ? 0 : 1);
  }

  /**
   * Finds whether a token whose countries are watched is used from another country than before. It writes nothing.
   *
   * @returns the countries, with the new one; undefined if it is not new. The first country of a token is no news
   */
  findCountriesWithNewOne(token: CredentialClaims): { countries: string; isFirst: boolean } | undefined {
    const country = getWatchedCountry(token);
    const row = country === undefined || token.jti === undefined ? undefined : this.#rows.findTokenRow(token.jti);
    if (country === undefined || !row || row.countries?.split(' ').includes(country)) return undefined;
    const isFirst = row.countries === null;
    return { countries: isFirst ? country : `${row.countries} ${country}`, isFirst };
  }

  /** Stores the countries from which a token was used. */
  storeCountries({ jti = '' }: CredentialClaims, countries: string): void {
    this.tables.runWriteStatement('update tokens set countries = ? where jti = ?', countries, jti);
    this.#recordRowChange(jti, 0);
  }

  /** Records the last use of a token for operators, at most once an hour. */
  recordOperatorUse({ jti }: CredentialClaims, now: number): void {
    if (jti === undefined || now - (this.#operatorUses.get(jti) ?? 0) < HOUR_MS) return;
    this.#operatorUses.set(jti, now);
    this.tables.runWriteStatement(
      'update tokens set last_seen_at = ?1 where jti = ?2 and coalesce(last_seen_at, 0) <= ?1 - ?3',
      now,
      jti,
      HOUR_MS,
    );
  }

  /** @returns a token by its id; undefined if it is not known. */
  findToken(jti: string): TokenRow | undefined {
    const rows = this.tables.readAllRows<TokenTableRow>('select * from tokens where jti = ?', jti);
    return this.#describeTokens(rows, MAX_LOCATIONS_PER_TOKEN)[0];
  }

  /** @returns the tokens for operators, newest first. */
  listOperatorTokens(): TokenRow[] {
    return this.#describeTokens(
      this.tables.readAllRows<TokenTableRow>(
        `select * from tokens where ${IS_OPERATOR_TOKEN} order by known_since desc, jti desc`,
      ),
    );
  }

  /**
   * Records a token that was minted for the account.
   *
   * @returns false if the account already has as many valid tokens as allowed
   */
  recordMintedToken(token: MintedToken, now: number): boolean {
    if (this.#rows.findTokenRow(token.jti) !== undefined) return true;
    if (this.#countValidTokens(now) >= MAX_MINTED_TOKENS) return false;
    // Expired tokens stay in the table for a day. Tokens that are valid for minutes could fill it meanwhile, so delete the
    // expired ones now.
    if (this.#countTokenRows >= MAX_MINTED_TOKENS) this.deleteExpiredTokens(now + DAY_MS);
    const { jti, label = null, scopes, exp, limits } = token;
    const row = { jti, label, scopes: scopes.join(' '), minted_at: now, expires_at: secondsToMs(exp) };
    this.tables.insertRow(
      'tokens',
      { ...row, limits: LimitedTokensTracker.serializeTokenLimits(limits) },
      'insert or ignore',
    );
    this.#recordRowChange(jti, 1, limits);
    return true;
  }

  get #countTokenRows(): number {
    this.#count ??= this.tables.queryNumberOrZero('select count(*) from tokens');
    return this.#count;
  }

  /** @param more how many rows there are more than before @param limits those of a token that was minted */
  #recordRowChange(jti: string, more: number, limits?: TokenLimits): void {
    this.#rows.invalidateTokenRow(jti);
    this.#limitedTokens.invalidateToken(jti, limits);
    if (this.#count !== undefined) this.#count += more;
  }

  #countValidTokens(now: number): number {
    return this.tables.queryNumberOrZero(
      `select count(*) from tokens
       where minted_at is not null and revoked_at is null and (expires_at is null or expires_at > ?)`,
      now,
    );
  }

  hasToken(jti: string): boolean {
    return this.#rows.findTokenRow(jti) !== undefined;
  }

  /** Revokes a token, known or not. @returns false if it was revoked already */
  revoke(jti: string, now: number): boolean {
    const row = this.#rows.findTokenRow(jti);
    if (row?.isRevoked) return false;
    this.tables.runWriteStatement(
      'insert into tokens (jti, revoked_at) values (?, ?) on conflict (jti) do update set revoked_at = excluded.revoked_at',
      jti,
      now,
    );
    this.#recordRowChange(jti, row ? 0 : 1);
    return true;
  }

  /** Revokes every token that was issued until a time, seen or not. */
  revokeTokensIssuedUntil(until: number): void {
    this.#revokedBefore = Math.max(this.#revokedBefore, until);
    this.tables.writeMetaValue('revoked_before', String(this.#revokedBefore));
    this.tables.runWriteStatement(
      `update tokens set revoked_at = ?1 where revoked_at is null and known_since <= ?1`,
      until,
    );
    this.#rows.invalidateAllTokenRows();
    this.#limitedTokens.invalidateAllTokens();
  }

  /** Deletes what is known of the tokens that were issued until a time, except which ones are revoked. */
  eraseTokensIssuedUntil(until: number): void {
    this.tables.runWriteStatement(
      `update tokens set label = null, scopes = null, countries = null
       where (label is not null or scopes is not null or countries is not null) and known_since <= ?`,
      until,
    );
    this.#rows.invalidateAllTokenRows();
    this.#limitedTokens.invalidateAllTokens();
    this.#count = undefined;
  }

  /**
   * Deletes tokens that expired a day ago or earlier: their own `exp` rejects them anyway. One that was revoked by itself stays
   * longer, because a run that it began may still wait for an approval.
   */
  deleteExpiredTokens(now: number): void {
    const expired = 'from tokens where expires_at < ? and (revoked_at is null or revoked_at <= ? or expires_at < ?)';
    const times = [now - DAY_MS, this.#revokedBefore, now - REVOCATION_KNOWN_MS - DAY_MS];
    const rows = this.tables.readAllRows<{ jti: string }>(`select jti ${expired}`, ...times);
    if (rows.length === 0) return;
    this.tables.runWriteStatement(`delete from token_locations where jti in (select jti ${expired})`, ...times);
    this.tables.runWriteStatement(`delete ${expired}`, ...times);
    for (const { jti } of rows) this.#recordRowChange(jti, -1);
  }

  /**
   * @returns a page of the tokens, newest first, by the time they were minted; if that is not known, seen; if not seen,
   * revoked.
   */
  listTokens(page: PageSelection): ListPage<TokenRow> {
    const order = ['known_since', 'jti'];
    const edge = 'select known_since, jti from tokens where jti = ?1';
    const select = '*, jti as id from tokens where true';
    const rows = this.tables.selectPage<TokenTableRow & { id: string }>({ select, order, edge }, page);
    return { ...rows, data: this.#describeTokens(rows.data) };
  }

  #describeTokens(rows: readonly TokenTableRow[], maxLocations = MAX_LISTED_LOCATIONS): TokenRow[] {
    const limits = this.#limitedTokens.describeTokenLimits(rows);
    const none = { limits: null, spent_usd: null };
    const locations = this.#locations.listLocations(
      rows.map(({ jti }) => jti),
      maxLocations,
    );
    return rows.map((row, index) => ({
      ...toTokenRow(row),
      ...(limits[index] ?? none),
      locations: (locations.get(row.jti) ?? []).map(({ hour, ...location }) => ({
        hour: toIsoTime(hour * HOUR_MS),
        ...location,
      })),
    }));
  }
}

/** @returns the country from which a token is used, if a new one is reported: the token is for operators, or does not expire */
function getWatchedCountry({ operatorScopes, exp, location }: CredentialClaims): string | undefined {
  return operatorScopes !== undefined || exp === undefined ? (location?.country ?? undefined) : undefined;
}

function toTokenRow(row: TokenTableRow): Omit<TokenRow, 'limits' | 'spent_usd' | 'locations'> {
  return {
    jti: row.jti,
    label: row.label,
    scopes: row.scopes === null ? null : row.scopes.split(' ').filter((scope) => scope !== ''),
    minted_at: toIsoTimeOrNull(row.minted_at),
    first_seen_at: toIsoTimeOrNull(row.first_seen_at),
    ...(row.last_seen_at === null ? {} : { last_seen_at: toIsoTimeOrNull(row.last_seen_at) }),
    expires_at: toIsoTimeOrNull(row.expires_at),
    revoked_at: toIsoTimeOrNull(row.revoked_at),
  };
}

/** @returns a JWT's seconds as whole milliseconds, within the range of a date. */
function secondsToMs(seconds: number | undefined): number | null {
  if (seconds === undefined || !Number.isFinite(seconds)) return null;
  return Math.min(Math.max(0, Math.round(seconds * 1_000)), 8.64e15);
}
