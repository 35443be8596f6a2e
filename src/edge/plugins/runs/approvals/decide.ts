/** Shows the tool calls that wait for approval in a conversation, and stores what people decide about them. */

import type { TurnRow } from '../../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../../conversations/history/storage/transcript.ts';
import { findTurnById, findTurnByNumber } from '../../../conversations/history/storage/turn-queries.ts';
import type { ApprovalDecisionRequest, ApprovalDecisionResult } from '../../../conversations/object/contract.ts';
import type { approvalRow } from '../../../conversations/object/conversations-answers.schema.ts';
import { describeTurn, readToolInputs } from '../../../conversations/object/turn-report.ts';
import {
  ApiError,
  createInvalidRequestError,
  createNonRetryableError,
  createNotFoundError,
  DO_NOT_RETRY,
} from '../../../kit/http/errors.ts';
import { createListResponse } from '../../../kit/http/page.ts';
import type * as z from '../../../kit/http/zod.ts';
import { stringifyWithRememberedTexts } from '../../../kit/json/remembered-text.ts';
import { getApprovalRows, getCallRows } from '../run-rows.ts';
import type { ApprovalRow } from './approval-rows.ts';
import { toDecisionFields } from './describe-decision.ts';

export type ApprovalAnswer = z.output<typeof approvalRow>;

/** The most characters of all inputs that people change in one run: all of them are in memory when the run continues. */
const MOST_INPUTS_CHARACTERS = 1_048_576;

/** @returns the calls without a decision, in their order, as a JSON list */
export function describeOpenApprovals(transcript: Transcript): string {
  const rows = transcript.storedProfile ? getApprovalRows(transcript).listOpenApprovals() : [];
  return stringifyWithRememberedTexts(createListResponse(describeApprovals(transcript, rows), false, ({ id }) => id));
}

/** Describes calls that wait for approval, or have waited. Each answer that made such calls is read only once. */
export function describeApprovals(transcript: Transcript, rows: readonly ApprovalRow[]): ApprovalAnswer[] {
  const inputs = new Map(
    [...new Set(rows.map(({ turn }) => turn))].map((turn) => [turn, readToolInputs(transcript, turn)]),
  );
  return rows.map((row) => describeApproval(transcript, row, inputs.get(row.turn)));
}

function describeApproval(
  transcript: Transcript,
  row: ApprovalRow,
  inputs = readToolInputs(transcript, row.turn),
): ApprovalAnswer {
  const { id, toolUseId, name, approvers, createdAt, continuedBy } = row;
  const input = inputs.get(toolUseId) ?? null;
  return {
    type: 'approval',
    id,
    tool_use_id: toolUseId,
    name,
    input,
    input_text: input === null ? null : stringifyWithRememberedTexts(input),
    turn: findTurnByNumber(transcript, row.run)?.id ?? '',
    approvers,
    created_at: new Date(createdAt).toISOString(),
    ...toDecisionFields(row),
    continued_by: continuedBy === null ? null : (findTurnByNumber(transcript, continuedBy)?.id ?? null),
  };
}

/**
 * Creates the response to a decision: the turn that continues, or the call itself while other calls have no decision.
 *
 * @param hides whether the caller may not see tools. The call itself is in the list of approvals
 */
export function createDecisionAnswer(
  transcript: Transcript,
  id: string,
  goesOn: boolean,
  hides: boolean,
): ApprovalDecisionResult {
  const row = getApprovalRows(transcript).findApproval(id);
  if (!row) throw createNotFoundError('This approval no longer exists. GET …/approvals lists the waiting calls.');
  const next = row.continuedBy === null ? undefined : findTurnByNumber(transcript, row.continuedBy);
  // Return only the approval to a caller that may not see tool inputs: the description of a turn contains fields that this
  // caller must not read.
  const body = next && !hides ? describeTurn(transcript, next) : describeApproval(transcript, row);
  const turn = next?.id ?? findTurnByNumber(transcript, row.run)?.id ?? '';
  const hideToolInputs = (name: string, value: unknown) => (/^(changed_)?input(_text)?$/.test(name) ? null : value);
  return {
    status: goesOn ? 202 : 200,
    turn,
    body: hides ? JSON.stringify(body, hideToolInputs) : stringifyWithRememberedTexts(body),
  };
}

/**
 * Stores a decision. Call it in one transaction with the consequences of the decision.
 *
 * @returns the run that continues with the calls of its `step`, if this was its last open call
 * @throws ApiError 404 for an unknown approval, 403 for a caller that may not decide, 409 if there was a different decision
 */
export function storeApprovalDecision(
  transcript: Transcript,
  { id, decision, reason: why, input, isAdmin }: ApprovalDecisionRequest,
  now: number,
): { paused: TurnRow; step: number } | undefined {
  const row = transcript.storedProfile && getApprovalRows(transcript).findApproval(id);
  if (!row)
    throw createNotFoundError(
      `No call waits for the approval ${JSON.stringify(id).slice(0, 300)}. GET …/approvals lists the waiting calls.`,
    );
  if (row.approvers === 'admin' && !isAdmin) {
    throw createNonRetryableError(
      'permission_error',
      'Only an admin can decide on the calls of this agent. Ask an admin.',
    );
  }
  const reason = why ?? null;
  const changed = input ?? null;
  if (row.decision !== null) {
    const isSame = row.decision === decision && row.reason === reason && row.input === changed;
    if (isSame) return undefined;
    const was = { approve: 'approved', deny: 'denied', cancel: 'cancelled' }[row.decision];
    throw createNonRetryableError(
      'conflict_error',
      `This call was already ${was}, which cannot be changed. Read the decision with GET …/turns/:turn.`,
    );
  }
  if (
    changed !== null &&
    changed.length + getApprovalRows(transcript).countChangedInputCharacters(row.run) > MOST_INPUTS_CHARACTERS
  ) {
    throw createInvalidRequestError(
      `input: the changed inputs of this run would have more than ${MOST_INPUTS_CHARACTERS} characters in total. Approve the call unchanged, or deny it.`,
    );
  }
  getApprovalRows(transcript).storeDecision(id, { decision, reason, input: changed, decidedAt: now });
  const paused = findTurnByNumber(transcript, row.run);
  return getApprovalRows(transcript).hasUndecidedCall(row.run) || !paused ? undefined : { paused, step: row.turn };
}

/** Cancels a turn that waits for approval. Its open calls are not made, and the conversation is free for a new turn. */
export function cancelPausedTurn(transcript: Transcript, id: string, now: number): void {
  const turn = transcript.storedProfile && findTurnById(transcript, id);
  const open = turn
    ? getApprovalRows(transcript)
        .listApprovalsOfRun(turn.seq)
        .filter(({ continuedBy }) => continuedBy === null)
    : [];
  if (!turn || !open.some(({ decision }) => decision === null)) return;
  transcript.runInTransaction(() => {
    for (const { id, toolUseId: tool_use_id, name, turn: step, n } of open) {
      getApprovalRows(transcript).storeDecision(id, { decision: 'cancel', reason: null, input: null, decidedAt: now });
      const content = 'This call was not made: its turn was cancelled while it waited for approval.';
      const result = JSON.stringify({ type: 'tool_result', tool_use_id, content, is_error: true });
      const times = { beganAt: now, endedAt: now };
      getCallRows(transcript).storeEndedCall({
        turn: step,
        n,
        id: tool_use_id,
        name,
        ...times,
        isError: true,
        bytes: 0,
        event: null,
        tries: 0,
        result,
      });
    }
    getCallRows(transcript).deleteRunRequest(turn.seq);
    getCallRows(transcript).deletePause(turn.seq);
    transcript.updateTurn(turn, { status: 'stopped' });
  });
}

/**
 * @returns the refusal of a turn while its conversation waits for approval; undefined while it waits for none. It is 423, not 409:
 *   some clients retry every 409 by its status alone
 */
export function findPendingApprovalError(transcript: Transcript): ApiError | undefined {
  const [first] = transcript.storedProfile ? getApprovalRows(transcript).listOpenApprovals() : [];
  if (!first) return undefined;
  const id = transcript.storedProfile?.id ?? '';
  const turn = findTurnByNumber(transcript, first.run)?.id ?? '';
  const location = `/conversations/${id}/approvals`;
  const message = `This conversation waits for an approval. List the waiting calls with GET ${location}, and decide them.`;
  const headers = { ...DO_NOT_RETRY, 'sluice-paused': 'approval', 'sluice-turn': turn, location };
  return new ApiError('conflict_error', message, { status: 423, headers });
}
