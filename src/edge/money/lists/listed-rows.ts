import { Rows } from '../../kit/objects/rows.ts';

/** Rows with an `id` and their `created_at`, which are erased with their account. */
export abstract class ListedRows extends Rows {
  protected abstract readonly table: string;

  /** @returns the ids of at most `limit` rows that were made up to a time. */
  until(time: number, limit: number): string[] {
    const query = `select id from ${this.table} where created_at <= ? limit ?`;
    return this.tables.read<{ id: string }>(query, time, limit).map(({ id }) => id);
  }

  /** @returns how many rows were made up to a time. */
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
