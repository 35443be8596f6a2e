/** Approvals in a conversation's object: lists calls, takes decisions, and continues a run after the last decision. */

import type { RestrictedCaller } from '../../../auth/identity/caller.ts';
import { shouldHideToolContents } from '../../../auth/identity/only.ts';
import type { TurnRow } from '../../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../../conversations/history/storage/transcript.ts';
import { listTurnsOfRun } from '../../../conversations/history/storage/turn-queries.ts';
import { createTurnRow } from '../../../conversations/object/begin-turn.ts';
import type {
  ApprovalDecisionRequest,
  ApprovalDecisionResult,
  RpcResult,
  StartedTurnRequest,
} from '../../../conversations/object/contract.ts';
import type { ConversationContext, ConversationPlugin } from '../../../conversations/object/hooks.ts';
import { toFailedResult } from '../../../conversations/object/rpc-response.ts';
import { createNonRetryableError } from '../../../kit/http/errors.ts';
import { beginContinuedRun, prepareContinuedRun } from '../begin-run.ts';
import type { RunExecutor } from '../run-executor.ts';
import { getApprovalRows, getCallRows } from '../run-rows.ts';
import { type EarlierRunsLimitsUsage, readStoredRun } from '../stored-run.ts';
import { addDeliverUrlNote } from '../turn-events.ts';
import {
  cancelPausedTurn,
  createDecisionAnswer,
  describeOpenApprovals,
  findPendingApprovalError,
  storeApprovalDecision,
} from './decide.ts';
import { showDecidedCalls } from './pending-calls.ts';

export const approvalsPart: ConversationPlugin = {
  refusal: findPendingApprovalError,
  cancel: cancelPausedTurn,
  methods: { listApprovals: listOpenApprovalsJson, decideApproval: decideApprovalAndContinue },
};

/** @returns the calls that wait for approval, as JSON text */
function listOpenApprovalsJson(
  { transcript, findProfileForCaller: allowed }: ConversationContext,
  by?: RestrictedCaller,
): RpcResult<string> {
  const may = allowed(by);
  return may.ok ? { ok: true, value: describeOpenApprovals(transcript) } : may;
}

/** Stores a decision. After the last decision of a step it also begins the turn that continues. Does both or neither. */
async function decideApprovalAndContinue(
  conversation: ConversationContext,
  decision: ApprovalDecisionRequest,
): Promise<RpcResult<ApprovalDecisionResult>> {
  const {
    transcript,
    now,
    maintenance,
    findProfileForCaller: allowed,
    findWithdrawalError: withdrawal,
    lock,
  } = conversation;
  const { id, requestId, by } = decision;
  const withdrawn = decision.decision === 'approve' && (await withdrawal());
  if (withdrawn) return toFailedResult(withdrawn);
  const may = allowed(by);
  if (!may.ok) return may;
  try {
    const { going, value } = maintenance.changeRows(() => {
      const goesOn = storeApprovalDecision(transcript, decision, now());
      const going = goesOn && storeContinuingTurn(conversation, { ...goesOn, requestId });
      return {
        going,
        value: createDecisionAnswer(transcript, id, goesOn !== undefined, shouldHideToolContents(by?.only)),
      };
    });
    if (going) {
      lock.acquire(going);
      beginContinuedRun(conversation, going);
    }
    return { ok: true, value };
  } catch (thrown) {
    return toFailedResult(thrown);
  }
}

/**
 * Stores the turn that continues a run, for the caller of that run. Call it in one transaction with the last decision, and
 * begin the turn afterwards: otherwise, the turn would run even if the transaction is rolled back.
 *
 * @param paused the run that has waited
 * @param step the number of its step whose calls were decided
 * @param requestId the id of the request with the last decision; the new turn is named by it
 * @throws ApiError if the deployment has no upstream
 */
function storeContinuingTurn(
  conversation: ConversationContext,
  { paused, step, requestId }: { paused: TurnRow; step: number; requestId: string },
): RunExecutor {
  const { transcript, now } = conversation;
  // Call this before anything is stored: it throws if the deployment has no upstream.
  conversation.getUpstream();
  const stored = readStoredRun(conversation, paused);
  if (!stored) {
    throw createNonRetryableError(
      'api_error',
      'This run cannot continue, because its request is missing. Rewind the conversation.',
      {
        logged: 'no_request_of_run',
      },
    );
  }
  const { request: before, planned } = stored;
  const members = { ...before.edgeOptions, background: true };
  // Drop the idempotency key: it belongs to the request that paused, and one key must not identify two requests.
  const { 'idempotency-key': _, ...headers } = before.headers;
  const call = { ...before.call, id: requestId, key: undefined, stream: true };
  const request: StartedTurnRequest = { ...before, call, edgeOptions: members, headers };
  const { model, sentFrom } = paused;
  const row = createTurnRow(transcript, request, { model, sentFrom, frame: null, follows: true }, now());
  const run = { ...row, run: row.seq };
  addDeliverUrlNote(run, request);
  const carried = computeCarriedUsage(transcript, paused, stored.carried);
  transcript.storeNewTurn(run, []);
  getCallRows(transcript).deleteRunRequest(paused.seq);
  getCallRows(transcript).storeRunRequest(
    run.seq,
    JSON.stringify({ request, rest: planned.bodyWithoutMessages, carried }),
  );
  getApprovalRows(transcript).markContinuedByRun(paused.seq, run.seq);
  return prepareContinuedRun(conversation, run, { request, planned, carried, step, take: showDecidedCalls });
}

/** @returns how much a run and the runs before it have used of their limits. The time of waiting does not count. */
function computeCarriedUsage(
  transcript: Transcript,
  { seq, cost, beganAt, endedAt }: TurnRow,
  before?: EarlierRunsLimitsUsage,
): EarlierRunsLimitsUsage {
  const steps = listTurnsOfRun(transcript, seq).slice(1);
  return {
    steps: steps.filter(({ status }) => status !== 'failed').length + (before?.steps ?? 0),
    calls:
      steps.reduce((sum, step) => sum + getCallRows(transcript).listCallsOfStep(step.seq).length, 0) +
      (before?.calls ?? 0),
    cost: cost + (before?.cost ?? 0),
    ms: (endedAt ?? beganAt) - beganAt + (before?.ms ?? 0),
  };
}
