/** The classifications by batch of an account: they hold what was sent to be labelled, and are erased with it. */

import { Rows } from '../durable/rows.ts';

/** Keeps the list of them. */
export class ClassificationList extends Rows {
  /** Notes one before it holds anything. */
  note(id: string, now: number): void {
    this.tables.insert('classifications', { id, created_at: now }, 'insert or ignore');
  }

  /** Takes one off the list. */
  forget(id: string): void {
    this.tables.write('delete from classifications where id = ?', id);
  }

  /** @returns ids of those that were noted until then, some of them. */
  until(time: number, limit: number): string[] {
    return this.tables
      .read<{ id: string }>('select id from classifications where created_at <= ? limit ?', time, limit)
      .map(({ id }) => id);
  }
}
