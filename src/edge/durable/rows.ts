import type { Tables } from './tables.ts';

/** Rows of one kind, among the tables of their object. */
export abstract class Rows<Their extends Tables = Tables> {
  protected readonly tables: Their;

  constructor(tables: Their) {
    this.tables = tables;
  }
}
