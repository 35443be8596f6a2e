/** Calls that wait for approval: a run that pauses requests them, and the run that goes on takes them up. */

import type { TurnRow } from '../../../conversations/history/storage/rows.ts';
import { toolsAskedIn } from '../../../conversations/history/storage/turn-queries.ts';
import type { approvalRequested } from '../../../conversations/object/conversations-answers.schema.ts';
import type * as z from '../../../kit/http/zod.ts';
import { isAmbiguous, parseKept } from '../../../kit/json/kept-text.ts';
import { asText, isObject, type Json, parseObject } from '../../../kit/json/object.ts';
import type { ToolRun } from '../../../registry/tools/tool-kind.ts';
import type { PausingRun, PlannedCall, TakenUpCalls, TakingRun } from '../pauses.ts';
import { approvalsIn, callRowsIn } from '../run-rows.ts';
import { failedCall, type ToolResult } from '../tool-result.ts';
import type { ApprovalRow } from './approval-rows.ts';
import { describeApprovals } from './decide.ts';

/** @returns whether a call needs an approval. It also does if the number that decides is missing or is not a number. */
export function needsApproval(run: ToolRun | undefined, input: unknown): boolean {
  const approval = run && 'approval' in run ? run.approval : undefined;
  if (approval === undefined) return false;
  if (approval === 'always') return true;
  const { field, above } = approval.over;
  const value = isObject(input) && Object.hasOwn(input, field) ? input[field] : undefined;
  return typeof value !== 'number' || value > above || isAmbiguous(Object(input), field);
}

/** @returns a call as it was approved: with the approver's input, if the approver has changed it */
export function approvedCall(call: PlannedCall, { input }: Pick<ApprovalRow, 'input'>): PlannedCall {
  if (input === null) return { ...call, isApproved: true };
  const block: Json = { ...call.block, input: parseKept(input) };
  const note = `[The person who approved this call has changed its input. It was called with ${input}.]`;
  return { ...call, block, isApproved: true, note };
}

/** @returns the result that tells the model that a call was not approved */
function deniedCall({ reason }: Pick<ApprovalRow, 'reason'>): ToolResult {
  return failedCall(
    reason === null
      ? 'This call was denied by the person who was asked. It was not made.'
      : `This call was denied by the person who was asked, and not made. The reason: ${reason}`,
  );
}

/** Headers that are stored while a run waits for approval, perhaps for days. Others may contain secrets of the caller. */
const KEPT_HEADER = /^(anthropic-.*|content-type|accept|accept-encoding|user-agent|sluice-simulate)$/;

function withoutOwnHeaders(request: unknown): unknown {
  if (!isObject(request) || !isObject(request.headers)) return request;
  const headers = Object.entries(request.headers).filter(([name]) => KEPT_HEADER.test(name));
  return { ...request, headers: Object.fromEntries(headers) };
}

/** Stores that calls of a run wait for approval, and the event that tells of it. Call it in the step in which the run pauses. */
export function requestApprovals(
  calls: readonly PlannedCall[],
  { transcript, row, approvers, now, tell }: PausingRun,
): void {
  for (const { turn, n, block } of calls) {
    const place = `${row.id.replace(/^turn_/, '')}_${turn}_${n}`;
    const call = { run: row.seq, turn, n, toolUseId: asText(block.id), name: asText(block.name) };
    approvalsIn(transcript).add({ id: `appr_${place}`, ...call, approvers, createdAt: now() });
  }
  const { request, ...stored } = parseObject(callRowsIn(transcript).requestOf(row.seq)) ?? {};
  callRowsIn(transcript).deleteRequest(row.seq);
  callRowsIn(transcript).saveRequest(row.seq, JSON.stringify({ ...stored, request: withoutOwnHeaders(request) }));
  const approvals = describeApprovals(transcript, approvalsIn(transcript).ofRun(row.seq));
  const members: Pick<z.output<typeof approvalRequested>, 'turn' | 'approvals'> = { turn: row.id, approvals };
  const withoutInputs = () => {
    for (const one of approvals) Object.assign(one, { input: null, input_text: null });
  };
  tell({ type: 'approval.requested', mark: '_approval', shorter: [withoutInputs] }, members);
}

/**
 * Shows the decided calls again, under the same ids, because a client accepts results only for calls in the same message.
 * Denied calls get their results at once.
 *
 * @param step the number of the step that has called them
 */
export function takeUpCalls(step: number, { transcript, shown, row, now, answer }: TakingRun): TakenUpCalls {
  const tools = toolsAskedIn(transcript, step);
  const decided = approvalsIn(transcript)
    .ofStep(step)
    .flatMap((approval) => {
      const block = tools.find(({ id }) => id === approval.toolUseId);
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
  return { calls, asksClient: tools.length > callRowsIn(transcript).of(step).length };
}

function emptyMessage({ id, model }: TurnRow): Json {
  return {
    ...{ id: `msg_${id}`, type: 'message', role: 'assistant', model, content: [] },
    ...{ stop_reason: null, stop_sequence: null, usage: { input_tokens: 0, output_tokens: 0 } },
  };
}
