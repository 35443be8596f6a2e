/** Keeps the limits of single tokens (credentials), and what they have spent. */

import { type Nanodollars, toUsd, usdToNanodollars } from '../../claude/pricing/cost.ts';
import type { QuotaReport, TokenRow } from '../account/usage-answers.schema.ts';
import { type BudgetWindow, computeUsedShare } from '../budget/budget-windows.ts';
import type { TokenLimits } from '../budget/limits.schema.ts';
import type { Hold } from '../budget/state.ts';
import { NEVER } from '../budget/windows.ts';
import type { AdmissionContext, SpendLimitedToken } from '../contracts/admission.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { SettledRequestFields } from '../ledger/tables.ts';
import type { TokenRowCache } from './token-row-cache.ts';

interface LimitedTokenTotals {
  limits: TokenLimits;
  settled: Nanodollars;
  held: Nanodollars;
}

interface UsdLimitedTokenTotal extends Pick<SpendLimitedToken, 'limit_usd' | 'until'> {
  settled: Nanodollars;
}

/** The limits in a token's row. */
export interface TokenLimitsRow {
  jti: string;
  limits: string | null;
  /** The amount that it has settled, up to the last fold of the ledger. */
  spent: Nanodollars;
}

const MAX_LIMITED_TOKENS = 1_000;

/**
 * Tracks the spending and the holds of tokens with their own limits. The settled amount of a token is in its row, up to the
 * last fold of the ledger, and in later rows of the ledger. It is read when the token is first used after a wake.
 */
export class LimitedTokensTracker {
  readonly owners = ['token'] as const;
  readonly #ledger: Ledger;
  readonly #rows: TokenRowCache;
  readonly #holds: ReadonlyMap<string, Hold>;
  /** Those that were used since the object woke. */
  readonly #used = new Map<string, LimitedTokenTotals>();
  /** The settled amounts of the tokens that have a limit in USD and are not revoked; undefined until it is first read. */
  #live: Map<string, UsdLimitedTokenTotal> | undefined;

  /** @param holds all holds of the account */
  constructor(ledger: Ledger, rows: TokenRowCache, holds: ReadonlyMap<string, Hold>) {
    this.#ledger = ledger;
    this.#rows = rows;
    this.#holds = holds;
  }

  /** @returns the limits of a token in the form of its row; null if it has none. */
  static serializeTokenLimits(limits: TokenLimits | undefined): string | null {
    return limits === undefined ? null : JSON.stringify(limits);
  }

  /** Records that a token's row was made, revoked or deleted. @param limits those that it was minted with */
  invalidateToken(jti: string, limits?: TokenLimits): void {
    this.#used.delete(jti);
    if (limits !== undefined || this.#live?.has(jti)) this.#live = undefined;
  }

  /** Records that the rows of many tokens have changed. */
  invalidateAllTokens(): void {
    this.#live = undefined;
  }

  /** @returns the valid token that has used up most of its limit in USD, as a share; undefined if none has one */
  findTokenWithTightestLimit(now: number): SpendLimitedToken | undefined {
    this.#live ??= this.#readUsdLimitedTokens();
    let [most, found]: [share: number, found?: SpendLimitedToken] = [-1];
    for (const [jti, { settled, ...own }] of this.#live) {
      if (own.until !== null && own.until <= now) continue;
      const token = { jti, ...own, used_usd: toUsd(settled) };
      const share = computeUsedShare(token);
      if (share > most) [most, found] = [share, token];
    }
    return found;
  }

  #readUsdLimitedTokens(): Map<string, UsdLimitedTokenTotal> {
    const rows = this.#ledger.readAllRows<Record<string, SqlStorageValue> & TokenLimitsRow & { until: number | null }>(
      'select jti, limits, spent, expires_at as until from tokens where limits is not null and revoked_at is null',
    );
    const unfolded = rows.length > 0 ? this.#ledger.sumUnfoldedByToken() : undefined;
    return new Map(
      rows.flatMap(({ jti, limits, spent, until }) => {
        const limit_usd = (JSON.parse(String(limits)) as TokenLimits).usd_total;
        return limit_usd === undefined ? [] : [[jti, { limit_usd, settled: spent + (unfolded?.get(jti) ?? 0), until }]];
      }),
    );
  }

  /** @returns the models that a token may use; undefined if it may use those of its account. */
  getAllowedModels(jti: string | undefined): readonly string[] | undefined {
    return this.#findOrReadToken(jti)?.limits.models;
  }

  /** @returns the budget window of a token; undefined if its spending is not limited. */
  createTokenBudgetWindow(jti: string | undefined): BudgetWindow | undefined {
    const token = this.#findOrReadToken(jti);
    if (token?.limits.usd_total === undefined) return undefined;
    const { settled, held, limits } = token;
    return {
      by: 'token',
      name: 'usd_total',
      limit: usdToNanodollars(limits.usd_total ?? 0),
      settled,
      held,
      end: NEVER,
    };
  }

  /** @returns the quota status of a token, in the form of answers; null if it has no limits. */
  reportTokenQuota(jti: string | undefined): QuotaReport['token'] {
    const token = this.#findOrReadToken(jti);
    if (!token) return null;
    return { limits: token.limits, settled_usd: toUsd(token.settled), held_usd: toUsd(token.held) };
  }

  /** @returns the limits of listed tokens, and what they have settled, in the form of answers. */
  describeTokenLimits(rows: readonly TokenLimitsRow[]): Pick<TokenRow, 'limits' | 'spent_usd'>[] {
    const areLimited = rows.some(({ limits }) => limits !== null);
    const unfolded: ReadonlyMap<string, Nanodollars> = areLimited ? this.#ledger.sumUnfoldedByToken() : new Map();
    return rows.map(({ jti, limits, spent }) =>
      limits === null
        ? { limits, spent_usd: null }
        : { limits: JSON.parse(limits) as TokenLimits, spent_usd: toUsd(spent + (unfolded.get(jti) ?? 0)) },
    );
  }

  key(_: string, { token }: Pick<AdmissionContext, 'token'>): string {
    return `token:${token?.jti}`;
  }

  budgetWindows({ token }: Pick<AdmissionContext, 'token'>): BudgetWindow[] {
    const window = this.createTokenBudgetWindow(token?.jti);
    return window ? [window] : [];
  }

  /** Adds a hold of a token's request, after it was added to all holds. */
  hold(hold: Hold): void {
    const token = this.#findCachedToken(hold.token);
    if (token) token.held += hold.nanodollars;
  }

  /** Replaces a hold by what the request cost, after that was stored. */
  settle(hold: Hold, { closing }: { closing: Pick<SettledRequestFields, 'cost'> }): void {
    const token = this.#findCachedToken(hold.token);
    if (token) token.held -= hold.nanodollars;
    this.correct(hold, closing.cost);
  }

  correct({ token: jti }: Pick<Hold, 'token'>, more: Nanodollars): void {
    const token = this.#findCachedToken(jti);
    if (token) token.settled += more;
    const live = jti ? this.#live?.get(jti) : undefined;
    if (live) live.settled += more;
  }

  /** @returns a token whose sums are known. Those of any other are read later, and then have this change already. */
  #findCachedToken(jti: string | null | undefined): LimitedTokenTotals | undefined {
    return jti === undefined || jti === null ? undefined : this.#used.get(jti);
  }

  #findOrReadToken(jti: string | undefined): LimitedTokenTotals | undefined {
    const used = this.#findCachedToken(jti);
    if (used || jti === undefined) return used;
    const limits = this.#rows.findTokenRow(jti)?.limits ?? null;
    if (limits === null) return undefined;
    const token = this.#readTokenTotals(jti, JSON.parse(limits) as TokenLimits);
    if (this.#used.size >= MAX_LIMITED_TOKENS) this.#used.clear();
    this.#used.set(jti, token);
    return token;
  }

  #readTokenTotals(jti: string, limits: TokenLimits): LimitedTokenTotals {
    let held = 0;
    for (const { token, nanodollars } of this.#holds.values()) if (token === jti) held += nanodollars;
    return { limits, settled: this.#ledger.sumSettledByToken(jti), held };
  }
}
