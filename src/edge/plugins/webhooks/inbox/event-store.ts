/** The rows of an inbox: one for each event that has been received. */

import { type SqliteRow, toColumns, toMembers } from '../../../durable/columns.ts';
import type { ListPage, PageSelection } from '../../../durable/page.ts';
import { createDeferredTableCreator } from '../../../durable/schema.ts';
import { SqlTables } from '../../../durable/tables.ts';
import { ALERT_SOURCE } from '../../../money/alerts/alert-source.ts';
import type { AlertBody, AlertRow } from '../../../money/alerts/alerts-answers.schema.ts';
import type { EventPageQuery, NewEvent } from '../contracts/inbox.ts';
import type { WebhookEventState } from '../webhooks.schema.ts';
import type { EventAttempt, EventReport, EventResult, EventRow } from '../webhooks-answers.schema.ts';

/** Selects events that wait for a budget, and that no job works on. */
const WAITING = "state = 'waiting' and waits = 1";

/** Of events that were tried in vain. What waits for a budget, or for an agent, has not failed. */
const UNDELIVERED = "state = 'parked' or (failures > 0 and due_at is not null)";

/**
 * Few events have work to do at a time, and the index `due` has only those. `only_body` is the digest again, only for events
 * for which it must be unique: others have null, and no entry in the index. An agent works on an event in `conversation`.
 */
const EVENT_TABLES = `
  create table events (
    seq integer primary key,
    id text not null unique,
    account text not null,
    state text not null,
    received_at integer not null,
    due_at integer,
    waits integer not null default 0,
    failures integer not null default 0,
    runs integer not null default 0,
    label text,
    subject text,
    digest text not null,
    only_body text,
    conversation text,
    turn text,
    result text,
    attempts text not null default '[]',
    text text
  ) strict;
  create index due on events (due_at) where due_at is not null;
  create index waiting on events (seq) where ${WAITING};
  create index finished on events (received_at) where due_at is null;
  create unique index bodies on events (only_body) where only_body is not null;
  create index undelivered on events (seq) where ${UNDELIVERED};`;

/** Alerts concern many accounts. The events of any other source belong to one, so an index would only cost a row each. */
const ALERT_INDEX = 'create index by_account on events (account, received_at);';

/** How many attempts of an event are kept. These are the newest. */
const ATTEMPTS_KEPT = 50;

/** An event as it is stored. Times are milliseconds since 1970. */
export interface StoredEvent extends NewEvent {
  seq: number;
  state: WebhookEventState;
  receivedAt: number;
  /** When it is put on the queue again if no job has finished it by then; null if nothing is left to do. */
  dueAt: number | null;
  /** Whether nothing may be done before `dueAt`. */
  waits: boolean;
  /** How often the current stage (work or delivery) has failed in a row. */
  failures: number;
  /** How many attempts there were, including those that are no longer kept. */
  runs: number;
  result: EventResult | null;
  attempts: EventAttempt[];
  /** The conversation in which an agent works on it; null if no agent does. */
  conversation: string | null;
  turn: string | null;
}

/** The state of an alert by the state of its event. An alert needs no label, so it is only delivered or not. */
const ALERT_STATES: Record<WebhookEventState, AlertRow['state']> = {
  accepted: 'pending',
  delivering: 'pending',
  waiting: 'pending',
  running: 'pending',
  delivered: 'delivered',
  classified: 'kept',
  answered: 'kept',
  parked: 'parked',
  failed: 'parked',
};

const LISTED = `seq, id, account, state, received_at, runs, label, conversation, turn, due_at, waits,
  attempts -> '$[#-1].error' as error`;

/** Stores the events of one source: the only SQL of an inbox. */
export class EventStore extends SqlTables {
  readonly #source: string;

  /** @param abort resets the object after a failed write; see `SqlTables` */
  constructor(storage: DurableObjectStorage, source: string, abort?: (thrown: unknown) => void) {
    super(
      storage,
      createDeferredTableCreator(storage, EVENT_TABLES + (source === ALERT_SOURCE ? ALERT_INDEX : '')),
      abort,
    );
    this.#source = source;
  }

  /** Adds an event if it is new. @returns undefined if it was new; otherwise the id under which it is stored already */
  addEventIfNew(
    event: NewEvent,
    now: number,
    place: { state: WebhookEventState; dueAt: number | null; failure?: EventAttempt },
  ): string | undefined {
    const { id, account, text, subject, digest } = event;
    const onlyBody = event.sameBodySameEvent ? digest : null;
    const [present] = this.readAllRows<{ id: string }>(
      'select id from events where id = ? or only_body = ?',
      id,
      onlyBody,
    );
    if (present) return present.id;
    const { state, dueAt: due_at, failure } = place;
    const attempts = JSON.stringify(failure ? [failure] : []);
    const began = { state, received_at: now, due_at, runs: failure ? 1 : 0, attempts };
    this.insertRow('events', { id, account, subject, digest, text, only_body: onlyBody, ...began });
    return undefined;
  }

  findEvent(id: string): StoredEvent | undefined {
    const [row] = this.readAllRows('select * from events where id = ?', id);
    return row && parseEventRow(row);
  }

  /** Changes an event. Absent members do not change. */
  updateEvent(
    { seq }: StoredEvent,
    { result, attempts, ...changed }: Partial<Omit<StoredEvent, 'seq' | keyof NewEvent>>,
  ): void {
    const columns = toColumns(changed);
    if (attempts !== undefined) columns.attempts = JSON.stringify(attempts.slice(-ATTEMPTS_KEPT));
    if (result) {
      columns.result = JSON.stringify(result);
      const { label, labels } = 'agent' in result ? {} : result;
      columns.label = JSON.stringify(label ?? labels ?? null);
    }
    this.updateRows('events', columns, 'seq = ?', seq);
  }

  /** @returns events that are due, those that have waited longest first */
  listDueEvents(now: number, limit: number): { seq: number; id: string }[] {
    return this.readAllRows('select seq, id from events where due_at <= ? order by due_at, seq limit ?', now, limit);
  }

  findNextDueTime(): number | undefined {
    return this.queryNumber('select min(due_at) from events where due_at is not null');
  }

  /** Stores that events are on the queue. If no job takes them before `dueAt`, they are due again. */
  markEnqueued(seqs: readonly number[], dueAt: number): void {
    const among = 'seq in (select value from json_each(?))';
    const change = `update events set due_at = ?, waits = 0 where ${among} and due_at is not null`;
    this.runWriteStatement(change, dueAt, JSON.stringify(seqs));
  }

  /** Makes events due that wait for a budget, the oldest first. Skips events that a job works on. @returns how many */
  releaseEventsWaitingForBudget(now: number, limit: number): number {
    const waiting = `due_at > ?1 and ${WAITING} order by seq limit ?2`;
    return this.#executeAndCountChanges(
      `update events set due_at = ?1 where seq in (select seq from events where ${waiting})`,
      now,
      limit,
    );
  }

  /** Deletes finished events that were received before a time. @returns how many */
  deleteFinishedEventsBefore(before: number, limit: number): number {
    const done = 'received_at < ? and due_at is null order by received_at limit ?';
    return this.#executeAndCountChanges(
      `delete from events where seq in (select seq from events where ${done})`,
      before,
      limit,
    );
  }

  /** @returns how many events were tried in vain */
  countUndelivered(): number {
    return this.queryNumberOrZero(`select count(*) from events where ${UNDELIVERED}`);
  }

  /**
   * Makes undelivered events due, so that they are processed, or their results delivered, as if for the first time.
   *
   * @param after the `seq` after which to begin
   * @param leased the ids of events that a job is processing: these do not change
   * @returns how many, and the `seq` of the last one
   */
  replayUndelivered(
    { after, leased, now }: { after: number; leased: readonly string[]; now: number },
    limit: number,
  ): { scheduled: number; last: number | undefined } {
    const undelivered = `(${UNDELIVERED}) and seq > ?1 and id not in (select value from json_each(?2))`;
    const among = `select seq from events where ${undelivered} order by seq limit ?3`;
    const values = [after, JSON.stringify(leased), limit];
    const last = this.queryNumber(`select max(seq) from (${among})`, ...values);
    if (last === undefined) return { scheduled: 0, last };
    const scheduled = this.#executeAndCountChanges(
      `update events set state = iif(result is null, 'accepted', 'delivering'),
        conversation = iif(result is null, null, conversation), turn = iif(result is null, null, turn),
        failures = 0, waits = 0, due_at = ?4 where seq in (${among})`,
      ...values,
      now,
    );
    return { scheduled, last };
  }

  /** @returns when the oldest finished event was received */
  findOldestFinishedTime(): number | undefined {
    return this.queryNumber('select min(received_at) from events where due_at is null');
  }

  /** Erases events of an account that were received up to a time. @returns whether some of them are left */
  eraseAccountEvents(account: string, until: number, limit: number): boolean {
    const where = 'account = ? and received_at <= ?';
    this.runWriteStatement(
      `delete from events where seq in (select seq from events where ${where} limit ?)`,
      account,
      until,
      limit,
    );
    return this.hasRows(`events where ${where}`, account, until);
  }

  hasEventsOfAccount(account: string): boolean {
    return this.hasRows('events where account = ?', account);
  }

  /** @returns a page of the events, newest first */
  listEvents(page: EventPageQuery): ListPage<EventRow> {
    const rows = this.#selectPage(page, LISTED);
    return { ...rows, data: rows.data.map((row) => this.#toEventListRow(row)) };
  }

  /** @returns a page of the inbox of alerts, newest first */
  listAlerts(page: PageSelection): ListPage<AlertRow> {
    const rows = this.#selectPage(page, `${LISTED}, text`);
    const data = rows.data.map((row) => ({
      ...(JSON.parse(String(row.text)) as AlertBody),
      state: ALERT_STATES[row.state as WebhookEventState],
      ...summarizeAttempts(row),
    }));
    return { ...rows, data };
  }

  #selectPage({ state, undelivered, ...page }: EventPageQuery, columns: string) {
    const select = `${columns} from events where (?3 is null or state = ?3)${undelivered ? ` and (${UNDELIVERED})` : ''}`;
    const list = { select, order: ['seq'], edge: 'select seq from events where id = ?1' };
    return this.selectPage<SqliteRow & { id: string }>(list, page, state ?? null);
  }

  /** @returns one event with its result and its attempts */
  readEventReport(id: string): EventReport | undefined {
    const [row] = this.readAllRows('select * from events where id = ?', id);
    if (!row) return undefined;
    const { attempts: _, error: __, ...listed } = this.#toEventListRow(row);
    const { account, subject, digest, text, result, attempts } = parseEventRow(row);
    return { ...listed, account, subject, digest, text, result, attempts };
  }

  #toEventListRow(row: SqliteRow): EventRow {
    return {
      type: 'webhook_event',
      event_id: String(row.id),
      source: this.#source,
      state: row.state as WebhookEventState,
      label: JSON.parse(String(row.label ?? 'null')) as EventRow['label'],
      conversation: row.conversation as string | null,
      turn: row.turn as string | null,
      received_at: new Date(Number(row.received_at)).toISOString(),
      ...summarizeAttempts(row),
    };
  }

  /** Runs one statement. @returns how many rows of the table it has changed, not counting index entries */
  #executeAndCountChanges(query: string, ...values: SqlStorageValue[]): number {
    this.runWriteStatement(query, ...values);
    return this.queryNumberOrZero('select changes()');
  }
}

/** @returns how often an event was tried, when it is tried next, and why the last try has failed */
function summarizeAttempts({
  runs,
  due_at,
  waits,
  error,
}: SqliteRow): Pick<EventRow, 'attempts' | 'next_attempt_at' | 'error'> {
  const next = waits === 1 && due_at !== null ? new Date(Number(due_at)).toISOString() : null;
  return {
    attempts: Number(runs),
    next_attempt_at: next,
    error: JSON.parse(String(error ?? 'null')) as EventRow['error'],
  };
}

function parseEventRow(row: SqliteRow): StoredEvent {
  return {
    ...toMembers<StoredEvent>(row),
    waits: row.waits === 1,
    result: JSON.parse(String(row.result ?? 'null')) as EventResult | null,
    attempts: JSON.parse(String(row.attempts)) as EventAttempt[],
  };
}
