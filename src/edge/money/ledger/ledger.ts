/**
 * The rows behind a budget: one for each request, which is written twice, and rollups that many requests share. All code that
 * moves the marker between the two is here, since no step may change the sums. So the file is long.
 *
 * A settled row is not added to its rollup at once. Rows up to a marker have been folded into the rollups together; later
 * rows are summed up when needed. So a request costs two written rows, and a thousand requests share the cost of a fold.
 */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import {
  ADD_SUMS,
  addSums,
  type COURSE_COLUMNS,
  SUM_COLUMNS,
  SUMMED_COLUMNS,
  SUMMED_UP,
  type UsageSums,
} from '../../claude/pricing/usage-sums.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { migrate, migratedMeta } from '../../kit/objects/migrations.ts';
import { readFormat, writeFormat } from '../../kit/objects/stored-format.ts';
import { Tables } from '../../kit/objects/tables.ts';
import type { Buckets, Hold } from '../budget/state.ts';
import { columnsAbout } from '../contracts/about.ts';
import type { KeptHold } from '../contracts/admission.ts';
import type { Opening } from '../contracts/settlement.ts';
import { rollUpDimensions } from './dimensions.ts';
import { type Fold, hourOf, hourWith, NO_FOLD } from './fold.ts';
import { type Memory, recallMemory, type Starts } from './recall.ts';
import { type Closing, ERASED_MODEL, IMPORTED_MODEL, LEDGER_MIGRATIONS, ROLLUP_MODEL } from './tables.ts';

/** The part of a row that settling needs. */
interface FoundRow extends Record<string, SqlStorageValue> {
  at: number;
  status: string;
  hold: number;
  cost: number;
  token: string | null;
  group: string | null;
}

const FOLD_EVERY = 1_000;
const UPSERT = `on conflict (day, model) do update set ${ADD_SUMS}, seq = excluded.seq`;
const UPSERT_GROUP = `on conflict (pool_group, day, model) do update set ${ADD_SUMS}`;
const COLUMNS = SUM_COLUMNS.join(', ');
const PLACES = SUM_COLUMNS.map(() => '?').join(', ');

/** @returns whether only the cost, status and upstream of the row change. Each column that is written costs time. */
function isPlain({ tokens, estimated, overHold, late, errorType }: Closing): boolean {
  const { cacheRead, cacheWrite5m, cacheWrite1h, thinking, webSearches } = tokens;
  const others = cacheRead + cacheWrite5m + cacheWrite1h + thinking + webSearches;
  return others === 0 && errorType === null && !(estimated || overHold || late);
}

export class Ledger extends Tables {
  #fold: Fold;
  #unfolded = 0;
  /** The number of the last change of the rollups; undefined until somebody asks. */
  #lastSeq: number | undefined;
  /** The first day whose rollups have changed since a change number; not known when the object wakes. */
  #changed = { since: Number.POSITIVE_INFINITY, day: 0 };

  /** The content of the table `meta` when the object woke; undefined after the wake, or after a write to it. */
  #metaAtWake: ReadonlyMap<string, string> | undefined;

  /** @param onMade called once the tables are made, before the first row is written */
  constructor(storage: DurableObjectStorage, onMade: () => void = () => {}) {
    const meta = migratedMeta(storage, LEDGER_MIGRATIONS);
    const make = () => {
      migrate(storage, LEDGER_MIGRATIONS, meta);
      onMade();
    };
    super(storage, meta.size === 0 ? make : undefined);
    // One read serves all parts that wake.
    this.#metaAtWake = meta;
    const stored = this.meta('fold');
    this.#fold = stored ? readFormat<Fold>('fold', stored) : NO_FOLD;
  }

  /** Notes that all parts of the object are awake. From now on each value of `meta` is read from the table. */
  awake(): void {
    this.#metaAtWake = undefined;
  }

  override meta(key: string): string | undefined {
    return this.#metaAtWake ? this.#metaAtWake.get(key) : super.meta(key);
  }

  override setMeta(key: string, value: string | undefined): void {
    this.#metaAtWake = undefined;
    super.setMeta(key, value);
  }

  /** @returns the marker: rows after this id are not in the rollups yet. */
  get marker(): string {
    return this.#fold.marker;
  }

  /** @returns the number of the last change of the rollups. */
  get seq(): number {
    // Not all changes are noted with the fold.
    this.#lastSeq ??= Math.max(
      this.#fold.seq,
      this.number(
        'select max(seq) from (select max(seq) as seq from rollups union all select max(seq) from dimensions)',
      ),
    );
    return this.#lastSeq;
  }

  /** @returns the first day (since 1970) whose rollups may have changed since a number, which is told for the last time. */
  firstDayChanged(since: number): number {
    const day = this.#changed.since <= since ? this.#changed.day : 0;
    this.#changed = { since: this.seq, day: Number.MAX_SAFE_INTEGER };
    return day;
  }

  /** Writes the row of a request that was admitted; `hold.id` must be new. @param keep is kept until it is settled */
  open(hold: Hold, opening: Opening, buckets: Buckets, keep?: string): void {
    const { unpriced, group, about, ...known } = opening;
    this.insert('ledger', {
      id: hold.id,
      at: hold.at,
      ...known,
      unpriced: Number(unpriced),
      status: 'held',
      stage: hold.stage,
      max_tokens: hold.maxTokens,
      hold: hold.nanodollars,
      held_input: hold.inputTokens,
      held_output: hold.outputTokens,
      deadline: hold.deadline,
      requests_full_at: buckets.requests,
      input_full_at: buckets.input,
      output_full_at: buckets.output,
      pool_group: group,
      ...(keep !== undefined && { keep }),
      ...columnsAbout(about),
    });
    if (hold.id > this.#fold.marker) this.#unfolded += 1;
    else this.#setFold({ ...this.#fold, open: [...this.#fold.open, hold.id] });
  }

  /** Notes in a row to which batch it belongs, and after its end the outcomes of its items. */
  ofBatch(id: string, batch: string, outcomes?: Readonly<Record<string, number>>): void {
    const text = outcomes === undefined ? null : JSON.stringify(outcomes);
    this.write('update ledger set batch = ?, outcomes = ? where id = ?', batch, text, id);
  }

  /** Renews a hold: stores until when it lasts, and how far the request has come. */
  renew(id: string, deadline: number, stage: string): void {
    this.write('update ledger set deadline = ?, stage = ? where id = ?', deadline, stage, id);
  }

  /** Settles a row. @param buckets the buckets after that */
  close(id: string, closing: Closing, buckets: Buckets): void {
    const update = () => this.#update(id, closing, buckets);
    if (id > this.#fold.marker) update();
    else {
      // The marker has passed this row, so its old figures are subtracted from the rollups, if they were added, and the new
      // ones added.
      this.together(() => {
        const before = this.find(id);
        const isNew = this.#fold.open.includes(id);
        if (!isNew) this.#rollUp('id = ?', -1, id);
        update();
        this.#rollUp('id = ?', 1, id);
        const { input, output } = buckets;
        const more = closing.cost - (isNew ? 0 : (before?.cost ?? 0));
        this.#setFold({
          ...this.#fold,
          ...this.#hourWith(before?.at ?? closing.at, more, before?.group),
          input,
          output,
          last: closing.at,
          open: this.#fold.open.filter((x) => x !== id),
        });
      });
    }
  }

  #update(id: string, closing: Closing, buckets: Buckets): void {
    const { status, stage, cost, ms, upstream, tools, firstEventMs, afterFirstMs } = closing;
    const { input_tokens, output_tokens, ...otherTokens } = tokenColumns(closing);
    const common = {
      ...{ status, stage, cost, ms, input_tokens, output_tokens },
      answered_by: closing.answeredBy,
      stop_reason: closing.stopReason,
      upstream_request_id: closing.upstreamRequestId,
      ttft_ms: closing.ttftMs,
      settled_at: closing.at,
      input_full_at: buckets.input,
      output_full_at: buckets.output,
      // An orphan may still be settled late.
      ...(status !== 'orphaned' && { keep: null }),
      ...(firstEventMs !== null && { first_event_ms: firstEventMs }),
      ...(afterFirstMs !== null && { after_first_ms: afterFirstMs }),
    };
    const others = {
      ...otherTokens,
      estimated: Number(closing.estimated),
      over_hold: Number(closing.overHold),
      late: Number(closing.late),
      error_type: closing.errorType,
      upstream,
    };
    const more = isPlain(closing) ? upstream !== null && { upstream } : others;
    this.update('ledger', { ...common, ...more, ...(tools !== null && { tools }) }, 'id = ?', id);
  }

  /** @returns the row of a request, or undefined. */
  find(id: string): FoundRow | undefined {
    return this.read<FoundRow>(
      'select at, status, hold, cost, token, pool_group as "group" from ledger where id = ?',
      id,
    )[0];
  }

  /** @returns the answers that ended by themselves among the last rows, the oldest first */
  lastEnded(): { model: string; tokens: number }[] {
    const last = 'select id, model, status, output_tokens from ledger order by id desc limit 1024';
    return this.read(`select model, output_tokens as tokens from (${last}) where status = 'complete' order by id`);
  }

  /** @returns what was kept for a request that is not settled; undefined if there is nothing */
  kept(id: string): KeptHold | undefined {
    return this.read<{ keep: string; hold: number; maxTokens: number }>(
      'select keep, hold, max_tokens as maxTokens from ledger where id = ? and keep is not null',
      id,
    )[0];
  }

  /** Folds settled rows into the rollups, if there are enough of them. @param atOnce folds in any case */
  fold(atOnce = false): void {
    if (this.#unfolded < (atOnce ? 1 : FOLD_EVERY)) return;
    const { marker } = this.#fold;
    const seen = this.#seen();
    if (!seen?.id) return;
    const open = this.read<{ id: string }>("select id from ledger where id > ? and status = 'held'", marker);
    const hour = Math.max(hourOf(seen.latest), this.#fold.hour.start);
    const inHour = this.read<{ group: string | null; cost: number }>(
      `select pool_group as "group", sum(cost) as cost from ledger where id > ? and status != 'held' and at >= ? group by 1`,
      marker,
      hour,
    );
    this.together(() => {
      this.#rollUp("id > ? and status != 'held'", 1, marker);
      this.#setFold({
        ...inHour.reduce((sums, { group, cost }) => hourWith(sums, hour, cost, group), hourWith(this.#fold, hour, 0)),
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

  /** Folds settled rows into the rollups, if any of them is from before a time. A fold writes rows, so others wait. */
  foldBefore(time: number): void {
    if (this.has("ledger where id > ? and at < ? and status != 'held'", this.#fold.marker, time)) this.fold(true);
  }

  /**
   * Deletes what the money was spent on. The totals stay, as a nameless row for each window that has begun. Otherwise an
   * erasure would give the account a new budget, and the sums would differ from the bill.
   *
   * @param starts when the windows began; milliseconds since 1970
   */
  forgetNames(starts: readonly number[]): void {
    this.fold(true);
    const days = [...new Set(starts.map((start) => Math.floor(start / DAY_MS)))].sort((left, right) => right - left);
    let before = Number.MAX_SAFE_INTEGER;
    const kept = days.map((day) => {
      const [row] = this.read<UsageSums>(
        `select ${SUMMED_UP} from rollups where day >= ? and day < ? having count(*) > 0`,
        day,
        before,
      );
      before = day;
      return { day, row };
    });
    // A group's sums by day stay. They are few, and its pool must go on counting them.
    const first = days.at(-1) ?? 0;
    this.together(() => {
      this.write('delete from rollups');
      this.write('delete from dimensions');
      this.write('delete from group_dimensions');
      for (const { day, row } of kept) if (row && row.requests > 0) this.#addNameless(day, row);
      this.write('delete from group_rollups where day < ?', first);
      const grouped = this.read<{ pool_group: string; day: number } & UsageSums>(
        `select pool_group, day, ${SUMMED_UP} from group_rollups group by pool_group, day`,
      );
      this.write('delete from group_rollups');
      for (const { pool_group, day, ...row } of grouped) this.#addNamelessOfGroup(pool_group, day, row);
    });
  }

  /** Removes the row of a request that was erased while it ran. Its cost stays, without a name. */
  forgetRow(hold: Hold, closing: Closing): void {
    const day = Math.floor(hold.at / DAY_MS);
    const sums = sumsOfClosing(closing);
    this.together(() => {
      this.write('delete from ledger where id = ?', hold.id);
      this.#setFold({
        ...this.#fold,
        ...this.#hourWith(hold.at, closing.cost, hold.group),
        open: this.#fold.open.filter((id) => id !== hold.id),
      });
      this.#addNameless(day, sums);
      if (hold.group !== undefined) this.#addNamelessOfGroup(hold.group, day, sums);
    });
  }

  #addNamelessOfGroup(group: string, day: number, sums: UsageSums): void {
    this.write(
      `insert into group_rollups (pool_group, day, model, ${COLUMNS}) values (?, ?, ?, ${PLACES}) ${UPSERT_GROUP}`,
      group,
      day,
      ERASED_MODEL,
      ...SUM_COLUMNS.map((column) => sums[column]),
    );
  }

  /** Adds what was spent elsewhere on a day (days since 1970). It keeps its day, and is marked as imported. */
  addImported(day: number, spent: Omit<UsageSums, (typeof COURSE_COLUMNS)[number]>): void {
    this.#addUnder(IMPORTED_MODEL, day, { ...addSums([]), ...spent });
  }

  #addNameless(day: number, sums: UsageSums): void {
    this.#addUnder(ERASED_MODEL, day, sums);
  }

  #addUnder(name: string, day: number, sums: UsageSums): void {
    this.write(
      `insert into rollups (day, model, seq, ${COLUMNS}) values (?, ?, ?, ${PLACES}) ${UPSERT}`,
      day,
      name,
      this.#nextSeq(day),
      ...SUM_COLUMNS.map((column) => sums[column]),
    );
  }

  /** Reads what must be known after a wake. @param starts when the windows began whose sums are wanted */
  recall(starts: Starts): Memory {
    const { unfolded, ...memory } = recallMemory(this, this.#fold, starts);
    this.#unfolded = unfolded;
    return memory;
  }

  /** @returns the highest values in the rows that are not folded; null if there are none. */
  #seen() {
    return this.read<{ id: string } & Record<'latest' | 'last' | keyof Memory['fullAt'], number>>(
      `select max(id) as id, max(at) as latest, max(max(at, coalesce(settled_at, 0))) as last,
         max(requests_full_at) as requests, max(input_full_at) as input, max(output_full_at) as output
       from ledger where id > ?`,
      this.#fold.marker,
    )[0];
  }

  /** @returns what a token with limits of its own has settled. */
  settledByToken(jti: string): Nanodollars {
    return this.number(
      'select spent + (select coalesce(sum(cost), 0) from ledger where id > ?2 and token = ?1) from tokens where jti = ?1',
      jti,
      this.#fold.marker,
    );
  }

  /** @returns what each token has settled since the last fold. */
  unfoldedByToken(): Map<string, Nanodollars> {
    const rows = this.read<{ token: string; cost: number }>(
      'select token, sum(cost) as cost from ledger where id > ? and token is not null group by token',
      this.#fold.marker,
    );
    return new Map(rows.map(({ token, cost }) => [token, cost]));
  }

  #hourWith(at: number, cost: Nanodollars, group: string | null | undefined): Pick<Fold, 'hour'> {
    return hourWith(this.#fold, at, cost, group);
  }

  #setFold(fold: Omit<Fold, 'seq'>): void {
    this.#fold = { ...fold, seq: this.seq };
    this.setMeta('fold', writeFormat('fold', this.#fold));
  }

  /** Numbers a change of the rollups of a day, and of later ones. */
  #nextSeq(day: number): number {
    const seq = this.seq + 1;
    this.#lastSeq = seq;
    this.#changed.day = Math.min(this.#changed.day, day);
    return seq;
  }

  #rollUp(where: string, sign: 1 | -1, binding: string): void {
    const seq = this.#nextSeq(this.number(`select min(at) / ${DAY_MS} from ledger where ${where}`, binding));
    this.write(
      `insert into rollups (day, model, seq, ${COLUMNS})
       select at / ${DAY_MS} as day, ${ROLLUP_MODEL} as rolled, ${seq}, ${sign} * count(*),
         ${SUMMED_COLUMNS.map((column) => `${sign} * sum(${column})`).join(', ')}
       from ledger where ${where} group by day, rolled ${UPSERT}`,
      binding,
    );
    this.write(
      `insert into group_rollups (pool_group, day, model, ${COLUMNS})
       select pool_group, at / ${DAY_MS} as day, ${ROLLUP_MODEL} as rolled, ${sign} * count(*),
         ${SUMMED_COLUMNS.map((column) => `${sign} * sum(${column})`).join(', ')}
       from ledger where (${where}) and pool_group is not null group by pool_group, day, rolled ${UPSERT_GROUP}`,
      binding,
    );
    rollUpDimensions(this, where, sign, binding, seq);
    this.write(
      `update tokens set spent = spent + ${sign} * (select sum(cost) from ledger where ${where} and token = jti)
       where limits is not null and jti in (select token from ledger where ${where})`,
      binding,
      binding,
    );
  }
}

/** @returns what a row that is erased adds to the sums: what it has used, and nothing about how it went. */
export function sumsOfClosing(closing: Closing): UsageSums {
  return { ...addSums([]), requests: 1, cost: closing.cost, ...tokenColumns(closing) };
}

function tokenColumns({ tokens }: Closing) {
  return {
    input_tokens: tokens.input,
    output_tokens: tokens.output,
    cache_read_tokens: tokens.cacheRead,
    cache_write_5m_tokens: tokens.cacheWrite5m,
    cache_write_1h_tokens: tokens.cacheWrite1h,
    thinking_tokens: tokens.thinking,
    web_searches: tokens.webSearches,
  };
}
