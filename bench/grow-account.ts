/** Adds rows to the account of the bench, as if it had had as many requests and conversations: in seconds, where it took hours. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Nothing older is kept, and nothing so young is still running. */
const [OLDEST_DAYS, YOUNGEST_DAYS] = [25, 1];
const DAY_MS = 86_400_000;
/** As of a request's id: what it begins with, and how many digits its time and the rest have. */
const [PREFIX, TIME_DIGITS, RANDOM_DIGITS] = ['req_', 10, 16];
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * Copies the account's oldest request so many times, spread over the weeks before it: each row as the product wrote that
 * one. They lie before the rows that are not summed up yet, as old rows do.
 *
 * @param disk of a server that has stopped
 */
export function addLedgerRows(disk: string, rows: number): void {
  if (rows < 1) return;
  const account = openAccount(disk);
  const begin = Date.now() - OLDEST_DAYS * DAY_MS;
  const stepMs = ((OLDEST_DAYS - YOUNGEST_DAYS) * DAY_MS) / rows;
  account.function('time_of', (n) => Math.floor(begin + Number(n) * stepMs));
  account.function('id_of', (n) => requestId(begin + Number(n) * stepMs, Number(n)));
  copy(account, 'ledger', "status = 'complete'", rows, { id: 'id_of(n)', at: 'time_of(n)', settled_at: 'time_of(n)' });
  account.close();
}

/** Copies one of the account's conversations so many times. Those that are added have no object, as none has that sleeps. */
export function addConversations(disk: string, rows: number): void {
  const account = openAccount(disk);
  const begin = Date.now() - OLDEST_DAYS * DAY_MS;
  account.function('time_of', (n) => begin + Number(n));
  const time = 'time_of(n)';
  copy(account, 'conversations', 'true', rows, {
    id: "'grown-' || n",
    created_at: time,
    updated_at: time,
    bytes: '1000',
  });
  account.close();
}

function openAccount(disk: string): DatabaseSync {
  for (const name of readdirSync(disk, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.sqlite') || name.endsWith('metadata.sqlite')) continue;
    const database = new DatabaseSync(join(disk, name));
    const found = database.prepare("select count(*) as tables from sqlite_master where name = 'ledger'").get();
    if (found?.tables === 1) return database;
    database.close();
  }
  throw new Error(`no account in ${disk}`);
}

/** Copies the first row of a table; `anew` has what differs, as an expression of `n`, which counts from 0. */
function copy(
  database: DatabaseSync,
  table: string,
  where: string,
  rows: number,
  anew: Readonly<Record<string, string>>,
): void {
  const columns = database
    .prepare('select name from pragma_table_info(?)')
    .all(table)
    .map(({ name }) => String(name));
  const missing = Object.keys(anew).filter((name) => !columns.includes(name));
  if (missing.length > 0) throw new Error(`${table} has no column ${missing.join(', ')}`);
  const before = count(database, table);
  database.exec(`
    with recursive numbers (n) as (values (0) union all select n + 1 from numbers where n + 1 < ${rows}),
      template as (select * from ${table} where ${where} order by id limit 1)
    insert into ${table} (${columns.map((name) => `"${name}"`).join(', ')})
      select ${columns.map((name) => anew[name] ?? `"${name}"`).join(', ')} from numbers, template`);
  const added = count(database, table) - before;
  if (added !== rows) throw new Error(`${added} rows were added to ${table} in place of ${rows}`);
}

function count(database: DatabaseSync, table: string): number {
  return Number(database.prepare(`select count(*) as rows from ${table}`).get()?.rows);
}

function requestId(time: number, n: number): string {
  return PREFIX + digits(Math.floor(time), TIME_DIGITS) + digits(n, RANDOM_DIGITS);
}

/** @returns a number in Crockford's base 32, with zeros before it */
function digits(value: number, length: number): string {
  let text = '';
  for (let rest = value; text.length < length; rest = Math.floor(rest / 32)) text = ALPHABET.charAt(rest % 32) + text;
  return text;
}
