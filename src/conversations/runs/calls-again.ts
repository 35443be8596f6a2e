/** After a crash: which calls of the last step are made again, and which must not be. */

import type { Transcript } from '../storage/transcript.ts';
import { approvedCall, needsApproval } from './approval.ts';
import { HIDDEN_BY_CRASH } from './crashed-run.ts';
import { toolsAskedIn } from './next-step.ts';
import type { PlannedCall } from './planned-call.ts';
import type { ToolRun } from './runs.schema.ts';
import type { ShownRun } from './shown-run.ts';
import { failedCall, type ToolResult } from './tool-result.ts';

interface InterruptedRun {
  transcript: Transcript;
  shown: ShownRun;
  tools: ReadonlyMap<string, ToolRun>;
  now(): number;
  /** Stores and shows what is known of a call that is not made again. */
  answer(call: PlannedCall, result: ToolResult): void;
}

/**
 * Finds the calls of a step that have not come back. One that must not be made twice is answered with an error instead.
 *
 * @returns the calls to make, and whether the client's own tools were called beside them; undefined where the edge has none
 */
export function callsAgain(
  step: number,
  { transcript, shown, tools, now, answer }: InterruptedRun,
): { calls: PlannedCall[]; asksClient: boolean } | undefined {
  const rows = transcript.calls.of(step);
  if (rows.length === 0) return undefined;
  const asked = toolsAskedIn(transcript, step);
  const approvals = transcript.approvals.ofStep(step);
  const calls = rows.flatMap((row): PlannedCall[] => {
    const { turn, n, id, beganAt, endedAt, tries, subagent } = row;
    const block = asked.find((one) => one.id === id);
    if (!block || endedAt !== null) return [];
    if (shown.isOfEdge(block)) shown.expect(id);
    const decided = approvals.find(({ toolUseId }) => toolUseId === id);
    const planned = { turn, n, block, tries, subagent, idleMs: now() - (beganAt ?? now()) };
    const run = tools.get(String(block.name));
    // It waits for a person, and was not made.
    if (!decided && needsApproval(run, block.input)) return [planned];
    const call = decided ? approvedCall({ ...planned, tries: tries + 1 }, decided) : { ...planned, tries: tries + 1 };
    // A subagent that was begun is attached to.
    if (!run || 'agent' in run || !run.once) {
      transcript.calls.beginAgain(row, now());
      return [call];
    }
    answer({ ...call, tries }, failedCall(HIDDEN_BY_CRASH));
    return [];
  });
  return { calls, asksClient: asked.length > rows.length };
}
