/** Reads the outcome and the cost of a subagent for the run that has called it. */

import type { Nanodollars } from '../../../claude/pricing/cost.ts';
import type { TurnRow } from '../../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../../conversations/history/storage/transcript.ts';
import { listTurnsOfRun } from '../../../conversations/history/storage/turn-queries.ts';
import type { TurnOutcome } from '../../../conversations/object/contract.ts';
import { findTurnOutcome, listTurnWithContinuations } from '../../../conversations/object/turn-report.ts';
import { getApprovalRows, getCallRows, listContinuedCalls } from '../run-rows.ts';

export interface SubagentOutcome extends TurnOutcome {
  /** Nanodollars, including its own subagents; null while it runs, or until the account has confirmed the cost. */
  cost: Nanodollars | null;
}

/**
 * @returns the outcome of the turn with an idempotency key, including the turns that continued it; undefined if no turn was
 *   begun. A turn that is being continued is reported as still waiting for approval.
 */
export function readSubagentOutcome(transcript: Transcript, key: string): SubagentOutcome | undefined {
  const outcome = findTurnOutcome(transcript, key);
  if (!outcome) return undefined;
  const turns = listTurnWithContinuations(transcript, key);
  const costs = turns.map((row) => computeRunCost(transcript, row));
  const cost = costs.reduce((sum, one) => (sum === null || one === null ? null : sum + one), 0);
  // The subagent has continued after an approval, and the calling run does not wait for its end. Report it as paused, so that
  // the calling run keeps counting the subagent's whole share.
  if (turns.length > 1 && outcome.status === 'running')
    return { ...outcome, cost, status: 'complete', paused: 'approval' };
  return { ...outcome, cost };
}

/** @returns the cost of a run with its subagents; null while it runs, or while a hold of it may not be settled yet */
function computeRunCost(transcript: Transcript, { seq, status, cost }: TurnRow): Nanodollars | null {
  if (status === 'running') return null;
  const steps = listTurnsOfRun(transcript, seq).slice(1);
  // Such a step was interrupted by a crash, so only the account knows its cost. The cost is stored here once the account has
  // confirmed the settlement.
  if (steps.some(({ settled, grant }) => !settled && !Number.isFinite(grant?.hold))) return null;
  // Leave out calls that waited for approval: their cost belongs to the run that made them after the approval.
  const waited = new Set(
    getApprovalRows(transcript)
      .listApprovalsOfRun(seq)
      .map(({ toolUseId }) => toolUseId),
  );
  const own = steps
    .flatMap((step) => getCallRows(transcript).listCallsOfStep(step.seq))
    .filter(({ id }) => !waited.has(id));
  const shares = [...own, ...listContinuedCalls(transcript, seq)].map(({ subagent }) => subagent?.cost ?? 0);
  const total = [...steps.map((step) => step.cost), ...shares].reduce((sum, one) => sum + one, 0);
  // Rows of failed steps may be deleted, so their cost is missing from the total. The run's own row includes it.
  return Math.max(cost, total);
}
