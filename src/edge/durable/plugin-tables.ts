import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { SqlTables } from './tables.ts';

/** What the keys in `meta` begin with that say which plugins have tables. */
const TABLES_KEY_PREFIX = 'tables:';

/** The tables of one plugin among those of its object, which are made with the first row. Until then nothing is found. */
class SinglePluginSqlTables extends SqlTables {
  readonly #objectTables: SqlTables;
  readonly #schema: { isCreated(): boolean; create(): void };

  constructor(storage: DurableObjectStorage, all: SqlTables, schema: { isCreated(): boolean; create(): void }) {
    super(storage);
    this.#objectTables = all;
    this.#schema = schema;
  }

  override get areTablesMissing(): boolean {
    return !this.#schema.isCreated();
  }

  override runWriteStatement(statement: string, ...bindings: SqlStorageValue[]): number {
    if (this.areTablesMissing && statement.startsWith('insert')) this.#schema.create();
    return this.areTablesMissing
      ? 0
      : this.#objectTables.runAsPlugin(() => this.#objectTables.runWriteStatement(statement, ...bindings));
  }

  override insertRows(...args: Parameters<SqlTables['insertRows']>): number {
    if (this.areTablesMissing) this.#schema.create();
    return this.#objectTables.runAsPlugin(() => this.#objectTables.insertRows(...args));
  }

  override iterateRows<Row extends Record<string, SqlStorageValue>>(query: string, ...bindings: SqlStorageValue[]) {
    return this.areTablesMissing
      ? this.storage.sql.exec<Row>('select 1 where false')
      : this.#objectTables.iterateRows<Row>(query, ...bindings);
  }

  override queryNumber(query: string, ...bindings: SqlStorageValue[]): number | undefined {
    return this.areTablesMissing
      ? undefined
      : this.#objectTables.runAsPlugin(() => this.#objectTables.queryNumber(query, ...bindings));
  }

  override runInTransaction<T>(change: () => T): T {
    return this.#objectTables.runInTransaction(change);
  }
}

/** The tables that plugins have in one object, besides those of the object itself. */
export class PluginTablesRegistry {
  readonly #storage: DurableObjectStorage;
  readonly #objectTables: SqlTables;
  readonly #tablesByPlugin = new Map<string, SqlTables>();
  /** The names of the plugins whose tables are made. */
  #createdPlugins: ReadonlySet<string> = new Set();

  /** @param all those of the object, with `meta`, which says which plugins have tables */
  constructor(storage: DurableObjectStorage, all: SqlTables) {
    this.#storage = storage;
    this.#objectTables = all;
  }

  /** Takes the keys of `meta`, as they were just read. */
  markTablesCreated(keys: Iterable<string>): void {
    this.#createdPlugins = new Set(
      [...keys].flatMap((key) => (key.startsWith(TABLES_KEY_PREFIX) ? key.slice(TABLES_KEY_PREFIX.length) : [])),
    );
  }

  /** Forgets which there are, after all tables were deleted. */
  forgetCreatedTables(): void {
    this.#createdPlugins = new Set();
  }

  /** @returns the tables of a plugin. @param statements make them, where they do not exist */
  getPluginTables(plugin: string, statements: string): SqlTables {
    return getOrCreate(this.#tablesByPlugin, plugin, () => {
      const areTablesCreated = () => this.#createdPlugins.has(plugin);
      const createPluginTables = () => {
        this.#objectTables.runInTransaction(() => {
          this.#storage.sql.exec(statements);
          this.#objectTables.writeMetaValue(TABLES_KEY_PREFIX + plugin, '');
        });
        this.#createdPlugins = new Set([...this.#createdPlugins, plugin]);
      };
      return new SinglePluginSqlTables(this.#storage, this.#objectTables, {
        isCreated: areTablesCreated,
        create: createPluginTables,
      });
    });
  }

  /** Makes a change in a transaction: tables that it has made are undone with it. */
  transactWithTableCreation<T>(change: () => T): T {
    const before = this.#createdPlugins;
    try {
      return change();
    } catch (thrown) {
      this.#createdPlugins = before;
      throw thrown;
    }
  }
}
