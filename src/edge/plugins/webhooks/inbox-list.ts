import { TableRowsBase } from '../../durable/rows.ts';
import type { ErasableResourceList } from '../../money/lists/listed-rows.ts';

const KEY = 'inboxes';

/** The inboxes that an account pays for, by their sources. */
export class InboxList extends TableRowsBase implements ErasableResourceList {
  /** Stores an inbox by its source. An inbox that is being erased stays marked until that is done. */
  recordInbox(source: string, now: number): void {
    const noted = this.#readRecordedSources();
    if (noted[source] === undefined) this.#writeRecordedSources({ ...noted, [source]: now });
  }

  listIdsCreatedUntil(time: number, limit: number): string[] {
    return this.#listSourcesUntil(time).slice(0, limit);
  }

  countCreatedUntil(time: number): number {
    return this.#listSourcesUntil(time).length;
  }

  deleteRow(source: string): void {
    const { [source]: _, ...rest } = this.#readRecordedSources();
    this.#writeRecordedSources(rest);
  }

  #listSourcesUntil(time: number): string[] {
    return Object.entries(this.#readRecordedSources())
      .filter(([, at]) => at <= time)
      .map(([source]) => source);
  }

  /** @returns all noted sources. There are only a few, so they are in one row. */
  #readRecordedSources(): Record<string, number> {
    return JSON.parse(this.tables.readMetaValue(KEY) ?? '{}') as Record<string, number>;
  }

  #writeRecordedSources(noted: Record<string, number>): void {
    this.tables.writeMetaValue(KEY, Object.keys(noted).length === 0 ? undefined : JSON.stringify(noted));
  }
}
