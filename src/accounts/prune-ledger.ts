import { DAY_MS } from '../async/durations.ts';
import type { AccountState } from './account-state.ts';
import { DELETED_AT_ONCE, deleteRowsBefore, oldestRowAt } from './ledger/delete-rows.ts';

const NEXT_PAGE_MS = 1_000;
/**
 * For how long rows may stay after their time. However few are deleted, it takes a wake, a fold and an alarm: so those of a
 * day go together. Milliseconds.
 */
const LATE_MS = DAY_MS;

/**
 * Deletes rows of the ledger that are older than `retention` milliseconds, about once a day and a page at a time, and sets
 * the alarm for the next ones. Their cost stays in the rollups.
 */
export function pruneLedger({ ledger, alarm }: AccountState, now: number, retention: number): void {
  const oldest = oldestRowAt(ledger);
  if (oldest === undefined) return;
  const dueAt = oldest + retention + LATE_MS;
  if (dueAt > now) {
    alarm.wakeFor(dueAt);
    return;
  }
  const deleted = deleteRowsBefore(ledger, now - retention);
  alarm.wakeFor(now + (deleted < DELETED_AT_ONCE ? LATE_MS : NEXT_PAGE_MS));
}
