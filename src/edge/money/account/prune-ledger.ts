import { HOUR_MS } from '../../kit/async/durations.ts';
import { DELETED_AT_ONCE, deleteRowsBefore } from '../ledger/delete-rows.ts';
import type { AccountState } from './account-state.ts';

const NEXT_PAGE_MS = 1_000;

/**
 * Deletes rows of the ledger that are older than `retention` milliseconds, a page at a time, and sets the alarm for the next
 * ones. Their cost stays in the rollups.
 */
export function pruneLedger({ ledger, alarm }: AccountState, now: number, retention: number): void {
  const oldest = ledger.figure('select at from ledger order by id limit 1');
  if (oldest === undefined) return;
  if (oldest >= now - retention) {
    alarm.wakeFor(Math.max(oldest + retention, now + HOUR_MS));
    return;
  }
  const deleted = deleteRowsBefore(ledger, now - retention);
  alarm.wakeFor(now + (deleted < DELETED_AT_ONCE ? HOUR_MS : NEXT_PAGE_MS));
}
