/**
 * What objects ask of their storage, and what it answers: of the runtime's and of what stands in for it here. Each begins
 * with empty storage.
 */

export interface StorageCommand {
  name: string;
  run(storage: DurableObjectStorage): unknown;
  expected: unknown;
}

/** No alarm comes while this is tried. */
const FAR_FUTURE = Date.parse('2099-01-01T00:00:00Z');
const TABLE = 'create table t (id text primary key, n integer, r real, x any) strict, without rowid';

function createTable({ sql }: DurableObjectStorage): SqlStorage {
  sql.exec(TABLE);
  return sql;
}

function readRows(sql: SqlStorage): unknown[] {
  return sql.exec('select id, n from t order by id').toArray();
}

/** @returns whether something was refused. */
function isRejected(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch {
    return true;
  }
}

/** @returns what is asked, with what is answered */
const storageCommand = (name: string, answer: unknown, ask: StorageCommand['run']): StorageCommand => ({
  name,
  run: ask,
  expected: answer,
});

export const COMMANDS: readonly StorageCommand[] = [
  storageCommand(
    'values come back as they were stored',
    [
      { id: 'a', n: 1, r: 0.5, x: null },
      { id: 'b', n: 9_007_199_254_740_991, r: 2, x: 'é 😀' },
    ],
    (storage) => {
      const sql = createTable(storage);
      sql.exec('insert into t values (?, ?, ?, ?)', 'a', 1, 0.5, null);
      sql.exec('insert into t values (?, ?, ?, ?)', 'b', 9_007_199_254_740_991, 2, 'é 😀');
      return sql.exec('select * from t order by id').toArray();
    },
  ),
  storageCommand(
    'values by keys are copies, and are deleted',
    [undefined, { n: 1 }, undefined, undefined],
    async (storage) => {
      const { kv } = storage;
      const before = kv.get('a');
      const value = { n: 1 };
      kv.put('a', value);
      kv.put('b', value);
      value.n = 2;
      const stored = kv.get('a');
      kv.delete('a');
      const deleted = kv.get('a');
      await storage.deleteAll();
      return [before, stored, deleted, kv.get('b')];
    },
  ),
  storageCommand('a number is bound as a real one', { kind: 'real', value: 1 }, ({ sql }) =>
    sql.exec('select typeof(?) as kind, ? as value', 1, 1).one(),
  ),
  storageCommand('parameters by their numbers are bound each once', { text: 'aba' }, ({ sql }) =>
    sql.exec('select ?1 || ?2 || ?1 as text', 'a', 'b').one(),
  ),
  storageCommand('bytes come back as a buffer', [true, 1, 2, 3], (storage) => {
    storage.sql.exec('create table b (bytes blob not null) strict');
    storage.sql.exec('insert into b values (?)', new Uint8Array([1, 2, 3]).buffer);
    const { bytes } = storage.sql.exec<{ bytes: ArrayBuffer }>('select bytes from b').one();
    return [bytes instanceof ArrayBuffer, ...new Uint8Array(bytes)];
  }),
  storageCommand('several statements run at once', { rows: 2 }, ({ sql }) => {
    sql.exec("create table a (x text) strict; insert into a values ('1'); insert into a values ('2')");
    return sql.exec('select count(*) as rows from a').one();
  }),
  storageCommand('a statement says how many rows it has written', [3, 2, 2, 0, 0], (storage) => {
    const sql = createTable(storage);
    const written = (query: string) => sql.exec(query).rowsWritten;
    return [
      written("insert into t (id, n) values ('a', 1), ('b', 1), ('c', 2)"),
      written('update t set r = 1 where n = 1'),
      written('delete from t where n = 1'),
      written('delete from t where n = 1'),
      sql.exec('select * from t').rowsWritten,
    ];
  }),
  storageCommand('how many rows have changed can be asked', { rows: 2 }, (storage) => {
    const sql = createTable(storage);
    sql.exec("insert into t (id, n) values ('a', 1), ('b', 1)");
    sql.exec('update t set n = 2');
    return sql.exec('select changes() as rows').one();
  }),
  storageCommand(
    'rows are iterated, and come as lists',
    [
      ['a', 'b'],
      [
        ['a', 1],
        ['b', 2],
      ],
    ],
    (storage) => {
      const sql = createTable(storage);
      sql.exec("insert into t (id, n) values ('a', 1), ('b', 2)");
      const iterated = [...sql.exec('select id, n from t order by id')].map(({ id }) => id);
      return [iterated, [...sql.exec('select id, n from t order by id').raw()]];
    },
  ),
  storageCommand('one row is one row', [true, true], (storage) => {
    const sql = createTable(storage);
    const none = isRejected(() => sql.exec('select * from t').one());
    sql.exec("insert into t (id) values ('a'), ('b')");
    return [none, isRejected(() => sql.exec('select * from t').one())];
  }),
  storageCommand(
    'what a strict table does not take is refused, and changes nothing',
    [[true, true, true, true], [{ id: 'a', n: 1 }]],
    (storage) => {
      const sql = createTable(storage);
      sql.exec("insert into t (id, n) values ('a', 1)");
      const refused = [
        isRejected(() => sql.exec('insert into t (id, n) values (?, ?)', 'b', 1.5)),
        isRejected(() => sql.exec('insert into t (id, n) values (?, ?)', 'b', 'text')),
        isRejected(() => sql.exec('insert into t (id, n) values (?, ?)', 'a', 2)),
        isRejected(() => sql.exec('insert into nothing values (1)')),
      ];
      return [refused, readRows(sql)];
    },
  ),
  storageCommand(
    'what is written together is stored together, or not at all',
    ['given', true, [{ id: 'a', n: 1 }]],
    (storage) => {
      const sql = createTable(storage);
      const given = storage.transactionSync(() => {
        sql.exec("insert into t (id, n) values ('a', 1)");
        return 'given';
      });
      const refused = isRejected(() =>
        storage.transactionSync(() => {
          sql.exec("insert into t (id, n) values ('b', 2)");
          throw new Error('no');
        }),
      );
      return [given, refused, readRows(sql)];
    },
  ),
  storageCommand(
    'a part that is taken back leaves the rest',
    [
      { id: 'a', n: 1 },
      { id: 'c', n: 3 },
    ],
    (storage) => {
      const sql = createTable(storage);
      storage.transactionSync(() => {
        sql.exec("insert into t (id, n) values ('a', 1)");
        isRejected(() =>
          storage.transactionSync(() => {
            sql.exec("insert into t (id, n) values ('b', 2)");
            throw new Error('no');
          }),
        );
        sql.exec("insert into t (id, n) values ('c', 3)");
      });
      return readRows(sql);
    },
  ),
  storageCommand(
    'columns can be added, and a row replaced',
    [
      { id: 'a', n: 6, late: null },
      { id: 'a', n: null, late: 2 },
    ],
    (storage) => {
      const sql = createTable(storage);
      sql.exec("insert into t (id, n) values ('a', 1)");
      sql.exec('alter table t add column late integer');
      sql.exec("insert into t (id, n, late) values ('a', 5, 1) on conflict (id) do update set n = n + excluded.n");
      const grown = sql.exec('select id, n, late from t').one();
      sql.exec("insert or replace into t (id, late) values ('a', 2)");
      return [grown, sql.exec('select id, n, late from t').one()];
    },
  ),
  storageCommand('a table that is not there leaves no trace when it is looked for', [], ({ sql }) =>
    sql.exec("select 1 from sqlite_master where type = 'table' and name = 'meta'").toArray(),
  ),
  storageCommand('what is stored takes up pages', [0, true, true], (storage) => {
    const sql = createTable(storage);
    const before = sql.databaseSize;
    sql.exec('insert into t (id) values (?)', 'x'.repeat(20_000));
    return [before % 4_096, before > 0, sql.databaseSize > before];
  }),
  storageCommand('an alarm is set, set anew and deleted', [null, FAR_FUTURE, FAR_FUTURE + 1, null], async (storage) => {
    const told: unknown[] = [await storage.getAlarm()];
    for (const time of [FAR_FUTURE, FAR_FUTURE + 1]) {
      void storage.setAlarm(time);
      told.push(await storage.getAlarm());
    }
    await storage.deleteAlarm();
    return [...told, await storage.getAlarm()];
  }),
  storageCommand(
    'everything goes at once when all is deleted, and what is written before that is confirmed stays',
    [[], [{ id: 'b', n: 2 }], FAR_FUTURE + 1],
    async (storage) => {
      createTable(storage).exec("insert into t (id) values ('a')");
      void storage.setAlarm(FAR_FUTURE);
      const gone = [storage.deleteAlarm(), storage.deleteAll()];
      const left = storage.sql.exec("select name from sqlite_master where name = 't'").toArray();
      createTable(storage).exec("insert into t (id, n) values ('b', 2)");
      void storage.setAlarm(FAR_FUTURE + 1);
      await Promise.all(gone);
      return [left, readRows(storage.sql), await storage.getAlarm()];
    },
  ),
];

/** What an alarm's handler does, what it is told, and which alarm stands afterwards. */
export interface AlarmCase {
  name: string;
  handle(storage: DurableObjectStorage): Promise<unknown>;
  expected: unknown;
  alarmAfter: number | null;
}

export const ALARMS: readonly AlarmCase[] = [
  {
    name: 'its alarm is gone while its handler runs, and afterwards',
    handle: (storage) => storage.getAlarm(),
    expected: null,
    alarmAfter: null,
  },
  {
    name: 'an alarm that its handler sets stays',
    handle: async (storage) => {
      void storage.setAlarm(FAR_FUTURE);
      return await storage.getAlarm();
    },
    expected: FAR_FUTURE,
    alarmAfter: FAR_FUTURE,
  },
  {
    name: 'an alarm that its handler sets and deletes is gone',
    handle: async (storage) => {
      void storage.setAlarm(FAR_FUTURE);
      await storage.deleteAlarm();
      return await storage.getAlarm();
    },
    expected: null,
    alarmAfter: null,
  },
];
