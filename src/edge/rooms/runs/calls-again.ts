/** Finds, after a crash, which calls of the last step are made again, and which must not be made again. */

import { asText } from '../../kit/json/object.ts';
import type { ToolRun } from '../../talk/contracts/tool-kind.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { toolsAskedIn } from '../../talk/storage/turn-queries.ts';
import { HIDDEN_BY_CRASH } from '../../talk/turn/crashed-run.ts';
import { calledKindOf } from './called-kind.ts';
import { CUT_SHORT, type Following } from './following.ts';
import { type PlannedCall, pauseInUse, type TakenUpCalls } from './pauses.ts';
import type { ResumedRun } from './resumed-run.ts';
import type { ShownRun } from './shown-run.ts';
import { failedCall, type ToolResult } from './tool-result.ts';

interface InterruptedRun {
  transcript: Transcript;
  shown: ShownRun;
  tools: ReadonlyMap<string, ToolRun>;
  now(): number;
  /** Stores and shows a result for a call that is not made again. */
  answer(call: PlannedCall, result: ToolResult): void;
}

/** Shows that a run goes on after a crash. @returns what is left to do */
export function followingCrash({ open, unmade, last }: ResumedRun, run: InterruptedRun): Following {
  const { shown, now } = run;
  for (const index of open) shown.add('content_block_stop', { index });
  // The first event after the gap. A listener that resumes inside the gap begins here.
  shown.add('ping', {});
  for (const id of unmade) {
    shown.expect(id);
    shown.showResult(id, failedCall(CUT_SHORT));
  }
  shown.log.store({ at: now(), unseenMs: 0 });
  const again = last && callsAgain(last.seq, run);
  return again ? { kind: 'calls', ...again } : { kind: 'step' };
}

/**
 * Finds the calls of a step that have no result yet. A call that must not be made twice gets an error as its result.
 *
 * @returns the calls to make, and whether the step also called tools of the client; undefined if the edge has no calls to
 * make
 */
function callsAgain(step: number, { transcript, shown, tools, now, answer }: InterruptedRun): TakenUpCalls | undefined {
  const rows = transcript.calls.of(step);
  if (rows.length === 0) return undefined;
  const asked = toolsAskedIn(transcript, step);
  const approvals = transcript.approvals.ofStep(step);
  const pause = pauseInUse();
  const calls = rows.flatMap((row): PlannedCall[] => {
    const { turn, n, id, beganAt, endedAt, tries, subagent } = row;
    const block = asked.find((one) => one.id === id);
    if (!block || endedAt !== null) return [];
    if (shown.isOfEdge(block)) shown.expect(id);
    const decided = approvals.find(({ toolUseId }) => toolUseId === id);
    const planned = { turn, n, block, tries, subagent, idleMs: now() - (beganAt ?? now()) };
    const run = tools.get(asText(block.name));
    // It still waits for a person, so it was not made.
    if (!decided && pause?.holds(run, block.input)) return [planned];
    const again = { ...planned, tries: tries + 1 };
    const call = decided ? pause?.released(again, decided) : again;
    // A call of what works apart attaches to what was begun.
    if (call && (calledKindOf(run)?.apart || !run?.once)) {
      transcript.calls.beginAgain(row, now());
      return [call];
    }
    answer(planned, failedCall(HIDDEN_BY_CRASH));
    return [];
  });
  return { calls, asksClient: asked.length > rows.length };
}
