/** What a subagent has come to, as the run that called it asks its conversation. */

import type { SubagentOutcome } from '../durable/contracts/conversation.ts';
import type { Nanodollars } from '../pricing/cost.ts';
import { callsTakenUp } from './runs/owed-calls.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { turnsOfRun } from './storage/turn-queries.ts';
import { outcomeOfTurn, turnsGoingOn } from './turn-outcome.ts';

/**
 * @returns the outcome of the turn that was begun with a key, and of those that went on with it; one that goes on now is
 * told as it was before: waiting for approval. Undefined where none was begun
 */
export function subagentOutcomeOf(transcript: Transcript, key: string): SubagentOutcome | undefined {
  const outcome = outcomeOfTurn(transcript, key);
  if (!outcome) return undefined;
  const turns = turnsGoingOn(transcript, key);
  const costs = turns.map((row) => costOfRun(transcript, row));
  const cost = costs.reduce((sum, one) => (sum === null || one === null ? null : sum + one), 0);
  // Nobody waits for its end any more: what it may spend is still to be counted.
  if (turns.length > 1 && outcome.status === 'running')
    return { ...outcome, cost, status: 'complete', paused: 'approval' };
  return { ...outcome, cost };
}

/** @returns what a run has cost with its subagents; null where it runs, or a hold of it may not be settled yet */
function costOfRun(transcript: Transcript, { seq, status, cost }: TurnRow): Nanodollars | null {
  if (status === 'running') return null;
  const steps = turnsOfRun(transcript, seq).slice(1);
  // What a crash has hidden the account says, with the settlement.
  if (steps.some(({ settled, grant }) => !settled && !Number.isFinite(grant?.hold))) return null;
  // A call that has waited for approval is one of the run that has made it.
  const waited = new Set(transcript.approvals.ofRun(seq).map(({ toolUseId }) => toolUseId));
  const own = steps.flatMap((step) => transcript.calls.of(step.seq)).filter(({ id }) => !waited.has(id));
  const shares = [...own, ...callsTakenUp(transcript, seq)].map(({ subagent }) => subagent?.cost ?? 0);
  const known = [...steps.map((step) => step.cost), ...shares].reduce((sum, one) => sum + one, 0);
  // Steps that have failed may be deleted; the run's row has them.
  return Math.max(cost, known);
}
