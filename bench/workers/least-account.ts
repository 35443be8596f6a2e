import { DurableObject } from 'cloudflare:workers';

/** What a turn sets aside, and what it costs; JSON. */
export interface Hold {
  id: string;
  conversation: string;
  nanodollars: number;
}
export interface Settlement extends Hold {
  turns: number;
  messages: number;
}

const LIMIT = 1e15;
const DEADLINE_MS = 15 * 60_000;
const TABLES = `
  create table ledger (
    id text primary key, at integer not null, conversation text not null, hold integer not null,
    cost integer not null default 0, status text not null, deadline integer not null, settled_at integer
  ) strict, without rowid;
  create table conversations (
    id text primary key, turns integer not null, messages integer not null, cost integer not null
  ) strict, without rowid`;

/** The least account that keeps a budget: it holds what a turn can cost before it runs, and replaces that by what it cost. */
export class Account extends DurableObject<object> {
  readonly #sql: SqlStorage;
  readonly #holds = new Map<string, number>();
  readonly #known = new Set<string>();
  #settled = 0;
  #held = 0;
  #alarmAt: number | null = null;

  constructor(ctx: DurableObjectState, env: object) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarmAt = await ctx.storage.getAlarm();
    });
    if (this.#sql.exec("select 1 from sqlite_master where name = 'ledger'").toArray().length === 0) {
      this.#sql.exec(TABLES);
      return;
    }
    for (const row of this.#sql.exec('select id, hold, cost, status from ledger')) {
      if (row.status === 'held') this.#hold(String(row.id), Number(row.hold));
      else this.#settled += Number(row.cost);
    }
  }

  /** Decides whether a turn may run, in one step. @param along settlements that are made first */
  admit(hold: string, along: string | undefined): boolean {
    if (along !== undefined) this.settle(along);
    const { id, conversation, nanodollars } = JSON.parse(hold) as Hold;
    if (this.#settled + this.#held + nanodollars > LIMIT) return false;
    const now = Date.now();
    this.#sql.exec(
      "insert into ledger (id, at, conversation, hold, status, deadline) values (?, ?, ?, ?, 'held', ?)",
      ...[id, now, conversation, nanodollars, now + DEADLINE_MS],
    );
    this.#hold(id, nanodollars);
    if (!this.#known.has(conversation)) {
      this.#sql.exec('insert or ignore into conversations values (?, 0, 0, 0)', conversation);
      this.#known.add(conversation);
    }
    if (this.#alarmAt === null) this.#wakeAt(now + DEADLINE_MS);
    return true;
  }

  /** Replaces holds by what their turns cost: once, however often it is called. @param settlements a JSON list */
  settle(settlements: string): void {
    for (const { id, conversation, nanodollars, turns, messages } of JSON.parse(settlements) as Settlement[]) {
      const hold = this.#holds.get(id);
      if (hold === undefined) continue;
      this.#sql.exec(
        "update ledger set status = 'complete', cost = ?, settled_at = ? where id = ?",
        ...[nanodollars, Date.now(), id],
      );
      this.#sql.exec(
        `insert into conversations values (?, ?, ?, ?) on conflict (id) do update
         set turns = excluded.turns, messages = excluded.messages, cost = cost + excluded.cost`,
        ...[conversation, turns, messages, nanodollars],
      );
      this.#holds.delete(id);
      this.#held -= hold;
      this.#settled += nanodollars;
    }
  }

  /** Settles at the whole hold what nobody has settled in time. */
  override alarm(): void {
    this.#alarmAt = null;
    const late = this.#sql.exec("select id, hold from ledger where status = 'held' and deadline <= ?", Date.now());
    for (const { id, hold } of late.toArray()) {
      this.#sql.exec("update ledger set status = 'orphaned', cost = hold where id = ?", id);
      this.#holds.delete(String(id));
      this.#held -= Number(hold);
      this.#settled += Number(hold);
    }
    if (this.#holds.size > 0) this.#wakeAt(Date.now() + DEADLINE_MS);
  }

  #wakeAt(time: number): void {
    this.#alarmAt = time;
    void this.ctx.storage.setAlarm(time);
  }

  #hold(id: string, nanodollars: number): void {
    this.#holds.set(id, nanodollars);
    this.#held += nanodollars;
  }
}
