import type { Tables } from './tables.ts';

/** Rows of one kind, among the tables of their object. */
export abstract class Rows {
  protected readonly tables: Tables;

  constructor(tables: Tables) {
    this.tables = tables;
  }
}
