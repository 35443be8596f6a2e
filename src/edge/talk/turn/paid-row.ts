/** What the rows of turns and of summaries say alike of a paid call, and what is done with it. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { numberOfTry, tryId } from '../../money/admission/admission.ts';
import { type StoredGrant, UNKNOWN_GRANT } from '../../money/admission/book-outcome.ts';
import type { Profile, TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { laterVersion } from './turn-ending.ts';

/**
 * Makes the grant of the next try before its account is asked for it. From then on the account may have placed a hold: if the
 * object dies, it is settled by this name.
 */
export function grantOfNextTry(
  { grant, requestId }: Pick<TurnRow, 'grant' | 'requestId'>,
  known: Pick<StoredGrant, 'earlier' | 'startedAt'>,
): StoredGrant & { requestId: string } {
  const before = grant?.requestId ?? requestId;
  return { ...UNKNOWN_GRANT, requestId: tryId(before, numberOfTry(before) + 1), ...known };
}

/**
 * Adds to what a conversation has cost. A report with the earlier cost may still be on its way: it must not replace a later one.
 *
 * @param more what else changes
 */
export function addCost(transcript: Transcript, cost: Nanodollars, now: number, more: Partial<Profile> = {}): void {
  const { profile } = transcript;
  if (profile) transcript.save({ ...profile, ...more, version: laterVersion(profile, now), cost: profile.cost + cost });
}
