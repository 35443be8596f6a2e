/** Keeps the limits of single tokens (credentials), and what they have spent. */

import type { Purse } from '../budget/purses.ts';
import { NEVER } from '../budget/windows.ts';
import { readFormat, writeFormat } from '../durable/stored-format.ts';
import { fromUsd, type Nanodollars, toUsd } from '../pricing/cost.ts';
import type { TokenLimits } from '../settings/limits.schema.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { QuotaReport } from './usage-answers.schema.ts';

interface LimitedToken {
  limits: TokenLimits;
  settled: Nanodollars;
  held: Nanodollars;
}

/**
 * Keeps what tokens with their own limits have spent and set aside. Their rows have what they spent up to the last fold of
 * the ledger. When the object wakes, later requests are summed up.
 */
export class TokensWithLimits {
  readonly #tokens = new Map<string, LimitedToken>();

  constructor(ledger: Ledger) {
    const rows = ledger.read<{ jti: string; limits: string; spent: number }>(
      'select jti, limits, spent from tokens where limits is not null',
    );
    if (rows.length === 0) return;
    const unfolded = ledger.unfoldedByToken();
    for (const { jti, limits, spent } of rows) {
      const settled = spent + (unfolded.get(jti) ?? 0);
      this.#tokens.set(jti, { limits: readFormat<TokenLimits>('limits', limits), settled, held: 0 });
    }
  }

  /** @returns the limits of a token in the form of its row; null if it has none. */
  static textOf(limits: TokenLimits | undefined): string | null {
    return limits === undefined ? null : writeFormat('limits', limits);
  }

  /** Notes the limits of a token that was just minted. */
  add(jti: string, limits: TokenLimits | undefined): void {
    if (limits !== undefined) this.#tokens.set(jti, { limits, settled: 0, held: 0 });
  }

  /** @returns the models that a token may use; undefined if it may use those of its account. */
  modelsOf(jti: string | undefined): readonly string[] | undefined {
    return this.#find(jti)?.limits.models;
  }

  /** @returns the purse of a token; undefined if its spending is not limited. */
  purseOf(jti: string | undefined): Purse | undefined {
    const token = this.#find(jti);
    if (token?.limits.usd_total === undefined) return undefined;
    const { settled, held, limits } = token;
    return { by: 'token', name: 'usd_total', most: fromUsd(limits.usd_total ?? 0), settled, held, end: NEVER };
  }

  /** @returns the quota status of a token, in the form of answers; null if it has no limits. */
  report(jti: string | undefined): QuotaReport['token'] {
    const token = this.#find(jti);
    if (!token) return null;
    const { v: _, ...limits } = token.limits as TokenLimits & { v?: number };
    return { limits, settled_usd: toUsd(token.settled), held_usd: toUsd(token.held) };
  }

  /** Adds a hold of a token's request. */
  hold(jti: string | null | undefined, nanodollars: Nanodollars): void {
    const token = this.#find(jti);
    if (token) token.held += nanodollars;
  }

  /** Replaces a hold by what the request cost. Without a hold it corrects the settled sum. */
  settle(jti: string | null | undefined, held: Nanodollars, spent: Nanodollars): void {
    const token = this.#find(jti);
    if (!token) return;
    token.held -= held;
    token.settled += spent;
  }

  #find(jti: string | null | undefined): LimitedToken | undefined {
    return jti === undefined || jti === null ? undefined : this.#tokens.get(jti);
  }
}
