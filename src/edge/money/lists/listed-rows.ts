/** Rows that are erased together with their account. */

import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';

/** A list counts what is left to erase only up to this number. */
const MAX_COUNTED = 1_000;

/** A list of resources that are erased with their account. */
export interface ErasableResourceList {
  /** @returns the ids of at most `limit` that were made up to a time. */
  listIdsCreatedUntil(time: number, limit: number): string[];
  /** @returns how many were made up to a time; of many, only that there are at least `MAX_COUNTED`. */
  countCreatedUntil(time: number): number;
  deleteRow(id: string): void;
}

/** Rows with an `id` and their `created_at`. */
export class ErasableRows extends TableRowsBase implements ErasableResourceList {
  protected readonly table: string;

  constructor(tables: SqlTables, table: string) {
    super(tables);
    this.table = table;
  }

  listIdsCreatedUntil(time: number, limit: number): string[] {
    const query = `select id from ${this.table} where created_at <= ? limit ?`;
    return this.tables.readAllRows<{ id: string }>(query, time, limit).map(({ id }) => id);
  }

  countCreatedUntil(time: number): number {
    return this.tables.queryNumberOrZero(
      `select count(*) from (select 1 from ${this.table} where created_at <= ? limit ${MAX_COUNTED})`,
      time,
    );
  }

  has(id: string): boolean {
    return this.tables.hasRows(`${this.table} where id = ?`, id);
  }

  deleteRow(id: string): void {
    this.tables.runWriteStatement(`delete from ${this.table} where id = ?`, id);
  }
}
