/** What a subagent has come to, as the run that called it asks its conversation. */

import type { SubagentOutcome } from '../durable/contracts/conversation.ts';
import type { Nanodollars } from '../pricing/cost.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { turnsOfRun } from './storage/turn-queries.ts';
import { outcomeOfTurn } from './turn-outcome.ts';

/** @returns the outcome of the turn that was begun with a key; undefined where none was */
export function subagentOutcomeOf(transcript: Transcript, key: string): SubagentOutcome | undefined {
  const row = transcript.turns('key = ?', key).at(-1);
  const outcome = row && outcomeOfTurn(transcript, key);
  return outcome && { ...outcome, cost: costOfRun(transcript, row) };
}

/** @returns what a run has cost with its subagents; null where it runs, or a hold of it may not be settled yet */
function costOfRun(transcript: Transcript, { seq, status, cost }: TurnRow): Nanodollars | null {
  if (status === 'running') return null;
  const steps = turnsOfRun(transcript, seq).slice(1);
  // What a crash has hidden the account says, with the settlement.
  if (steps.some(({ settled, grant }) => !settled && !Number.isFinite(grant?.hold))) return null;
  const shares = steps.flatMap((step) => transcript.calls.of(step.seq).map(({ subagent }) => subagent?.cost ?? 0));
  const known = [...steps.map((step) => step.cost), ...shares].reduce((sum, one) => sum + one, 0);
  // Steps that have failed may be deleted; the run's row has them.
  return Math.max(cost, known);
}
