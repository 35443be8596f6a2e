import { Rows } from '../../objects/rows.ts';
import type { Tables } from '../../objects/tables.ts';

/** What is erased with its account. */
export interface Listed {
  /** @returns the ids of at most `limit` that were made up to a time. */
  until(time: number, limit: number): string[];
  /** @returns how many were made up to a time. */
  count(time: number): number;
  forget(id: string): void;
}

/** Rows with an `id` and their `created_at`. */
export class ListedRows extends Rows implements Listed {
  protected readonly table: string;

  constructor(tables: Tables, table: string) {
    super(tables);
    this.table = table;
  }

  until(time: number, limit: number): string[] {
    const query = `select id from ${this.table} where created_at <= ? limit ?`;
    return this.tables.read<{ id: string }>(query, time, limit).map(({ id }) => id);
  }

  count(time: number): number {
    return this.tables.number(`select count(*) from ${this.table} where created_at <= ?`, time);
  }

  has(id: string): boolean {
    return this.tables.has(`${this.table} where id = ?`, id);
  }

  forget(id: string): void {
    this.tables.write(`delete from ${this.table} where id = ?`, id);
  }
}

const KEY = 'inboxes';

export class InboxList extends Rows implements Listed {
  /** Notes an inbox by its source. An inbox that is being erased stays marked until that is done. */
  note(source: string, now: number): void {
    const noted = this.#noted();
    if (noted[source] === undefined) this.#save({ ...noted, [source]: now });
  }

  until(time: number, limit: number): string[] {
    return this.#until(time).slice(0, limit);
  }

  count(time: number): number {
    return this.#until(time).length;
  }

  forget(source: string): void {
    const { [source]: _, ...rest } = this.#noted();
    this.#save(rest);
  }

  #until(time: number): string[] {
    return Object.entries(this.#noted())
      .filter(([, at]) => at <= time)
      .map(([source]) => source);
  }

  /** @returns all noted sources. There are only a few, so they are in one row. */
  #noted(): Record<string, number> {
    return JSON.parse(this.tables.meta(KEY) ?? '{}') as Record<string, number>;
  }

  #save(noted: Record<string, number>): void {
    this.tables.setMeta(KEY, Object.keys(noted).length === 0 ? undefined : JSON.stringify(noted));
  }
}
