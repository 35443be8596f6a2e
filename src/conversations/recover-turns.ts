import type { ConversationContext } from './conversation-context.ts';
import { CONFIRM_AGAIN_MS } from './maintenance.ts';
import { unsettledTurns } from './storage/turn-queries.ts';
import type { Turn } from './turn/turn.ts';
import { recoverTurn } from './turn/turn-recovery.ts';
import { died } from './turn-answer.ts';

/** Ends the turns that were running when the object died, and settles what is not settled. */
export function recoverTurns({ transcript, maintenance, now, waitUntil }: ConversationContext): void {
  const unsettled = unsettledTurns(transcript);
  for (const row of unsettled) {
    if (row.status !== 'running') continue;
    const turn = recoverTurn(transcript, row);
    const meter = maintenance.meterOf(turn.row);
    let settled: ReturnType<Turn['end']>;
    transcript.together(() => {
      settled = turn.end({ kind: 'cut', error: died(), end: 'cut' }, meter, now());
    });
    if (settled !== undefined) waitUntil(maintenance.confirm(turn.row, settled));
  }
  const { profile } = transcript;
  // A first turn must not continue a copy that was interrupted.
  if (profile && !profile.exists && !profile.deleted) transcript.dropUnborn();
  if (unsettled.length === 0 && !profile?.unreported) return;
  maintenance.wakeFor(now() + CONFIRM_AGAIN_MS);
  waitUntil(maintenance.settlePending());
}
