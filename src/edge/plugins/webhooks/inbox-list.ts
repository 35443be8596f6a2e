import { Rows } from '../../durable/rows.ts';
import type { ErasableList } from '../../money/lists/listed-rows.ts';

const KEY = 'inboxes';

/** The inboxes that an account pays for, by their sources. */
export class InboxList extends Rows implements ErasableList {
  /** Notes an inbox by its source. An inbox that is being erased stays marked until that is done. */
  note(source: string, now: number): void {
    const noted = this.#notedSources();
    if (noted[source] === undefined) this.#save({ ...noted, [source]: now });
  }

  listUntil(time: number, limit: number): string[] {
    return this.#sourcesUntil(time).slice(0, limit);
  }

  count(time: number): number {
    return this.#sourcesUntil(time).length;
  }

  forget(source: string): void {
    const { [source]: _, ...rest } = this.#notedSources();
    this.#save(rest);
  }

  #sourcesUntil(time: number): string[] {
    return Object.entries(this.#notedSources())
      .filter(([, at]) => at <= time)
      .map(([source]) => source);
  }

  /** @returns all noted sources. There are only a few, so they are in one row. */
  #notedSources(): Record<string, number> {
    return JSON.parse(this.tables.meta(KEY) ?? '{}') as Record<string, number>;
  }

  #save(noted: Record<string, number>): void {
    this.tables.setMeta(KEY, Object.keys(noted).length === 0 ? undefined : JSON.stringify(noted));
  }
}
