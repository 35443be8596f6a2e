/**
 * The rows behind a budget: one for each request, written twice, and rollups that many requests share.
 *
 * A settled row is not added to its rollup at once. Rows up to a marker have been folded into the rollups together; of
 * those after it the sums are taken when they are needed. So a request costs two rows written, and what a fold costs is
 * shared by a thousand of them.
 */

import { DAY_MS } from '../../async/durations.ts';
import type { Buckets, Hold } from '../../budget/state.ts';
import type { Opening } from '../../durable/contracts/settlement.ts';
import { readFormat, writeFormat } from '../../durable/stored-format.ts';
import { Tables } from '../../durable/tables.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import { type Closing, ERASED_MODEL, ROLLUP_MODEL, SUMS } from './tables.ts';

/** What an object that wakes must know to decide as if it had never slept. */
export interface Memory {
  last: number;
  fullAt: Omit<Buckets, 'counts'>;
  holds: Hold[];
  unfolded: number;
}

/** Where the folded rows end. */
interface Fold {
  marker: string;
  last: number;
  requests: number;
  input: number;
  output: number;
  /** Rows up to the marker that were not settled when it was set. */
  open: string[];
}

const FOLD_EVERY = 1_000;
const CLOSE = `update ledger set status = ?, stage = ?, cost = ?, input_tokens = ?, output_tokens = ?, answered_by = ?,
  stop_reason = ?, upstream_request_id = ?, ttft_ms = ?, ms = ?, settled_at = ?, input_full_at = ?, output_full_at = ?`;
const UPSERT = `on conflict (day, model) do update set requests = requests + excluded.requests, ${SUMS.map(
  (column) => `${column} = ${column} + excluded.${column}`,
).join(', ')}`;

/** @returns whether the rest of the row is as it was opened: each column that is written costs. */
function isPlain({ tokens, estimated, overHold, late, errorType, upstream }: Closing): boolean {
  const { cacheRead, cacheWrite5m, cacheWrite1h, thinking, webSearches } = tokens;
  const others = cacheRead + cacheWrite5m + cacheWrite1h + thinking + webSearches;
  return others === 0 && errorType === null && upstream === null && !(estimated || overHold || late);
}

export class Ledger extends Tables {
  #fold: Fold;
  #unfolded = 0;

  constructor(storage: DurableObjectStorage) {
    super(storage);
    const stored = this.meta('fold');
    this.#fold = stored
      ? readFormat<Fold>('fold', stored)
      : { marker: '', last: 0, requests: 0, input: 0, output: 0, open: [] };
  }

  /** @returns rows after this id are not in the rollups yet. */
  get marker(): string {
    return this.#fold.marker;
  }

  /** Writes the row of a request that was admitted; `hold.id` must be new. */
  open(hold: Hold, opening: Opening, buckets: Buckets): void {
    this.write(
      `insert into ledger (id, at, route, model, unpriced, conversation, prefix, token, status, stage, max_tokens, hold,
         held_input, held_output, deadline, requests_full_at, input_full_at, output_full_at)
       values (?, ?, ?, ?, ?, ?, ?, ?, 'held', ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      hold.id,
      hold.at,
      opening.route,
      opening.model,
      opening.unpriced ? 1 : 0,
      opening.conversation,
      opening.prefix,
      opening.token,
      hold.stage,
      hold.maxTokens,
      hold.nanodollars,
      hold.inputTokens,
      hold.outputTokens,
      hold.deadline,
      buckets.requests,
      buckets.input,
      buckets.output,
    );
    if (hold.id > this.#fold.marker) this.#unfolded += 1;
    else this.#setFold({ ...this.#fold, open: [...this.#fold.open, hold.id] });
  }

  /** Writes that a request still runs: until when its hold lasts, and how far the request is. */
  renew(id: string, deadline: number, stage: string): void {
    this.write('update ledger set deadline = ?, stage = ? where id = ?', deadline, stage, id);
  }

  /** Settles a row; `buckets` as they are afterwards. */
  close(id: string, closing: Closing, buckets: Buckets): void {
    const update = () => this.#update(id, closing, buckets);
    if (id > this.#fold.marker) update();
    else {
      // Its place in the rollups has been passed: taken out as it was, if it was in, and put in as it is.
      this.together(() => {
        if (!this.#fold.open.includes(id)) this.#rollUp('id = ?', -1, id);
        update();
        this.#rollUp('id = ?', 1, id);
        const { input, output } = buckets;
        this.#setFold({
          ...this.#fold,
          input,
          output,
          last: closing.at,
          open: this.#fold.open.filter((x) => x !== id),
        });
      });
    }
  }

  #update(id: string, closing: Closing, buckets: Buckets): void {
    const { tokens } = closing;
    const common = [
      closing.status,
      closing.stage,
      closing.cost,
      tokens.input,
      tokens.output,
      closing.answeredBy,
      closing.stopReason,
      closing.upstreamRequestId,
      closing.ttftMs,
      closing.ms,
      closing.at,
      buckets.input,
      buckets.output,
    ];
    if (isPlain(closing)) {
      this.write(`${CLOSE} where id = ?`, ...common, id);
      return;
    }
    this.write(
      `${CLOSE}, cache_read_tokens = ?, cache_write_5m_tokens = ?, cache_write_1h_tokens = ?, thinking_tokens = ?,
         web_searches = ?, estimated = ?, over_hold = ?, late = ?, error_type = ?, upstream = ? where id = ?`,
      ...common,
      tokens.cacheRead,
      tokens.cacheWrite5m,
      tokens.cacheWrite1h,
      tokens.thinking,
      tokens.webSearches,
      closing.estimated ? 1 : 0,
      closing.overHold ? 1 : 0,
      closing.late ? 1 : 0,
      closing.errorType,
      closing.upstream,
      id,
    );
  }

  /** @returns the row of a request, or undefined. */
  find(id: string): { at: number; status: string; hold: number; cost: number } | undefined {
    return this.read<{ at: number; status: string; hold: number; cost: number }>(
      'select at, status, hold, cost from ledger where id = ?',
      id,
    )[0];
  }

  /** Folds settled rows into the rollups once there are enough of them, or at once. */
  fold(atOnce = false): void {
    if (this.#unfolded < (atOnce ? 1 : FOLD_EVERY)) return;
    const { marker } = this.#fold;
    const [seen] = this.read<{ id: string } & Record<'last' | 'requests' | 'input' | 'output', number>>(
      `select max(id) as id, max(max(at, coalesce(settled_at, 0))) as last, max(requests_full_at) as requests,
         max(input_full_at) as input, max(output_full_at) as output from ledger where id > ?`,
      marker,
    );
    if (!seen?.id) return;
    const open = this.read<{ id: string }>("select id from ledger where id > ? and status = 'held'", marker);
    this.together(() => {
      this.#rollUp("id > ? and status != 'held'", 1, marker);
      this.#setFold({
        marker: seen.id,
        last: Math.max(this.#fold.last, seen.last),
        requests: Math.max(this.#fold.requests, seen.requests),
        input: Math.max(this.#fold.input, seen.input),
        output: Math.max(this.#fold.output, seen.output),
        open: [...this.#fold.open, ...open.map(({ id }) => id)],
      });
    });
    this.#unfolded = 0;
  }

  /**
   * Forgets what was spent on what. What was spent in all stays, a nameless row for each window that has begun: or to be
   * erased would be to be given a new budget, and the sums would not be those of the bill.
   *
   * @param starts when the windows began; milliseconds since 1970
   */
  forgetNames(starts: readonly number[]): void {
    this.fold(true);
    const days = [...new Set(starts.map((start) => Math.floor(start / DAY_MS)))].sort((left, right) => right - left);
    const sums = SUMS.map((column) => `coalesce(sum(${column}), 0) as ${column}`).join(', ');
    type Sums = Record<'requests' | (typeof SUMS)[number], number>;
    let before = Number.MAX_SAFE_INTEGER;
    const kept = days.map((day) => {
      const [row] = this.read<Sums>(
        `select coalesce(sum(requests), 0) as requests, ${sums} from rollups where day >= ? and day < ?`,
        day,
        before,
      );
      before = day;
      return { day, row };
    });
    this.together(() => {
      this.write('delete from rollups');
      for (const { day, row } of kept) if (row && row.requests > 0) this.#addNameless(day, row);
    });
  }

  /** Takes the row of a request out that was erased while it ran: what it has cost stays without its name. */
  forgetRow(hold: Hold, { cost, tokens }: Closing): void {
    this.together(() => {
      this.write('delete from ledger where id = ?', hold.id);
      this.forget(hold.id);
      this.#addNameless(Math.floor(hold.at / DAY_MS), {
        requests: 1,
        cost,
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        cache_read_tokens: tokens.cacheRead,
        cache_write_5m_tokens: tokens.cacheWrite5m,
        cache_write_1h_tokens: tokens.cacheWrite1h,
        thinking_tokens: tokens.thinking,
        web_searches: tokens.webSearches,
      });
    });
  }

  #addNameless(day: number, sums: Record<'requests' | (typeof SUMS)[number], number>): void {
    this.write(
      `insert into rollups (day, model, requests, ${SUMS.join(', ')})
       values (?, ?, ?, ${SUMS.map(() => '?').join(', ')}) ${UPSERT}`,
      day,
      ERASED_MODEL,
      sums.requests,
      ...SUMS.map((column) => sums[column]),
    );
  }

  /** Takes a row that was open at the last fold off its list. */
  forget(id: string): void {
    if (this.#fold.open.includes(id)) {
      this.#setFold({ ...this.#fold, open: this.#fold.open.filter((open) => open !== id) });
    }
  }

  /** @returns what must be known after waking; reads the rows that are not folded, and no others. */
  recall(): Memory {
    const { marker, last, requests, input, output, open } = this.#fold;
    const [seen] = this.read<Record<'unfolded' | 'last' | 'requests' | 'input' | 'output', number | null>>(
      `select count(*) as unfolded, max(max(at, coalesce(settled_at, 0))) as last, max(requests_full_at) as requests,
         max(input_full_at) as input, max(output_full_at) as output from ledger where id > ?`,
      marker,
    );
    this.#unfolded = seen?.unfolded ?? 0;
    const columns = `id, at, deadline, hold as nanodollars, held_input as inputTokens, held_output as outputTokens,
      max_tokens as maxTokens, stage`;
    type Row = Record<string, SqlStorageValue> & Hold;
    const holds = this.read<Row>(`select ${columns} from ledger where id > ? and status = 'held'`, marker);
    for (const id of open) {
      holds.push(...this.read<Row>(`select ${columns} from ledger where id = ? and status = 'held'`, id));
    }
    return {
      last: Math.max(last, seen?.last ?? 0),
      fullAt: {
        requests: Math.max(requests, seen?.requests ?? 0),
        input: Math.max(input, seen?.input ?? 0),
        output: Math.max(output, seen?.output ?? 0),
      },
      holds,
      unfolded: this.#unfolded,
    };
  }

  /** @returns what was settled by requests admitted since `start`, a day's beginning. */
  settledSince(start: number): Nanodollars {
    const [row] = this.read<{ folded: number; unfolded: number }>(
      `select (select coalesce(sum(cost), 0) from rollups where day >= ?) as folded,
         (select coalesce(sum(cost), 0) from ledger where id > ? and at >= ?) as unfolded`,
      Math.floor(start / DAY_MS),
      this.#fold.marker,
      start,
    );
    return (row?.folded ?? 0) + (row?.unfolded ?? 0);
  }

  #setFold(fold: Fold): void {
    this.#fold = fold;
    this.setMeta('fold', writeFormat('fold', fold));
  }

  #rollUp(where: string, sign: 1 | -1, binding: string): void {
    this.write(
      `insert into rollups (day, model, requests, ${SUMS.join(', ')})
       select at / ${DAY_MS} as day, ${ROLLUP_MODEL} as rolled, ${sign} * count(*),
         ${SUMS.map((column) => `${sign} * sum(${column})`).join(', ')}
       from ledger where ${where} group by day, rolled ${UPSERT}`,
      binding,
    );
  }
}
