import { Rows } from '../../durable/rows.ts';

/** An event that is to be told. Times are milliseconds since 1970. */
export interface DeliveryRow {
  /** The same however often it is tried. */
  id: string;
  /** Where it goes; null where the setting TURN_DELIVER_URL says it. */
  url: string | null;
  /** The event as JSON text. */
  body: string;
  /** How often it has failed. */
  failures: number;
  nextAt: number;
}

/** The events that a conversation has to tell. A row goes once its receiver has the event, or nobody tries any more. */
export class DeliveryRows extends Rows {
  /** Adds an event, unless it is there already. */
  add({ id, url, body, failures, nextAt }: DeliveryRow): void {
    this.tables.insert('deliveries', { id, url, body, failures, next_at: nextAt }, 'insert or ignore');
  }

  /** @returns an event that is due. */
  due(now: number): DeliveryRow | undefined {
    const [row] = this.tables.read('select * from deliveries where next_at <= ? order by next_at limit 1', now);
    if (!row) return undefined;
    const { id, url, body, failures, next_at } = row;
    return {
      id: String(id),
      url: typeof url === 'string' ? url : null,
      body: String(body),
      failures: Number(failures),
      nextAt: Number(next_at),
    };
  }

  /** @returns when the next one is due; undefined where there is none */
  next(): number | undefined {
    return this.tables.figure('select min(next_at) from deliveries');
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
