/** Calls that wait for approval: a run that pauses requests the approvals, and the run that continues makes the calls. */

import type { TurnRow } from '../../../conversations/history/storage/rows.ts';
import { listToolCallsOfStep } from '../../../conversations/history/storage/turn-queries.ts';
import type { approvalRequested } from '../../../conversations/object/conversations-answers.schema.ts';
import type * as z from '../../../kit/http/zod.ts';
import { isObject, type JsonObject, parseJsonObject, toJsonText } from '../../../kit/json/object.ts';
import { isInputNumberAmbiguous, parseJsonRememberingText } from '../../../kit/json/remembered-text.ts';
import type { ToolRunConfig } from '../../../registry/tools/tool-kind.ts';
import type { CallsToMake, PlannedCall, RunContinuingAfterPause, RunPausingForApproval } from '../pauses.ts';
import { getApprovalRows, getCallRows } from '../run-rows.ts';
import { createFailedResult, type ToolResult } from '../tool-result.ts';
import type { ApprovalRow } from './approval-rows.ts';
import { describeApprovals } from './decide.ts';

/** @returns whether a call needs an approval. It also does if the number that decides is missing or is not a number. */
export function doesCallNeedApproval(run: ToolRunConfig | undefined, input: unknown): boolean {
  const approval = run && 'approval' in run ? run.approval : undefined;
  if (approval === undefined) return false;
  if (approval === 'always') return true;
  const { field, above } = approval.over;
  const value = isObject(input) && Object.hasOwn(input, field) ? input[field] : undefined;
  return typeof value !== 'number' || value > above || isInputNumberAmbiguous(Object(input), field);
}

/** @returns a call as it was approved: with the approver's input, if the approver has changed it */
export function toApprovedCall(call: PlannedCall, { input }: Pick<ApprovalRow, 'input'>): PlannedCall {
  if (input === null) return { ...call, isApproved: true };
  const block: JsonObject = { ...call.block, input: parseJsonRememberingText(input) };
  const note = `[The person who approved this call has changed its input. It was called with ${input}.]`;
  return { ...call, block, isApproved: true, note };
}

/** @returns the result for the model of a call that was not approved */
function toDeniedResult({ reason }: Pick<ApprovalRow, 'reason'>): ToolResult {
  return createFailedResult(
    reason === null
      ? 'This call was denied by the person who was asked. It was not made.'
      : `This call was denied by the person who was asked, and not made. The reason: ${reason}`,
  );
}

/** Headers that are stored while a run waits for approval, perhaps for days. Others may contain secrets of the caller. */
const KEPT_HEADER = /^(anthropic-.*|content-type|accept|accept-encoding|user-agent|sluice-simulate)$/;

/** Removes from a stored request the caller's secrets, and from where the caller sent it. */
function removePrivateData(request: unknown): unknown {
  if (!isObject(request) || !isObject(request.headers)) return request;
  const headers = Object.entries(request.headers).filter(([name]) => KEPT_HEADER.test(name));
  const { location: _, ...caller } = isObject(request.caller) ? request.caller : {};
  return { ...request, caller, headers: Object.fromEntries(headers) };
}

/** Stores that calls of a run wait for approval, and the event about it. Call it in the step in which the run pauses. */
export function storePendingApprovals(
  calls: readonly PlannedCall[],
  { transcript, row, approvers, now, storeEvent: tell }: RunPausingForApproval,
): void {
  for (const { turn, n, block } of calls) {
    const place = `${row.id.replace(/^turn_/, '')}_${turn}_${n}`;
    const call = { run: row.seq, turn, n, toolUseId: toJsonText(block.id), name: toJsonText(block.name) };
    getApprovalRows(transcript).insertApproval({ id: `appr_${place}`, ...call, approvers, createdAt: now() });
  }
  const { request, ...stored } = parseJsonObject(getCallRows(transcript).readRunRequest(row.seq)) ?? {};
  getCallRows(transcript).deleteRunRequest(row.seq);
  getCallRows(transcript).storeRunRequest(row.seq, JSON.stringify({ ...stored, request: removePrivateData(request) }));
  const approvals = describeApprovals(transcript, getApprovalRows(transcript).listApprovalsOfRun(row.seq));
  const members: Pick<z.output<typeof approvalRequested>, 'turn' | 'approvals'> = { turn: row.id, approvals };
  const removeInputs = () => {
    for (const one of approvals) Object.assign(one, { input: null, input_text: null });
  };
  tell({ type: 'approval.requested', mark: '_approval', shorter: [removeInputs] }, members);
}

/**
 * Shows the decided calls again, under the same ids, because a client accepts results only for calls in the same message.
 * Denied calls get their results at once.
 *
 * @param step the number of the step that has called them
 */
export function showDecidedCalls(
  step: number,
  { transcript, shown, row, now, storeAndShowResult: answer }: RunContinuingAfterPause,
): CallsToMake {
  const tools = listToolCallsOfStep(transcript, step);
  const decided = getApprovalRows(transcript)
    .listApprovalsOfStep(step)
    .flatMap((approval) => {
      const block = tools.find(({ id }) => id === approval.toolUseId);
      return block ? [{ approval, call: { turn: step, n: approval.n, block, tries: 1 } }] : [];
    });
  shown.markMessageStarted();
  shown.addEvent('message_start', { message: createEmptyMessage(row) });
  for (const { call } of decided) shown.showToolCall(call.block);
  const calls: PlannedCall[] = [];
  for (const { approval, call } of decided) {
    if (approval.decision === 'approve') calls.push(toApprovedCall(call, approval));
    else answer(call, toDeniedResult(approval));
  }
  shown.log.store({ at: now(), unseenMs: 0 });
  return { calls, asksClient: tools.length > getCallRows(transcript).listCallsOfStep(step).length };
}

function createEmptyMessage({ id, model }: TurnRow): JsonObject {
  return {
    id: `msg_${id}`,
    type: 'message',
    role: 'assistant',
    model,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { input_tokens: 0, output_tokens: 0 },
  };
}
