/** Stores the requests that an account has rejected, and the reasons, so that they can be found by their id. */

import { toTokenReport } from '../../claude/pricing/usage-sums.ts';
import type { ListPage, PageSelection } from '../../durable/page.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { parseTimeOfRequestId } from '../../kit/http/headers/request-id.ts';
import { createPageResponse } from '../../kit/http/page.ts';
import { createLimitRejectionError, createStorageLimitError } from '../admission/limit-headers.ts';
import type { DailyRejectionCount, RequestsFilter } from '../contracts/account.ts';
import type { AdmissionRequest, LimitRejectedRequest } from '../contracts/admission.ts';
import { omitRowOnlyDimensions, parseDimensionsColumn, serializeDimensions } from '../contracts/dimensions.ts';
import { toTimeRange } from '../ledger/queries.ts';
import type { LedgerRequest, LedgerRow, ListedRequest } from './usage-answers.schema.ts';

/** At most one row is written in this time, because a rejected caller may retry very often. */
const WRITE_INTERVAL_MS = 1_000;
/** The most rejections in a row. If there are more, the oldest are forgotten. */
const MAX_REFUSALS_PER_ROW = 200;
const MAX_REFUSAL_ROWS = 2_000;
const MAX_LISTED_REFUSALS = 1_000;
/** How many rows are read at once for a list. Each may have about 100 kB. */
const REFUSAL_ROWS_PER_READ = 10;
/** The maximum of milliseconds between the creation of a request's id and its rejection: a long body is read in between. */
const MAX_BODY_DELAY_MS = 15 * 60_000;
/** The most characters of a model's name that are kept: a caller may name anything. */
const MAX_MODEL_CHARACTERS = 200;
/** The most groups whose refusals are counted by name on a day: tokens of an identity provider can name any group. */
const MAX_COUNTED_GROUPS = 100;

/** Counts the rejections of a day. */
class RejectionCounter {
  readonly day: number;
  readonly #byCause = new Map<string, number>();
  readonly #byGroup = new Map<string, number>();

  /** @param day days since 1970 */
  constructor(day: number) {
    this.day = day;
  }

  /** @param group the one whose limit it was; undefined for a limit of another owner */
  add(cause: string, group: string | undefined, count = 1): void {
    this.#byCause.set(cause, (this.#byCause.get(cause) ?? 0) + count);
    if (group === undefined || (!this.#byGroup.has(group) && this.#byGroup.size >= MAX_COUNTED_GROUPS)) return;
    this.#byGroup.set(group, (this.#byGroup.get(group) ?? 0) + count);
  }

  toReport(): DailyRejectionCount {
    const count = this.#byCause.values().reduce((sum, one) => sum + one, 0);
    return { day: this.day, count, by: Object.fromEntries(this.#byCause), groups: Object.fromEntries(this.#byGroup) };
  }
}

/** Keeps the rejections of an account. Those of one second share a row, and are only in memory until the second is over. */
export class RejectionLog extends TableRowsBase {
  #unwritten: LimitRejectedRequest[] = [];
  #writtenAt = 0;
  #rows: number | undefined;
  /** Writes the rejections of the current second at its end, in case no other request comes. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastAt: number | undefined;
  /** The last rejection; null if there is none, undefined until it is first read. */
  #last: LimitRejectedRequest | null | undefined;
  /** The rejections on the day of the last one; undefined until they are first read. */
  #refusedToday: RejectionCounter | undefined;
  readonly #onAdded: () => void;

  /** @param onAdded called after each rejection */
  constructor(tables: SqlTables, onAdded: () => void) {
    super(tables);
    this.#onAdded = onAdded;
  }

  /** @returns the time of the last rejection, in milliseconds since 1970; 0 if there is none. */
  get lastRejectionTime(): number {
    this.#lastAt ??= this.tables.queryNumberOrZero('select max(at) from refusals');
    return this.#lastAt;
  }

  /** @returns the last rejection; null if there is none. */
  get lastRejection(): LimitRejectedRequest | null {
    if (this.lastRejectionTime === 0) return null;
    if (this.#last === undefined) this.#last = this.#readRejectionsBetween(0, Number.MAX_SAFE_INTEGER, 1)[0] ?? null;
    return this.#last;
  }

  /** @returns how many requests were rejected on the day of the last rejection, in UTC; undefined if none is known */
  countRejectionsOnDayOfLastRejection(): DailyRejectionCount | undefined {
    if (this.lastRejectionTime === 0) return undefined;
    const day = Math.floor(this.lastRejectionTime / DAY_MS);
    if (this.#refusedToday?.day !== day) {
      const written = this.tables.readAllRows<{ cause: string; group: string | null; count: number }>(
        `select coalesce(value ->> '$.refusal.by', 'account') || ' ' || coalesce(value ->> '$.refusal.reason', 'storage') as cause,
           value ->> '$.group' as "group", count(*) as count
         from refusals, json_each(refused) where refusals.at >= ? group by 1, 2`,
        day * DAY_MS,
      );
      const counter = new RejectionCounter(day);
      for (const { cause, group, count } of written) counter.add(cause, group ?? undefined, count);
      for (const { at, refusal, group } of this.#unwritten)
        if (at >= day * DAY_MS) counter.add(describeRejectionCause(refusal), group);
      this.#refusedToday = counter;
    }
    return this.#refusedToday.toReport();
  }

  /** @param group the one that also pays for the request */
  addRejection(request: AdmissionRequest, refusal: LimitRejectedRequest['refusal'], now: number, group?: string): void {
    const { requestId: id, route, conversation, token } = request;
    // A request that costs nothing has no id to store its rejection under.
    if (id === '') return;
    this.#unwritten = this.#unwritten.filter((one) => one.id !== id).slice(1 - MAX_REFUSALS_PER_ROW);
    const model = request.model.slice(0, MAX_MODEL_CHARACTERS);
    const named = {
      route,
      model,
      conversation,
      dimensions: request.dimensions && omitRowOnlyDimensions(request.dimensions),
    };
    // The time of the last rejection in a row is the key of that row, so give each rejection a different time.
    const at = Math.max(now, this.lastRejectionTime + 1);
    this.#lastAt = at;
    const isOfGroup = refusal.kind === 'refused' && refusal.by === 'group';
    this.#last = { id, at, ...named, token: token?.jti, group: isOfGroup ? group : undefined, refusal };
    if (this.#refusedToday?.day === Math.floor(at / DAY_MS))
      this.#refusedToday.add(describeRejectionCause(refusal), this.#last.group);
    else this.#refusedToday = undefined;
    this.#unwritten.push(this.#last);
    if (at - this.#writtenAt >= WRITE_INTERVAL_MS) this.#writeRejectionsOfSecond(at);
    else this.#timer ??= setTimeout(() => this.#writeRemainingRejections(), WRITE_INTERVAL_MS);
    this.#onAdded();
  }

  /** @returns a rejected request in the form of a ledger row, with the reason; undefined if it is not known here. */
  findRejectedRequest(id: string): LedgerRequest | undefined {
    const found = this.#unwritten.find((one) => one.id === id) ?? this.#readRejection(id);
    return found && toLedgerRequest(found);
  }

  /**
   * @returns a page of the rejections of some days, newest first by their ids, as the ledger's are. If there are more than
   *   1,000, only the newest are searched
   */
  listRejectionsPage(
    { limit = 20, after_id, before_id }: PageSelection,
    { token, ...days }: RequestsFilter,
  ): ListPage<ListedRequest> {
    const found = this.#readRejectionsBetween(...toTimeRange(days), MAX_LISTED_REFUSALS).filter(
      (one) =>
        (token === undefined || one.token === token) &&
        (after_id === undefined || one.id < after_id) &&
        (before_id === undefined || one.id > before_id),
    );
    const sign = before_id === undefined ? -1 : 1;
    found.sort((remaining, right) => (remaining.id < right.id ? -sign : sign));
    const rows = found.slice(0, limit + 1).map(toListedRejection);
    return createPageResponse(rows, limit, before_id !== undefined, ({ request_id }) => request_id);
  }

  /** @returns the rejections from one time to before another, newest first; so many at most */
  #readRejectionsBetween(from: number, to: number, limit: number): LimitRejectedRequest[] {
    const isBetween = ({ at }: LimitRejectedRequest) => at >= from && at < to;
    const found = this.#unwritten.filter(isBetween).reverse();
    // A row contains the rejections since the row before it, so the first row after the range may contain some of the range.
    // Include that row.
    let before =
      this.tables.queryNumber('select min(at) + 1 from refusals where at >= ?', to) ?? Number.MAX_SAFE_INTEGER;
    while (found.length < limit) {
      const rows = this.tables.readAllRows<{ at: number; refused: string }>(
        'select at, refused from refusals where at >= ? and at < ? order by at desc limit ?',
        from,
        before,
        REFUSAL_ROWS_PER_READ,
      );
      for (const { refused } of rows)
        found.push(...(JSON.parse(refused) as LimitRejectedRequest[]).filter(isBetween).reverse());
      if (rows.length < REFUSAL_ROWS_PER_READ) break;
      before = rows.at(-1)?.at ?? 0;
    }
    return found.slice(0, limit);
  }

  /** Deletes the rejections up to a time. */
  pruneRejections(until: number): void {
    this.#unwritten = this.#unwritten.filter(({ at }) => at > until);
    if (!this.tables.hasRows('refusals where at <= ?', until)) return;
    this.tables.runWriteStatement('delete from refusals where at <= ?', until);
    this.#rows = undefined;
    this.#lastAt = undefined;
    this.#last = undefined;
    this.#refusedToday = undefined;
  }

  #readRejection(id: string): LimitRejectedRequest | undefined {
    const at = parseTimeOfRequestId(id);
    const rows = this.tables.readAllRows<{ refused: string }>(
      'select refused from refusals where at >= ? and at <= ? order by at desc',
      at ?? 0,
      at === undefined ? Number.MAX_SAFE_INTEGER : at + MAX_BODY_DELAY_MS,
    );
    for (const { refused } of rows) {
      const found = (JSON.parse(refused) as LimitRejectedRequest[]).find((one) => one.id === id);
      if (found) return found;
    }
    return undefined;
  }

  #writeRemainingRejections(): void {
    this.#timer = undefined;
    const last = this.#unwritten.at(-1);
    // The time is the key of the row, so it must be later than that of the row before.
    if (last) this.#writeRejectionsOfSecond(Math.max(last.at, this.#writtenAt + 1));
  }

  #writeRejectionsOfSecond(now: number): void {
    this.tables.insertRow('refusals', { at: now, refused: JSON.stringify(this.#unwritten) }, 'insert or replace');
    this.#unwritten = [];
    this.#writtenAt = now;
    this.#rows ??= this.tables.queryNumberOrZero('select count(*) from refusals');
    this.#rows += 1;
    if (this.#rows <= MAX_REFUSAL_ROWS) return;
    this.tables.runWriteStatement('delete from refusals where at = (select min(at) from refusals)');
    this.#rows -= 1;
  }
}

/** @returns whose limit has rejected a request, and why, as the count of a day names it */
function describeRejectionCause(refusal: LimitRejectedRequest['refusal']): string {
  return refusal.kind === 'full' ? 'account storage' : `${refusal.by} ${refusal.reason}`;
}

/** @returns a rejected request in the form of a list's row, with the reason. */
function toListedRejection(refused: LimitRejectedRequest): ListedRequest {
  const { tries: _, refusal, ...row } = toLedgerRequest(refused);
  return { ...row, ...(refusal ? { refusal } : {}) };
}

function toLedgerRequest({ id, at, refusal, group, ...request }: LimitRejectedRequest): LedgerRequest {
  const { route, model, conversation = null, token = null } = request;
  const error = refusal.kind === 'full' ? createStorageLimitError(refusal) : createLimitRejectionError(refusal, {});
  const { batch, outcomes, ...dimensions } = parseDimensionsColumn(serializeDimensions(request.dimensions ?? {}));
  const row: LedgerRow = {
    request_id: id,
    created_at: new Date(at).toISOString(),
    settled_at: null,
    route,
    model,
    conversation,
    token,
    ...dimensions,
    answered_by: null,
    status: 'refused',
    stage: null,
    max_tokens: null,
    lowered_by: null,
    hold_usd: 0,
    cost_usd: 0,
    usage: toTokenReport(),
    estimated: false,
    over_hold: false,
    late: false,
    unpriced: false,
    stop_reason: null,
    error_type: error.type,
    error_message: null,
    upstream_request_id: null,
    upstream: null,
    failed_upstreams: [],
    ttft_ms: null,
    waited_ms: null,
    ms: null,
    batch,
    outcomes,
  };
  const limited_by = error.headers['sluice-limited-by'] ?? '';
  const { limit } = refusal;
  const why =
    refusal.kind === 'full'
      ? { reason: 'storage' as const, never: true }
      : { reason: refusal.reason, never: refusal.never };
  const whose = group === undefined ? {} : { group };
  return { ...row, tries: [], refusal: { limited_by, ...whose, limit, ...why, message: error.message } };
}
