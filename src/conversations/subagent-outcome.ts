/** What a subagent has come to, as the run that called it asks its conversation. */

import type { SubagentOutcome } from '../durable/contracts/conversation.ts';
import { isObject, parseObject } from '../json/object.ts';
import type { TurnRow } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';
import { turnsOfRun } from './storage/turn-queries.ts';
import { restoreEnded } from './turn/restore-turn.ts';

/** @returns the outcome of the turn that was begun with a key; undefined where none was */
export function subagentOutcomeOf(transcript: Transcript, key: string): SubagentOutcome | undefined {
  const row = transcript.turns('key = ?', key).at(-1);
  if (!row) return undefined;
  const { status, paused = null, outcome } = row;
  const hasError = outcome !== null && (status === 'failed' || status === 'interrupted');
  return {
    status: status === 'empty' ? 'failed' : status,
    paused,
    stopReason: outcome?.stop_reason ?? null,
    text: lastTextIn(transcript),
    error: hasError ? restoreEnded(transcript, row).ended?.error : undefined,
    cost: costOfRun(transcript, row),
  };
}

/** @returns what a run has cost with its subagents; null where it runs, or a hold of it may not be settled yet */
function costOfRun(transcript: Transcript, { seq, status, cost }: TurnRow): number | null {
  if (status === 'running') return null;
  const steps = turnsOfRun(transcript, seq).slice(1);
  // What a crash has hidden the account says, with the settlement.
  if (steps.some(({ settled, grant }) => !settled && !Number.isFinite(grant?.hold))) return null;
  const shares = steps.flatMap((step) => transcript.calls.of(step.seq).map(({ subagent }) => subagent?.cost ?? 0));
  // Steps that have failed may be deleted; the run's row has them.
  return Math.max(
    cost,
    [...steps.map((step) => step.cost), ...shares].reduce((sum, one) => sum + one, 0),
  );
}

function lastTextIn(transcript: Transcript): string {
  for (const { role, text } of transcript.texts({ backwards: true })) {
    if (role !== 'assistant') continue;
    const { content } = parseObject(text) ?? {};
    if (typeof content === 'string') return content;
    if (!Array.isArray(content)) return '';
    return content
      .filter(isObject)
      .flatMap(({ type, text: said }) => (type === 'text' && typeof said === 'string' ? [said] : []))
      .join('');
  }
  return '';
}
