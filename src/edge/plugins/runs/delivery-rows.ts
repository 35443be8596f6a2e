import { columnsOf, membersOf } from '../../durable/columns.ts';
import { Rows } from '../../durable/rows.ts';

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
export class DeliveryRows extends Rows {
  /** Adds an event, unless it is there already. */
  add(row: DeliveryRow): void {
    this.tables.insert('deliveries', columnsOf(row), 'insert or ignore');
  }

  due(now: number): DeliveryRow | undefined {
    const next = this.next();
    if (next === undefined || next > now) return undefined;
    const [row] = this.tables.read('select * from deliveries where next_at <= ? order by next_at limit 1', now);
    return row && (membersOf(row) as unknown as DeliveryRow);
  }

  /** @returns when the next event is due; undefined if there is none */
  next(): number | undefined {
    return this.tables.queryNumber('select min(next_at) from deliveries');
  }

  postpone(id: string, failures: number, nextAt: number): void {
    this.tables.update('deliveries', { failures, next_at: nextAt }, 'id = ?', id);
  }

  delete(id: string): void {
    this.tables.write('delete from deliveries where id = ?', id);
  }

  clear(): void {
    this.tables.write('delete from deliveries');
  }
}
