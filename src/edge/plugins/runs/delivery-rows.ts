import { toColumns, toMembers } from '../../durable/columns.ts';
import { TableRowsBase } from '../../durable/rows.ts';

/** An event that must be sent. Times are milliseconds since 1970. */
export interface DeliveryRow {
  /** The same id for each try. */
  id: string;
  /** The address; null for that of the setting TURN_DELIVER_URL. */
  url: string | null;
  /** The event as JSON text. */
  body: string;
  /** How often it has failed. */
  failures: number;
  nextAt: number;
}

/** The events that a conversation must send. A row is deleted once the receiver has the event, or after the last try. */
export class DeliveryRows extends TableRowsBase {
  /** Adds an event, unless it is there already. */
  insertDelivery(row: DeliveryRow): void {
    this.tables.insertRow('deliveries', toColumns(row), 'insert or ignore');
  }

  findDueDelivery(now: number): DeliveryRow | undefined {
    const next = this.findNextDueTime();
    if (next === undefined || next > now) return undefined;
    const [row] = this.tables.readAllRows('select * from deliveries where next_at <= ? order by next_at limit 1', now);
    return row && toMembers<DeliveryRow>(row);
  }

  /** @returns when the next event is due; undefined if there is none */
  findNextDueTime(): number | undefined {
    return this.tables.queryNumber('select min(next_at) from deliveries');
  }

  postponeDelivery(id: string, failures: number, nextAt: number): void {
    this.tables.updateRows('deliveries', { failures, next_at: nextAt }, 'id = ?', id);
  }

  delete(id: string): void {
    this.tables.runWriteStatement('delete from deliveries where id = ?', id);
  }

  clear(): void {
    this.tables.runWriteStatement('delete from deliveries');
  }
}
