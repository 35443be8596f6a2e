import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { Tables } from './tables.ts';

/** What the keys in `meta` begin with that say which plugins have tables. */
const TABLES_KEY_PREFIX = 'tables:';

/** The tables of one plugin among those of its object, which are made with the first row. Until then nothing is found. */
class SinglePluginTables extends Tables {
  readonly #objectTables: Tables;
  readonly #schema: { isCreated(): boolean; create(): void };

  constructor(storage: DurableObjectStorage, all: Tables, schema: { isCreated(): boolean; create(): void }) {
    super(storage);
    this.#objectTables = all;
    this.#schema = schema;
  }

  override get areMissing(): boolean {
    return !this.#schema.isCreated();
  }

  override write(statement: string, ...bindings: SqlStorageValue[]): number {
    if (this.areMissing && statement.startsWith('insert')) this.#schema.create();
    return this.areMissing ? 0 : this.#objectTables.runAsPlugin(() => this.#objectTables.write(statement, ...bindings));
  }

  override insertAll(...args: Parameters<Tables['insertAll']>): number {
    if (this.areMissing) this.#schema.create();
    return this.#objectTables.runAsPlugin(() => this.#objectTables.insertAll(...args));
  }

  override select<Row extends Record<string, SqlStorageValue>>(query: string, ...bindings: SqlStorageValue[]) {
    return this.areMissing
      ? this.storage.sql.exec<Row>('select 1 where false')
      : this.#objectTables.select<Row>(query, ...bindings);
  }

  override queryNumber(query: string, ...bindings: SqlStorageValue[]): number | undefined {
    return this.areMissing
      ? undefined
      : this.#objectTables.runAsPlugin(() => this.#objectTables.queryNumber(query, ...bindings));
  }

  override transact<T>(change: () => T): T {
    return this.#objectTables.transact(change);
  }
}

/** The tables that plugins have in one object, besides those of the object itself. */
export class PluginTables {
  readonly #storage: DurableObjectStorage;
  readonly #objectTables: Tables;
  readonly #tablesByPlugin = new Map<string, Tables>();
  /** The names of the plugins whose tables are made. */
  #createdPlugins: ReadonlySet<string> = new Set();

  /** @param all those of the object, with `meta`, which says which plugins have tables */
  constructor(storage: DurableObjectStorage, all: Tables) {
    this.#storage = storage;
    this.#objectTables = all;
  }

  /** Takes the keys of `meta`, as they were just read. */
  restore(keys: Iterable<string>): void {
    this.#createdPlugins = new Set(
      [...keys].flatMap((key) => (key.startsWith(TABLES_KEY_PREFIX) ? key.slice(TABLES_KEY_PREFIX.length) : [])),
    );
  }

  /** Forgets which there are, after all tables were deleted. */
  clear(): void {
    this.#createdPlugins = new Set();
  }

  /** @returns the tables of a plugin. @param statements make them, where they do not exist */
  getTables(plugin: string, statements: string): Tables {
    return getOrCreate(this.#tablesByPlugin, plugin, () => {
      const isCreated = () => this.#createdPlugins.has(plugin);
      const create = () => {
        this.#objectTables.transact(() => {
          this.#storage.sql.exec(statements);
          this.#objectTables.setMeta(TABLES_KEY_PREFIX + plugin, '');
        });
        this.#createdPlugins = new Set([...this.#createdPlugins, plugin]);
      };
      return new SinglePluginTables(this.#storage, this.#objectTables, { isCreated, create });
    });
  }

  /** Makes a change in a transaction: tables that it has made are undone with it. */
  together<T>(change: () => T): T {
    const before = this.#createdPlugins;
    try {
      return change();
    } catch (thrown) {
      this.#createdPlugins = before;
      throw thrown;
    }
  }
}
