/**
 * Lists the classifications by batch of an account. They contain the texts to be labelled, and are erased with the account.
 */

import { ListedRows } from '../../money/lists/listed-rows.ts';

export class ClassificationList extends ListedRows {
  protected readonly table = 'classifications';

  /** Notes a classification before anything is stored in it. */
  note(id: string, now: number): void {
    this.tables.insert('classifications', { id, created_at: now }, 'insert or ignore');
  }
}
