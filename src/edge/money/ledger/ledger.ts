/**
 * The rows behind a budget: one for each request, which is written twice, and rollups that many requests share. All code that
 * moves the marker between the two is here, since no step may change the sums.
 *
 * A settled row is not added to its rollup at once. Rows up to a marker have been folded into the rollups together; later
 * rows are summed up when needed. So a request costs two written rows, and a thousand requests share the cost of a fold.
 */
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { addSums, type UsageSums } from '../../claude/pricing/usage-sums.ts';
import { PluginTablesRegistry } from '../../durable/plugin-tables.ts';
import { createTables, readMetaTable } from '../../durable/schema.ts';
import { SqlTables } from '../../durable/tables.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { BucketRefillTimes, Hold } from '../budget/state.ts';
import type { RecoverableHold } from '../contracts/admission.ts';
import { type DimensionValues, serializeDimensions } from '../contracts/dimensions.ts';
import type { AdmittedRequestFields } from '../contracts/settlement.ts';
import { Rollups } from './rollups.ts';
import { LEDGER_TABLES, type SettledRequestFields } from './tables.ts';
import { TokenLocationTable } from './token-locations.ts';
import {
  addCostToLatestHour,
  type LedgerFoldState,
  NO_FOLD,
  readWakeState,
  toStartOfHour,
  type WakeState,
  type WindowStarts,
} from './wake-state.ts';

/** The part of a row that settling needs. */
interface SettlableRow extends Record<string, SqlStorageValue> {
  at: number;
  status: string;
  hold: number;
  cost: number;
  token: string | null;
  group: string | null;
}

const FOLD_INTERVAL_ROWS = 1_000;

/** @returns whether only the cost, status and upstream of the row change. Each column that is written costs time. */
function changesOnlyBasicColumns({
  tokens,
  saved,
  estimated,
  overHold,
  late,
  errorType,
}: SettledRequestFields): boolean {
  const { cacheRead, cacheWrite5m, cacheWrite1h, thinking, webSearches } = tokens;
  const others = cacheRead + cacheWrite5m + cacheWrite1h + thinking + webSearches + Math.abs(saved);
  return others === 0 && errorType === null && !(estimated || overHold || late);
}

export class Ledger extends SqlTables {
  readonly rollups: Rollups;
  readonly locations: TokenLocationTable;
  readonly #pluginTables: PluginTablesRegistry;
  #fold: LedgerFoldState;
  #unfoldedCount = 0;
  /** The content of the table `meta` when the object woke; undefined after the wake, or after a write to it. */
  #metaAtWake: ReadonlyMap<string, string> | undefined;

  /**
   * @param onMade called once the tables are made, before the first row is written
   * @param abort resets the object after a failed write; see `SqlTables`
   */
  constructor(storage: DurableObjectStorage, onMade: () => void = () => {}, abort?: (thrown: unknown) => void) {
    const meta = readMetaTable(storage.sql);
    const createLedgerTables = () => {
      createTables(storage, LEDGER_TABLES);
      onMade();
    };
    super(storage, meta ? undefined : createLedgerTables, abort);
    this.#pluginTables = new PluginTablesRegistry(storage, this);
    this.#pluginTables.markTablesCreated(meta?.keys() ?? []);
    // Keep the values read when the object wakes: all its parts read their state from them, so the table is read only once.
    this.#metaAtWake = meta ?? new Map();
    const stored = this.readMetaValue('fold');
    this.#fold = stored ? (JSON.parse(stored) as LedgerFoldState) : NO_FOLD;
    this.rollups = new Rollups(this, this.#fold.seq);
    this.locations = new TokenLocationTable(this, () => this.#fold.marker);
  }

  /** Records that all parts of the object are awake. From now on each value of `meta` is read from the table. */
  dropMetaReadAtWake(): void {
    this.#metaAtWake = undefined;
  }

  /** @returns the tables of a plugin. @param statements make them, where they do not exist */
  getPluginTables(plugin: string, statements: string): SqlTables {
    return this.#pluginTables.getPluginTables(plugin, statements);
  }

  override runInTransaction<T>(change: () => T): T {
    return this.#pluginTables.transactWithTableCreation(() => super.runInTransaction(change));
  }

  override readMetaValue(key: string): string | undefined {
    return this.#metaAtWake ? this.#metaAtWake.get(key) : super.readMetaValue(key);
  }

  override writeMetaValue(key: string, value: string | undefined): void {
    this.#metaAtWake = undefined;
    super.writeMetaValue(key, value);
  }

  /** @returns the marker: rows after this id are not in the rollups yet. */
  get lastFoldedRowId(): string {
    return this.#fold.marker;
  }

  /**
   * Writes the row of a request that was admitted.
   *
   * @param grant as text; stored until the request is settled
   * @throws Error if the ledger already has a row with `hold.id`; nothing has changed then
   */
  insertAdmittedRow(hold: Hold, admitted: AdmittedRequestFields, buckets: BucketRefillTimes, grant?: string): void {
    const { unpriced, group, dimensions, location, ...columns } = admitted;
    const row = {
      id: hold.id,
      at: hold.at,
      ...columns,
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
      ...(location !== undefined && { location }),
      ...(grant !== undefined && { grant }),
      ...(hold.loweredBy && { lowered_by: JSON.stringify(hold.loweredBy) }),
      dimensions: serializeDimensions(dimensions),
    };
    // Throw a plain error for an id that was used before. It is the caller's fault, not a failed write, so it must not reset
    // the object.
    if (this.insertRow('ledger', row, 'insert or ignore') === 0)
      throw new Error(`${hold.id}: this request id was already used. Send the request again.`);
    const isUnfolded = hold.id > this.#fold.marker;
    if (isUnfolded) this.#unfoldedCount += 1;
    else this.#storeFold({ ...this.#fold, heldRowIds: [...this.#fold.heldRowIds, hold.id] });
    if (location === undefined || columns.token === null) return;
    // Locations move from the rows to their own table when the fold marker passes the rows. The marker is already after this
    // row, so store its location directly.
    if (!isUnfolded) this.locations.storeLocation({ jti: columns.token, location });
    this.locations.markRecorded(columns.token, location);
  }

  /**
   * Adds dimensions to a row that are known only at the end of its request. They are only in the rows, because the sums already
   * include the row.
   */
  addDimensionsToRow(id: string, dimensions: DimensionValues): void {
    this.runWriteStatement(
      "update ledger set dimensions = json_patch(coalesce(dimensions, '{}'), ?) where id = ?",
      serializeDimensions(dimensions),
      id,
    );
  }

  /** Renews a hold: stores its deadline and the progress of the request. */
  renewHoldOfRow(id: string, deadline: number, stage: string): void {
    this.runWriteStatement('update ledger set deadline = ?, stage = ? where id = ?', deadline, stage, id);
  }

  /** Settles a row. @param buckets the buckets after that */
  settleRow(id: string, closing: SettledRequestFields, buckets: BucketRefillTimes): void {
    const updateSettledRow = () => this.#writeSettledColumns(id, closing, buckets);
    if (id > this.#fold.marker) updateSettledRow();
    else {
      // The marker has passed the row. If the row was settled then, its old figures are in the daily totals (`rollups`): subtract
      // them. If it was not, it is among the fold's `heldRowIds`. Add the new figures in both cases.
      this.runInTransaction(() => {
        const rowBefore = this.findSettlableRow(id);
        const isMissingInRollups = this.#fold.heldRowIds.includes(id);
        if (!isMissingInRollups) this.rollups.addRows('id = ?', -1, id);
        updateSettledRow();
        this.rollups.addRows('id = ?', 1, id);
        const { input, output } = buckets;
        const addedCost = closing.cost - (isMissingInRollups ? 0 : (rowBefore?.cost ?? 0));
        this.#storeFold({
          ...this.#fold,
          ...addCostToLatestHour(this.#fold, rowBefore?.at ?? closing.at, addedCost, rowBefore?.group),
          input,
          output,
          last: closing.at,
          heldRowIds: this.#fold.heldRowIds.filter((heldId) => heldId !== id),
        });
      });
    }
  }

  #writeSettledColumns(id: string, closing: SettledRequestFields, buckets: BucketRefillTimes): void {
    const { status, stage, cost, ms, upstream, failedUpstreams, tools, firstEventMs, afterFirstMs } = closing;
    const { input_tokens, output_tokens, ...otherTokens } = toTokenCountColumns(closing);
    const common = {
      status,
      stage,
      cost,
      ms,
      input_tokens,
      output_tokens,
      answered_by: closing.answeredBy,
      stop_reason: closing.stopReason,
      upstream_request_id: closing.upstreamRequestId,
      ttft_ms: closing.ttftMs,
      ...(closing.waitedMs !== null && { waited_ms: closing.waitedMs }),
      settled_at: closing.at,
      input_full_at: buckets.input,
      output_full_at: buckets.output,
      // Keep the grant of an orphaned request: its actual cost may still arrive and replace the hold.
      ...(status !== 'orphaned' && { grant: null }),
      ...(firstEventMs !== null && { first_event_ms: firstEventMs }),
      ...(afterFirstMs !== null && { after_first_ms: afterFirstMs }),
      ...(failedUpstreams !== null && { failed_upstreams: failedUpstreams }),
    };
    const others = {
      ...otherTokens,
      saved: closing.saved,
      estimated: Number(closing.estimated),
      over_hold: Number(closing.overHold),
      late: Number(closing.late),
      error_type: closing.errorType,
      error_message: closing.errorMessage,
      upstream,
    };
    const more = changesOnlyBasicColumns(closing) ? upstream !== null && { upstream } : others;
    this.updateRows('ledger', { ...common, ...more, ...(tools !== null && { tools }) }, 'id = ?', id);
  }

  /** @returns the row of a request, or undefined. */
  findSettlableRow(id: string): SettlableRow | undefined {
    return this.readAllRows<SettlableRow>(
      'select at, status, hold, cost, token, pool_group as "group" from ledger where id = ?',
      id,
    )[0];
  }

  /** @returns the answers that ended by themselves among the last rows, the oldest first */
  readRecentAnswerLengths(): { model: string; tokens: number }[] {
    const last = 'select id, model, status, output_tokens from ledger order by id desc limit 1024';
    return this.readAllRows(
      `select model, output_tokens as tokens from (${last}) where status = 'complete' order by id`,
    );
  }

  /** @returns the stored grant of a request that is not settled, with its hold; undefined if there is none */
  findRecoverableHold(id: string): RecoverableHold | undefined {
    return this.readAllRows<{ grant: string; hold: number; maxTokens: number }>(
      'select grant, hold, max_tokens as maxTokens from ledger where id = ? and grant is not null',
      id,
    )[0];
  }

  /** Folds settled rows into the rollups, if there are enough of them. @param atOnce folds in any case */
  foldSettledRowsIntoRollups(atOnce = false): void {
    if (this.#unfoldedCount < (atOnce ? 1 : FOLD_INTERVAL_ROWS)) return;
    const { marker } = this.#fold;
    const seen = this.#readHighestUnfoldedValues();
    if (!seen?.id) return;
    const held = this.readAllRows<{ id: string }>("select id from ledger where id > ? and status = 'held'", marker);
    const hour = Math.max(toStartOfHour(seen.latest), this.#fold.hour.start);
    const inHour = this.readAllRows<{ group: string | null; cost: number }>(
      `select pool_group as "group", sum(cost) as cost from ledger where id > ? and status != 'held' and at >= ? group by 1`,
      marker,
      hour,
    );
    this.runInTransaction(() => {
      this.rollups.addRows("id > ? and status != 'held'", 1, marker);
      this.locations.moveLocationsOfRowsAfter(marker);
      this.#storeFold({
        ...inHour.reduce(
          (sums, { group, cost }) => addCostToLatestHour(sums, hour, cost, group),
          addCostToLatestHour(this.#fold, hour, 0),
        ),
        marker: seen.id,
        last: Math.max(this.#fold.last, seen.last),
        requests: Math.max(this.#fold.requests, seen.requests),
        input: Math.max(this.#fold.input, seen.input),
        output: Math.max(this.#fold.output, seen.output),
        heldRowIds: [...this.#fold.heldRowIds, ...held.map(({ id }) => id)],
      });
    });
    this.#unfoldedCount = 0;
  }

  /** Folds settled rows into the rollups, if any of them is from before a time. A fold writes rows, so others wait. */
  foldRowsSettledBefore(time: number): void {
    if (this.hasRows("ledger where id > ? and at < ? and status != 'held'", this.#fold.marker, time))
      this.foldSettledRowsIntoRollups(true);
  }

  /** Removes the row of a request that was erased while it ran. Its cost stays, without a name. */
  deleteErasedRow(hold: Hold, closing: SettledRequestFields): void {
    const day = Math.floor(hold.at / DAY_MS);
    const sums = toSumsOfErasedRow(closing);
    this.runInTransaction(() => {
      this.runWriteStatement('delete from ledger where id = ?', hold.id);
      this.#storeFold({
        ...this.#fold,
        ...addCostToLatestHour(this.#fold, hold.at, closing.cost, hold.group),
        heldRowIds: this.#fold.heldRowIds.filter((id) => id !== hold.id),
      });
      this.rollups.addErasedUsage(day, sums);
      if (hold.group !== undefined) this.rollups.addErasedUsageOfGroup(hold.group, day, sums);
    });
  }

  /** Reads what must be known after a wake. @param starts when the windows began whose sums are wanted */
  readStateAfterWake(starts: WindowStarts): WakeState {
    const { unfolded, ...memory } = readWakeState(this, this.#fold, starts);
    this.#unfoldedCount = unfolded;
    return memory;
  }

  /** Reads the same after the clock has changed. @param starts when the windows of the new time began */
  readStateAfterClockChange(starts: WindowStarts): WakeState {
    // While the clock was ahead, a fold may have stored the sum of a later hour. It counts in this hour.
    const { hour } = this.#fold;
    if (hour.start > starts.hour) this.#fold = { ...this.#fold, hour: { ...hour, start: starts.hour } };
    return this.readStateAfterWake(starts);
  }

  /** @returns the highest values in the rows that are not folded; null if there are none. */
  #readHighestUnfoldedValues() {
    return this.readAllRows<{ id: string } & Record<'latest' | 'last' | keyof WakeState['fullAt'], number>>(
      `select max(id) as id, max(at) as latest, max(max(at, coalesce(settled_at, 0))) as last,
         max(requests_full_at) as requests, max(input_full_at) as input, max(output_full_at) as output
       from ledger where id > ?`,
      this.#fold.marker,
    )[0];
  }

  /** @returns when the newest request in the ledger was admitted, in milliseconds since 1970; 0 if there is none. */
  readLastAdmissionTime(): number {
    return this.queryNumberOrZero('select at from ledger order by id desc limit 1');
  }

  /** @returns the settled amount of a token with its own limits. */
  sumSettledByToken(jti: string): Nanodollars {
    return this.queryNumberOrZero(
      'select spent + (select coalesce(sum(cost), 0) from ledger where id > ?2 and token = ?1) from tokens where jti = ?1',
      jti,
      this.#fold.marker,
    );
  }

  /** @returns what each token has settled since the last fold. */
  sumUnfoldedByToken(): Map<string, Nanodollars> {
    const rows = this.readAllRows<{ token: string; cost: number }>(
      'select token, sum(cost) as cost from ledger where id > ? and token is not null group by token',
      this.#fold.marker,
    );
    return new Map(rows.map(({ token, cost }) => [token, cost]));
  }

  #storeFold(fold: Omit<LedgerFoldState, 'seq'>): void {
    this.#fold = { ...fold, seq: this.rollups.lastChangeNumber };
    this.writeMetaValue('fold', JSON.stringify(this.#fold));
  }
}

/** @returns what a row that is erased adds to the sums: what it has used, and nothing about how it went. */
export function toSumsOfErasedRow(closing: SettledRequestFields): UsageSums {
  return { ...addSums([]), requests: 1, cost: closing.cost, saved: closing.saved, ...toTokenCountColumns(closing) };
}

function toTokenCountColumns({ tokens }: SettledRequestFields) {
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
