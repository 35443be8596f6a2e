/** The classifications by batch of an account: they hold what was sent to be labelled, and are erased with it. */

import { ListedRows } from './listed-rows.ts';

/** Keeps the list of them. */
export class ClassificationList extends ListedRows {
  protected readonly table = 'classifications';

  /** Notes one before it holds anything. */
  note(id: string, now: number): void {
    this.tables.insert('classifications', { id, created_at: now }, 'insert or ignore');
  }
}
