import { getOrMake } from '../kit/cache/get-or-make.ts';
import { Tables } from './tables.ts';

/** What the keys in `meta` begin with that say which plugins have tables. */
const TABLES_OF = 'tables:';

/** The tables of one plugin among those of its object, which are made with the first row. Until then nothing is found. */
class TablesOfPlugin extends Tables {
  readonly #all: Tables;
  readonly #schema: { isMade(): boolean; make(): void };

  constructor(storage: DurableObjectStorage, all: Tables, schema: { isMade(): boolean; make(): void }) {
    super(storage);
    this.#all = all;
    this.#schema = schema;
  }

  override get areUnmade(): boolean {
    return !this.#schema.isMade();
  }

  override write(statement: string, ...bindings: SqlStorageValue[]): number {
    if (this.areUnmade && statement.startsWith('insert')) this.#schema.make();
    return this.areUnmade ? 0 : this.#all.byPlugin(() => this.#all.write(statement, ...bindings));
  }

  override insertAll(...of: Parameters<Tables['insertAll']>): number {
    if (this.areUnmade) this.#schema.make();
    return this.#all.byPlugin(() => this.#all.insertAll(...of));
  }

  override select<Row extends Record<string, SqlStorageValue>>(query: string, ...bindings: SqlStorageValue[]) {
    return this.areUnmade
      ? this.storage.sql.exec<Row>('select 1 where false')
      : this.#all.select<Row>(query, ...bindings);
  }

  override figure(query: string, ...bindings: SqlStorageValue[]): number | undefined {
    return this.areUnmade ? undefined : this.#all.byPlugin(() => this.#all.figure(query, ...bindings));
  }

  override together<T>(change: () => T): T {
    return this.#all.together(change);
  }
}

/** The tables that plugins have in one object, besides those of the object itself. */
export class PluginTables {
  readonly #storage: DurableObjectStorage;
  readonly #all: Tables;
  readonly #opened = new Map<string, Tables>();
  /** The names of the plugins whose tables are made. */
  #made: ReadonlySet<string> = new Set();

  /** @param all those of the object, with `meta`, which says which plugins have tables */
  constructor(storage: DurableObjectStorage, all: Tables) {
    this.#storage = storage;
    this.#all = all;
  }

  /** Takes the keys of `meta`, as they were just read. */
  recall(keys: Iterable<string>): void {
    this.#made = new Set([...keys].flatMap((key) => (key.startsWith(TABLES_OF) ? key.slice(TABLES_OF.length) : [])));
  }

  /** Forgets which there are, after all tables were deleted. */
  forget(): void {
    this.#made = new Set();
  }

  /** @returns the tables of a plugin. @param statements make them, where they do not exist */
  of(plugin: string, statements: string): Tables {
    return getOrMake(this.#opened, plugin, () => {
      const isMade = () => this.#made.has(plugin);
      const make = () => {
        this.#all.together(() => {
          this.#storage.sql.exec(statements);
          this.#all.setMeta(TABLES_OF + plugin, '');
        });
        this.#made = new Set([...this.#made, plugin]);
      };
      return new TablesOfPlugin(this.#storage, this.#all, { isMade, make });
    });
  }

  /** Makes a change in a transaction: tables that it has made are undone with it. */
  together<T>(change: () => T): T {
    const before = this.#made;
    try {
      return change();
    } catch (thrown) {
      this.#made = before;
      throw thrown;
    }
  }
}
