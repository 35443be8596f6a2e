import { Rows } from '../../durable/rows.ts';
import type { Tables } from '../../durable/tables.ts';

/** Keeps the names of pools to which something must be reported although nothing is leased from them. */
export class CorrectedPools extends Rows {
  /** How often that was noted, by name. */
  readonly #times: Map<string, number>;

  constructor(tables: Tables) {
    super(tables);
    this.#times = new Map((JSON.parse(tables.meta('corrected') ?? '[]') as string[]).map((name) => [name, 1]));
  }

  get isEmpty(): boolean {
    return this.#times.size === 0;
  }

  /** @returns each name, and how often it was noted. */
  entries(): [name: string, times: number][] {
    return [...this.#times];
  }

  add(names: readonly string[]): void {
    const isKnown = names.every((name) => this.#times.has(name));
    for (const name of names) this.#times.set(name, (this.#times.get(name) ?? 0) + 1);
    if (!isKnown) this.#store();
  }

  /** Forgets a pool after the report, unless it was noted again meanwhile. */
  told(name: string, times: number): void {
    if (this.#times.get(name) !== times) return;
    this.#times.delete(name);
    this.#store();
  }

  clear(): void {
    if (this.isEmpty) return;
    this.#times.clear();
    this.#store();
  }

  #store(): void {
    const names = [...this.#times.keys()];
    this.tables.setMeta('corrected', names.length === 0 ? undefined : JSON.stringify(names));
  }
}
