/**
 * What objects ask of their storage, and what it answers: of the runtime's and of what stands in for it here. Each begins
 * with empty storage.
 */

export interface Asked {
  name: string;
  ask(storage: DurableObjectStorage): unknown;
  answer: unknown;
}

/** No alarm comes while this is tried. */
const FAR = Date.parse('2099-01-01T00:00:00Z');
const TABLE = 'create table t (id text primary key, n integer, r real, x any) strict, without rowid';

function made({ sql }: DurableObjectStorage): SqlStorage {
  sql.exec(TABLE);
  return sql;
}

function rows(sql: SqlStorage): unknown[] {
  return sql.exec('select id, n from t order by id').toArray();
}

/** @returns whether something was refused. */
function isRefused(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch {
    return true;
  }
}

/** @returns what is asked, with what is answered */
const command = (name: string, answer: unknown, ask: Asked['ask']): Asked => ({ name, ask, answer });

export const COMMANDS: readonly Asked[] = [
  command(
    'values come back as they were stored',
    [
      { id: 'a', n: 1, r: 0.5, x: null },
      { id: 'b', n: 9_007_199_254_740_991, r: 2, x: 'é 😀' },
    ],
    (storage) => {
      const sql = made(storage);
      sql.exec('insert into t values (?, ?, ?, ?)', 'a', 1, 0.5, null);
      sql.exec('insert into t values (?, ?, ?, ?)', 'b', 9_007_199_254_740_991, 2, 'é 😀');
      return sql.exec('select * from t order by id').toArray();
    },
  ),
  command('a number is bound as a real one', { kind: 'real', value: 1 }, ({ sql }) =>
    sql.exec('select typeof(?) as kind, ? as value', 1, 1).one(),
  ),
  command('parameters by their numbers are bound each once', { text: 'aba' }, ({ sql }) =>
    sql.exec('select ?1 || ?2 || ?1 as text', 'a', 'b').one(),
  ),
  command('bytes come back as a buffer', [true, 1, 2, 3], (storage) => {
    storage.sql.exec('create table b (bytes blob not null) strict');
    storage.sql.exec('insert into b values (?)', new Uint8Array([1, 2, 3]).buffer);
    const { bytes } = storage.sql.exec<{ bytes: ArrayBuffer }>('select bytes from b').one();
    return [bytes instanceof ArrayBuffer, ...new Uint8Array(bytes)];
  }),
  command('several statements run at once', { rows: 2 }, ({ sql }) => {
    sql.exec("create table a (x text) strict; insert into a values ('1'); insert into a values ('2')");
    return sql.exec('select count(*) as rows from a').one();
  }),
  command('a statement says how many rows it has written', [3, 2, 2, 0, 0], (storage) => {
    const sql = made(storage);
    const written = (query: string) => sql.exec(query).rowsWritten;
    return [
      written("insert into t (id, n) values ('a', 1), ('b', 1), ('c', 2)"),
      written('update t set r = 1 where n = 1'),
      written('delete from t where n = 1'),
      written('delete from t where n = 1'),
      sql.exec('select * from t').rowsWritten,
    ];
  }),
  command('how many rows have changed can be asked', { rows: 2 }, (storage) => {
    const sql = made(storage);
    sql.exec("insert into t (id, n) values ('a', 1), ('b', 1)");
    sql.exec('update t set n = 2');
    return sql.exec('select changes() as rows').one();
  }),
  command(
    'rows are iterated, and come as lists',
    [
      ['a', 'b'],
      [
        ['a', 1],
        ['b', 2],
      ],
    ],
    (storage) => {
      const sql = made(storage);
      sql.exec("insert into t (id, n) values ('a', 1), ('b', 2)");
      const iterated = [...sql.exec('select id, n from t order by id')].map(({ id }) => id);
      return [iterated, [...sql.exec('select id, n from t order by id').raw()]];
    },
  ),
  command('one row is one row', [true, true], (storage) => {
    const sql = made(storage);
    const none = isRefused(() => sql.exec('select * from t').one());
    sql.exec("insert into t (id) values ('a'), ('b')");
    return [none, isRefused(() => sql.exec('select * from t').one())];
  }),
  command(
    'what a strict table does not take is refused, and changes nothing',
    [[true, true, true, true], [{ id: 'a', n: 1 }]],
    (storage) => {
      const sql = made(storage);
      sql.exec("insert into t (id, n) values ('a', 1)");
      const refused = [
        isRefused(() => sql.exec('insert into t (id, n) values (?, ?)', 'b', 1.5)),
        isRefused(() => sql.exec('insert into t (id, n) values (?, ?)', 'b', 'text')),
        isRefused(() => sql.exec('insert into t (id, n) values (?, ?)', 'a', 2)),
        isRefused(() => sql.exec('insert into nothing values (1)')),
      ];
      return [refused, rows(sql)];
    },
  ),
  command(
    'what is written together is stored together, or not at all',
    ['given', true, [{ id: 'a', n: 1 }]],
    (storage) => {
      const sql = made(storage);
      const given = storage.transactionSync(() => {
        sql.exec("insert into t (id, n) values ('a', 1)");
        return 'given';
      });
      const refused = isRefused(() =>
        storage.transactionSync(() => {
          sql.exec("insert into t (id, n) values ('b', 2)");
          throw new Error('no');
        }),
      );
      return [given, refused, rows(sql)];
    },
  ),
  command(
    'a part that is taken back leaves the rest',
    [
      { id: 'a', n: 1 },
      { id: 'c', n: 3 },
    ],
    (storage) => {
      const sql = made(storage);
      storage.transactionSync(() => {
        sql.exec("insert into t (id, n) values ('a', 1)");
        isRefused(() =>
          storage.transactionSync(() => {
            sql.exec("insert into t (id, n) values ('b', 2)");
            throw new Error('no');
          }),
        );
        sql.exec("insert into t (id, n) values ('c', 3)");
      });
      return rows(sql);
    },
  ),
  command(
    'columns can be added, and a row replaced',
    [
      { id: 'a', n: 6, late: null },
      { id: 'a', n: null, late: 2 },
    ],
    (storage) => {
      const sql = made(storage);
      sql.exec("insert into t (id, n) values ('a', 1)");
      sql.exec('alter table t add column late integer');
      sql.exec("insert into t (id, n, late) values ('a', 5, 1) on conflict (id) do update set n = n + excluded.n");
      const grown = sql.exec('select id, n, late from t').one();
      sql.exec("insert or replace into t (id, late) values ('a', 2)");
      return [grown, sql.exec('select id, n, late from t').one()];
    },
  ),
  command('a table that is not there leaves no trace when it is looked for', [], ({ sql }) =>
    sql.exec("select 1 from sqlite_master where type = 'table' and name = 'meta'").toArray(),
  ),
  command('what is stored takes up pages', [0, true, true], (storage) => {
    const sql = made(storage);
    const before = sql.databaseSize;
    sql.exec('insert into t (id) values (?)', 'x'.repeat(20_000));
    return [before % 4_096, before > 0, sql.databaseSize > before];
  }),
  command('an alarm is set, set anew and deleted', [null, FAR, FAR + 1, null], async (storage) => {
    const told: unknown[] = [await storage.getAlarm()];
    for (const time of [FAR, FAR + 1]) {
      void storage.setAlarm(time);
      told.push(await storage.getAlarm());
    }
    await storage.deleteAlarm();
    return [...told, await storage.getAlarm()];
  }),
  command(
    'everything goes at once when all is deleted, and what is written before that is confirmed stays',
    [[], [{ id: 'b', n: 2 }], FAR + 1],
    async (storage) => {
      made(storage).exec("insert into t (id) values ('a')");
      void storage.setAlarm(FAR);
      const gone = [storage.deleteAlarm(), storage.deleteAll()];
      const left = storage.sql.exec("select name from sqlite_master where name = 't'").toArray();
      made(storage).exec("insert into t (id, n) values ('b', 2)");
      void storage.setAlarm(FAR + 1);
      await Promise.all(gone);
      return [left, rows(storage.sql), await storage.getAlarm()];
    },
  ),
];

/** What an alarm's handler does, what it is told, and which alarm stands afterwards. */
export interface Rung {
  name: string;
  handle(storage: DurableObjectStorage): Promise<unknown>;
  answer: unknown;
  after: number | null;
}

export const ALARMS: readonly Rung[] = [
  {
    name: 'its alarm is gone while its handler runs, and afterwards',
    handle: (storage) => storage.getAlarm(),
    answer: null,
    after: null,
  },
  {
    name: 'an alarm that its handler sets stays',
    handle: async (storage) => {
      void storage.setAlarm(FAR);
      return await storage.getAlarm();
    },
    answer: FAR,
    after: FAR,
  },
  {
    name: 'an alarm that its handler sets and deletes is gone',
    handle: async (storage) => {
      void storage.setAlarm(FAR);
      await storage.deleteAlarm();
      return await storage.getAlarm();
    },
    answer: null,
    after: null,
  },
];
