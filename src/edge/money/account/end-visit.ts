import { MINUTE_MS } from '../../kit/async/durations.ts';
import type { AccountState } from './account-state.ts';
import { countOthers, eraseElsewhere } from './erasure.ts';

const GO_ON_MS = 1_000;

/**
 * Ends the account of a visitor who cannot come back: first its conversations and files, then its leases.
 *
 * @returns whether nothing is left of it anywhere else, so that its own rows can be deleted. The alarm goes on otherwise
 */
export async function endVisit(state: AccountState): Promise<boolean> {
  const { visit, alarm, budget, belongings, shared } = state;
  const endsAt = visit.endsAt();
  if (endsAt === undefined) return false;
  const now = state.advance();
  if (now < endsAt) return false;
  if (budget.holds.size > 0) {
    alarm.wakeFor(now + MINUTE_MS);
    return false;
  }
  belongings.erase(now);
  await eraseElsewhere(state, now);
  if (countOthers(state, now) === 0 && !(await shared?.leave())) return budget.holds.size === 0;
  alarm.wakeFor(now + GO_ON_MS, 1);
  return false;
}
