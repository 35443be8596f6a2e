/** Keeps which requests an account has refused, and why, so that they can be looked up by their id. */

import type { Days } from '../durable/contracts/account.ts';
import type { AdmissionRequest, Refusal, StorageRefusal } from '../durable/contracts/admission.ts';
import type { Page, PageOf } from '../durable/contracts/page.ts';
import { Rows } from '../durable/rows.ts';
import { timeOfRequestId } from '../http/headers/request-id.ts';
import { pageOfRows } from '../http/page.ts';
import { readTags } from '../identity/tags.ts';
import { reportTokens } from '../pricing/usage-sums.ts';
import { refusalError, storageError } from './admission/limit-headers.ts';
import { timesOfDays } from './ledger/queries.ts';
import type { LedgerRequest, LedgerRow, ListedRequest } from './usage-answers.schema.ts';

/** A refused request as it is stored; members of a row's JSON. */
interface Refused {
  id: string;
  /** Milliseconds since 1970. */
  at: number;
  route: string;
  model: string;
  conversation?: string | undefined;
  prefix?: string | undefined;
  agent?: string | undefined;
  token?: string | undefined;
  tags?: string | undefined;
  user?: string | undefined;
  refusal: Refusal | ({ kind: 'full' } & StorageRefusal);
}

/** At most one row is written in this time, since a refused caller may ask very often. */
const WRITE_EVERY_MS = 1_000;
/** The most refusals in a row. If there are more, the oldest are forgotten. */
const MOST_IN_A_ROW = 200;
const MOST_ROWS = 2_000;
const MOST_REFUSALS_LISTED = 1_000;
/** How many rows are read at once for a list. Each may have about 100 kB. */
const REFUSAL_ROWS_AT_ONCE = 10;
/** The most milliseconds between the making of a request's id and its refusal. A long body comes in between. */
const MOST_BETWEEN_MS = 15 * 60_000;

/** Keeps the refusals of an account. Those of one second share a row, and are only in memory until the second is over. */
export class RefusalLog extends Rows {
  #unwritten: Refused[] = [];
  #writtenAt = 0;
  #rows: number | undefined;
  /** Writes the refusals of the current second at its end, in case no other request comes. */
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Notes a refused request. */
  add(request: AdmissionRequest, refusal: Refused['refusal'], now: number): void {
    const { requestId: id, route, model, conversation, prefix, agent, token, tags, user } = request;
    // A request that costs nothing has no id.
    if (id === '') return;
    this.#unwritten = this.#unwritten.filter((one) => one.id !== id).slice(1 - MOST_IN_A_ROW);
    const named = { route, model, conversation, prefix, agent };
    this.#unwritten.push({ id, at: now, ...named, token: token?.jti, tags, user, refusal });
    if (now - this.#writtenAt >= WRITE_EVERY_MS) this.#write(now);
    else this.#timer ??= setTimeout(() => this.#writeRest(), WRITE_EVERY_MS);
  }

  /** @returns a refused request in the form of a ledger row, with the reason; undefined if it is not known here. */
  find(id: string): LedgerRequest | undefined {
    const found = this.#unwritten.find((one) => one.id === id) ?? this.#read(id);
    return found && refusedRequestOf(found);
  }

  /**
   * @returns a page of the refusals of some days, newest first. If there are more than 1,000, only the newest are searched.
   */
  page(page: PageOf, days: Days): Page<ListedRequest> {
    const [from, to] = timesOfDays(days);
    const found = this.#between(from, to).map(refusedRequestOf);
    const rows = found.map(({ tries: _, refusal, ...row }) => ({ ...row, ...(refusal ? { refusal } : {}) }));
    return pageOfRows(rows, page, ({ request_id }) => request_id);
  }

  /** @returns the refusals from one time to before another, newest first */
  #between(from: number, to: number): Refused[] {
    const isBetween = ({ at }: Refused) => at >= from && at < to;
    const found = this.#unwritten.filter(isBetween).reverse();
    // A row has the refusals since the row before it, so the first row after the days may also have some.
    let before = this.tables.figure('select min(at) + 1 from refusals where at >= ?', to) ?? Number.MAX_SAFE_INTEGER;
    while (found.length < MOST_REFUSALS_LISTED) {
      const rows = this.tables.read<{ at: number; refused: string }>(
        'select at, refused from refusals where at >= ? and at < ? order by at desc limit ?',
        from,
        before,
        REFUSAL_ROWS_AT_ONCE,
      );
      for (const { refused } of rows) found.push(...(JSON.parse(refused) as Refused[]).filter(isBetween).reverse());
      if (rows.length < REFUSAL_ROWS_AT_ONCE) break;
      before = rows.at(-1)?.at ?? 0;
    }
    return found.slice(0, MOST_REFUSALS_LISTED);
  }

  /** Deletes the refusals up to a time. */
  prune(until: number): void {
    this.#unwritten = this.#unwritten.filter(({ at }) => at > until);
    if (!this.tables.has('refusals where at <= ?', until)) return;
    this.tables.write('delete from refusals where at <= ?', until);
    this.#rows = undefined;
  }

  #read(id: string): Refused | undefined {
    const made = timeOfRequestId(id);
    const rows = this.tables.read<{ refused: string }>(
      'select refused from refusals where at >= ? and at <= ? order by at desc',
      made ?? 0,
      made === undefined ? Number.MAX_SAFE_INTEGER : made + MOST_BETWEEN_MS,
    );
    for (const { refused } of rows) {
      const found = (JSON.parse(refused) as Refused[]).find((one) => one.id === id);
      if (found) return found;
    }
    return undefined;
  }

  #writeRest(): void {
    this.#timer = undefined;
    const last = this.#unwritten.at(-1);
    // Each row needs a time of its own, later than that of the row before: the time is its key.
    if (last) this.#write(Math.max(last.at, this.#writtenAt + 1));
  }

  #write(now: number): void {
    this.tables.insert('refusals', { at: now, refused: JSON.stringify(this.#unwritten) }, 'insert or replace');
    this.#unwritten = [];
    this.#writtenAt = now;
    this.#rows ??= this.tables.number('select count(*) from refusals');
    this.#rows += 1;
    if (this.#rows <= MOST_ROWS) return;
    this.tables.write('delete from refusals where at = (select min(at) from refusals)');
    this.#rows -= 1;
  }
}

function refusedRequestOf({ id, at, tags, refusal, ...request }: Refused): LedgerRequest {
  const { route, model, conversation = null, prefix = null, agent = null, token = null, user = null } = request;
  const error = refusal.kind === 'full' ? storageError(refusal) : refusalError(refusal, {});
  const row: LedgerRow = {
    request_id: id,
    created_at: new Date(at).toISOString(),
    settled_at: null,
    ...{ route, model, conversation, prefix, agent, token, user },
    answered_by: null,
    tags: readTags(tags ?? null),
    status: 'refused',
    stage: null,
    max_tokens: null,
    hold_usd: 0,
    cost_usd: 0,
    usage: reportTokens(),
    estimated: false,
    over_hold: false,
    late: false,
    unpriced: false,
    stop_reason: null,
    error_type: error.type,
    upstream_request_id: null,
    upstream: null,
    ttft_ms: null,
    ms: null,
    batch: null,
    outcomes: null,
  };
  const limited_by = error.headers['sluice-limited-by'] ?? 'account';
  return { ...row, tries: [], refusal: { limited_by, limit: refusal.limit, message: error.message } };
}
