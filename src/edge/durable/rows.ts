import type { SqlTables } from './tables.ts';

/** Rows of one kind, among the tables of their object. */
export abstract class TableRowsBase<Their extends SqlTables = SqlTables> {
  protected readonly tables: Their;

  constructor(tables: Their) {
    this.tables = tables;
  }
}
