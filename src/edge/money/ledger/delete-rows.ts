import type { Ledger } from './ledger.ts';

/** The most rows that are deleted at once, because an object does nothing else meanwhile. */
export const DELETED_AT_ONCE = 5_000;

/** Deletes settled rows admitted before `time`, after adding them to the rollups. @returns how many rows were written */
export function deleteRowsBefore(ledger: Ledger, time: number): number {
  ledger.foldBefore(time);
  return ledger.write(
    `delete from ledger where id in (select id from ledger order by id limit ${DELETED_AT_ONCE}) and at < ? and status != 'held'`,
    time,
  );
}

/**
 * Deletes settled rows admitted until `time`.
 *
 * @returns how many rows were deleted, and how many are left
 */
export function eraseRowsUntil(ledger: Ledger, time: number): { erased: number; remaining: number } {
  const found = ledger.number('select count(*) from ledger where at <= ?', time);
  const erased = ledger.write(
    `delete from ledger where id in (select id from ledger where at <= ? and status != 'held' limit ${DELETED_AT_ONCE})`,
    time,
  );
  return { erased, remaining: Math.max(0, found - erased) };
}
