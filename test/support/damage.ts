/** Stored rows that are taken from one conversation, damaged, and put into another. */
import { runInDurableObject } from 'cloudflare:test';
import { CONVERSATION_TABLES } from '#edge/conversations/history/storage/tables.ts';
import { createTables } from '#edge/durable/schema.ts';
import { RUN_ROWS } from '#edge/plugins/runs/run-rows.ts';
import { stubOf } from './conversations.ts';

type Row = Record<string, SqlStorageValue>;
/** The rows of each table. */
export type Rows = Record<string, Row[]>;

const TABLES = ['meta', 'turns', 'messages', 'pieces', 'log', 'deliveries', 'runs', 'calls', 'approvals'] as const;

/** Changes the stored profile as its own code would. */
export function changeProfile(sql: SqlStorage, change: (profile: Record<string, unknown>) => unknown): void {
  const [row] = sql.exec<{ value: string }>("select value from meta where key = 'profile'").toArray();
  const profile = JSON.parse(row?.value ?? '') as Record<string, unknown>;
  change(profile);
  sql.exec("update meta set value = ? where key = 'profile'", JSON.stringify(profile));
}

/** @returns all rows of a conversation, as they are stored now */
export async function readStoredRows(id: string): Promise<Rows> {
  return await runInDurableObject(stubOf(id), (_, { storage }) =>
    Object.fromEntries(
      TABLES.filter((table) => hasTable(storage.sql, table)).map((table) => [
        table,
        storage.sql.exec(`select * from ${table}`).toArray(),
      ]),
    ),
  );
}

function hasTable(sql: SqlStorage, table: string): boolean {
  return sql.exec('select 1 from sqlite_master where name = ?', table).toArray().length > 0;
}

/** Makes a conversation of rows, with an alarm that is due soon. @param damage changes what is stored */
export async function insertRows(id: string, rows: Rows, damage: (sql: SqlStorage) => void): Promise<void> {
  await runInDurableObject(stubOf(id), async (_, { storage }) => {
    createTables(storage, CONVERSATION_TABLES + (rows.calls ? RUN_ROWS.tables : ''));
    for (const [table, all] of Object.entries(rows)) {
      for (const row of all) {
        const names = Object.keys(row);
        const marks = names.map(() => '?').join(', ');
        storage.sql.exec(`insert into ${table} (${names.join(', ')}) values (${marks})`, ...Object.values(row));
      }
    }
    changeProfile(storage.sql, (profile) => {
      profile.id = id;
    });
    damage(storage.sql);
    await storage.setAlarm(Date.now() + 3_600_000);
  });
}

/** A text in a column of a row: `at` counts the row in its table. */
export interface Cell {
  table: string;
  at: number;
  column: string;
  text: string;
}

/** @returns all stored texts that are not empty */
export function listTextCells(rows: Rows): Cell[] {
  return Object.entries(rows).flatMap(([table, all]) =>
    all.flatMap((row, at) =>
      Object.entries(row).flatMap(([column, text]) =>
        typeof text === 'string' && text !== '' ? [{ table, at, column, text }] : [],
      ),
    ),
  );
}
