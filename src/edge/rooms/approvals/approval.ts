/** Decides which calls a person must approve, and makes the calls and results that follow from an approval. */

import { isAmbiguous, parseKept } from '../../kit/json/kept-text.ts';
import { isObject, type Json } from '../../kit/json/object.ts';
import type { ToolRun } from '../../talk/contracts/tool-kind.ts';
import type { ApprovalRow } from '../../talk/storage/approval-rows.ts';
import type { PlannedCall } from '../runs/pauses.ts';
import { failedCall, type ToolResult } from '../runs/tool-result.ts';

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
export function deniedCall({ reason }: Pick<ApprovalRow, 'reason'>): ToolResult {
  return failedCall(
    reason === null
      ? 'This call was denied by the person who was asked. It was not made.'
      : `This call was denied by the person who was asked, and not made. The reason: ${reason}`,
  );
}
