/** Calls that wait for approval: a run that pauses requests them, and the run that goes on takes them up. */

import { writeJson } from '../../kit/json/kept-text.ts';
import { asText, isObject, type Json, parseObject } from '../../kit/json/object.ts';
import type { TurnRow } from '../../talk/storage/rows.ts';
import type { Transcript } from '../../talk/storage/transcript.ts';
import { approvedCall, deniedCall } from '../approvals/approval.ts';
import type { Approvers } from '../approvals/approval-rows.ts';
import type { CallRow } from './call-rows.ts';
import type { RunTurn } from './end-run.ts';
import { toolsAskedIn } from './next-step.ts';
import type { PlannedCall } from './planned-call.ts';
import type { ShownRun } from './shown-run.ts';
import type { ToolResult } from './tool-result.ts';

/** @returns the calls that a run has taken up from the paused run. Their rows belong to a step of the paused run. */
export function callsTakenUp(transcript: Transcript, run: number): CallRow[] {
  return transcript.approvals
    .takenUpBy(run)
    .flatMap(({ turn, n }) => transcript.calls.of(turn).filter((call) => call.n === n));
}

interface ContinuedRun {
  transcript: Transcript;
  shown: ShownRun;
  /** The row of the run that goes on. */
  row: TurnRow;
  now(): number;
  /** Stores and shows a result for a call that is not made. */
  answer(call: PlannedCall, result: ToolResult): void;
}

/** Headers that are stored while a run waits for approval, perhaps for days. Others may contain secrets of the caller. */
const KEPT_HEADER = /^(anthropic-.*|content-type|accept|accept-encoding|user-agent|sluice-simulate)$/;

function withoutOwnHeaders(request: unknown): unknown {
  if (!isObject(request) || !isObject(request.headers)) return request;
  const headers = Object.entries(request.headers).filter(([name]) => KEPT_HEADER.test(name));
  return { ...request, headers: Object.fromEntries(headers) };
}

/** Stores that calls of a run wait for approval. */
export function requestApprovals(
  calls: readonly PlannedCall[],
  { transcript, row, approvers, now }: Pick<ContinuedRun, 'transcript' | 'row' | 'now'> & { approvers: Approvers },
): void {
  for (const { turn, n, block } of calls) {
    const place = `${row.id.replace(/^turn_/, '')}_${turn}_${n}`;
    const call = { run: row.seq, turn, n, toolUseId: asText(block.id), name: asText(block.name) };
    transcript.approvals.add({ id: `appr_${place}`, ...call, approvers, createdAt: now() });
  }
  const { request, ...stored } = parseObject(transcript.calls.requestOf(row.seq)) ?? {};
  transcript.calls.deleteRequest(row.seq);
  transcript.calls.saveRequest(row.seq, JSON.stringify({ ...stored, request: withoutOwnHeaders(request) }));
}

/**
 * Shows the decided calls again, under the same ids, because a client accepts results only for calls in the same message.
 * Denied calls get their results at once.
 *
 * @param step the number of the step that has called them
 * @returns the calls to make, and whether the step also called tools of the client
 */
export function takeUpCalls(
  step: number,
  { transcript, shown, row, now, answer }: ContinuedRun,
): { calls: PlannedCall[]; asksClient: boolean } {
  const asked = toolsAskedIn(transcript, step);
  const decided = transcript.approvals.ofStep(step).flatMap((approval) => {
    const block = asked.find(({ id }) => id === approval.toolUseId);
    return block ? [{ approval, call: { turn: step, n: approval.n, block, tries: 1 } }] : [];
  });
  shown.begins();
  shown.add('message_start', { message: emptyMessage(row) });
  for (const { call } of decided) shown.showCall(call.block);
  const calls: PlannedCall[] = [];
  for (const { approval, call } of decided) {
    if (approval.decision === 'approve') calls.push(approvedCall(call, approval));
    else answer(call, deniedCall(approval));
  }
  shown.log.store({ at: now(), unseenMs: 0 });
  return { calls, asksClient: asked.length > transcript.calls.of(step).length };
}

/**
 * Shows the open calls of the client's tools from the paused run, because a client that follows only this run must answer
 * them.
 */
export function showClientCalls(turn: RunTurn, transcript: Transcript, shown: ShownRun): void {
  if (turn.continues === undefined || turn.isCommitted) return;
  for (const block of toolsAskedIn(transcript, turn.continues)) {
    if (shown.isOfEdge(block)) continue;
    const index = shown.takeIndex();
    shown.add('content_block_start', { index, content_block: { ...block, input: {} } });
    const delta = { type: 'input_json_delta', partial_json: writeJson(block.input) };
    shown.add('content_block_delta', { index, delta });
    shown.add('content_block_stop', { index });
  }
}

function emptyMessage({ id, model }: TurnRow): Json {
  return {
    ...{ id: `msg_${id}`, type: 'message', role: 'assistant', model, content: [] },
    ...{ stop_reason: null, stop_sequence: null, usage: { input_tokens: 0, output_tokens: 0 } },
  };
}
