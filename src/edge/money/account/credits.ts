/** Keeps credit: money that an account was given in addition to its limit `usd_total`, some with an expiry, and what was taken back. */

import { type Nanodollars, toUsd, usdToNanodollars } from '../../claude/pricing/cost.ts';
import type { ListPage, PageSelection } from '../../durable/page.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { paginateRowsInMemory } from '../../kit/http/page.ts';
import { toIsoTimeOrNull } from '../../kit/http/times.ts';
import { MAX_USD } from '../budget/limits.schema.ts';
import type { GiveCreditOutcome, NewCredit } from '../contracts/account.ts';
import type { CreditRow } from './usage-answers.schema.ts';

/** One credit in memory. Times are milliseconds since 1970. */
interface AccountCredit {
  id: string;
  /** The caller's name of the grant, so that a repeated request does not give it twice. */
  key: string | null;
  amount: Nanodollars;
  /** The amount that was spent of it, if it expires. For other credits this is computed when it is read. */
  spent: Nanodollars;
  note: string | null;
  createdAt: number;
  expiresAt: number | null;
}

const ALL_CREDITS = `select id, key, amount, spent, note, created_at as createdAt, expires_at as expiresAt
  from credits order by created_at, id`;
const MAX_CREDITS = 10_000;
const MAX_CREDIT_NANODOLLARS: Nanodollars = usdToNanodollars(MAX_USD);

/**
 * Keeps the credits of an account.
 *
 * The cost of a request is taken from the credits that had not expired when it was admitted, beginning with the earliest to
 * expire. What they do not cover is taken from the rest: the limit, and the credits that never expire. Only a credit that
 * expires must know what was spent of it. So the others cost no row per request.
 */
export class AccountCredits extends TableRowsBase {
  /** Oldest first. */
  readonly #all: AccountCredit[];

  /** @param hasAny whether any credit was given. Most accounts have none, and then nothing is read */
  constructor(tables: SqlTables, hasAny: boolean) {
    super(tables);
    this.#all = hasAny ? tables.readAllRows<Record<string, SqlStorageValue> & AccountCredit>(ALL_CREDITS) : [];
  }

  hasCredit(id: string): boolean {
    return this.#all.some((one) => one.id === id);
  }

  /** Gives credit, once for each id and each key. */
  giveCredit({ id, key, usd, expiresAt, note }: NewCredit, now: number): GiveCreditOutcome {
    const amount = usdToNanodollars(usd);
    const credit = { id, key: key ?? null, amount, spent: 0, note: note ?? null, createdAt: now, expiresAt };
    const earlier = this.#all.find((one) => one.id === id || (key !== undefined && one.key === key));
    if (earlier) {
      const isSame = earlier.amount === amount && earlier.expiresAt === expiresAt;
      return isSame ? { outcome: 'given', id: earlier.id } : { outcome: 'other' };
    }
    const sum = this.#all.reduce((before, one) => before + one.amount, amount);
    if (this.#all.length >= MAX_CREDITS || sum > MAX_CREDIT_NANODOLLARS) return { outcome: 'full' };
    this.tables.runWriteStatement(
      'insert into credits (id, key, amount, spent, note, created_at, expires_at) values (?, ?, ?, 0, ?, ?, ?)',
      ...[credit.id, credit.key, amount, credit.note, now, expiresAt],
    );
    this.#all.push(credit);
    return { outcome: 'given', id };
  }

  /** @returns how much all credits add to the limit. An expired credit adds only what was spent of it. */
  computeAddedLimit(now: number): Nanodollars {
    if (this.#all.length === 0) return 0;
    return this.#all.reduce((sum, { amount, spent, expiresAt }) => {
      return sum + (expiresAt !== null && expiresAt <= now ? spent : amount);
    }, 0);
  }

  /**
   * Takes the cost of a request from the credits that expire, the earliest first. A negative cost gives back.
   *
   * @param at when the request was admitted; milliseconds since 1970
   */
  chargeExpiringCredits(at: number, cost: Nanodollars): void {
    if (cost === 0) return;
    const open = this.#all
      .filter(({ createdAt, expiresAt }) => expiresAt !== null && createdAt <= at && at < expiresAt)
      .sort((remaining, right) => (remaining.expiresAt ?? 0) - (right.expiresAt ?? 0));
    if (cost < 0) open.reverse();
    let rest = cost;
    for (const credit of open) {
      const part = rest > 0 ? Math.min(rest, credit.amount - credit.spent) : Math.max(rest, -credit.spent);
      if (part === 0) continue;
      this.tables.runWriteStatement('update credits set spent = ? where id = ?', credit.spent + part, credit.id);
      credit.spent += part;
      rest -= part;
      if (rest === 0) return;
    }
  }

  /** Deletes the notes of the credits that were given up to a time. The money stays. */
  deleteCreditNotes(until: number): void {
    if (this.#all.every(({ note }) => note === null)) return;
    this.tables.runWriteStatement('update credits set note = null where note is not null and created_at <= ?', until);
    for (const credit of this.#all) if (credit.createdAt <= until) credit.note = null;
  }

  /**
   * @param limit the limit `usd_total`, which is spent before the credits that never expire
   * @param settled what the account has spent in total
   * @returns a page of the credits, newest first
   */
  listCreditsPage(page: PageSelection, limit: Nanodollars, settled: Nanodollars, now: number): ListPage<CreditRow> {
    const expiring = this.#all.reduce((sum, { spent, expiresAt }) => sum + (expiresAt === null ? 0 : spent), 0);
    let rest = Math.max(0, settled - expiring - limit);
    const rows = this.#all.map((credit) => {
      const spent = credit.expiresAt === null ? Math.min(rest, Math.max(0, credit.amount)) : credit.spent;
      if (credit.expiresAt === null) rest -= spent;
      return toCreditRow(credit, spent, now);
    });
    rows.reverse();
    return paginateRowsInMemory(rows, page, ({ id }) => id, 'end');
  }
}

function toCreditRow(
  { id, amount, note, createdAt, expiresAt }: AccountCredit,
  spent: Nanodollars,
  now: number,
): CreditRow {
  const isGone = expiresAt !== null && expiresAt <= now;
  return {
    type: 'credit',
    id,
    usd: toUsd(amount),
    spent_usd: toUsd(spent),
    left_usd: toUsd(isGone ? 0 : amount - spent),
    note,
    created_at: new Date(createdAt).toISOString(),
    expires_at: toIsoTimeOrNull(expiresAt),
  };
}
