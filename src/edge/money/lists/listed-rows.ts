import { Rows } from '../../durable/rows.ts';
import type { Tables } from '../../durable/tables.ts';

/** What is erased with its account. */
export interface ErasableList {
  /** @returns the ids of at most `limit` that were made up to a time. */
  listUntil(time: number, limit: number): string[];
  /** @returns how many were made up to a time. */
  count(time: number): number;
  forget(id: string): void;
}

/** Rows with an `id` and their `created_at`. */
export class ListedRows extends Rows implements ErasableList {
  protected readonly table: string;

  constructor(tables: Tables, table: string) {
    super(tables);
    this.table = table;
  }

  listUntil(time: number, limit: number): string[] {
    const query = `select id from ${this.table} where created_at <= ? limit ?`;
    return this.tables.read<{ id: string }>(query, time, limit).map(({ id }) => id);
  }

  count(time: number): number {
    return this.tables.queryNumberOrZero(`select count(*) from ${this.table} where created_at <= ?`, time);
  }

  has(id: string): boolean {
    return this.tables.has(`${this.table} where id = ?`, id);
  }

  forget(id: string): void {
    this.tables.write(`delete from ${this.table} where id = ?`, id);
  }
}
