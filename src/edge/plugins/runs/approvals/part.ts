/** What approvals have in a conversation's object: they list calls, take decisions, and go on with a run after the last one. */

import type { RestrictedCaller } from '../../../auth/identity/caller.ts';
import { shouldHideTools } from '../../../auth/identity/only.ts';
import type { TurnRow } from '../../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../../conversations/history/storage/transcript.ts';
import { turnsOfRun } from '../../../conversations/history/storage/turn-queries.ts';
import { newTurnRow } from '../../../conversations/object/begin-turn.ts';
import type {
  DecisionAnswer,
  DecisionRequest,
  Result,
  StartedRequest,
} from '../../../conversations/object/contract.ts';
import type { ConversationContext, ConversationPlugin } from '../../../conversations/object/hooks.ts';
import { failedRpcResult } from '../../../conversations/object/rpc-response.ts';
import type { Runner } from '../../../conversations/turn/turn-handle.ts';
import { finalError } from '../../../kit/http/errors.ts';
import { continueRunAfterApproval } from '../begin-run.ts';
import { approvalRowsOf, callRowsOf } from '../run-rows.ts';
import { type CarriedLimits, readStoredRun } from '../stored-run.ts';
import { noteAddress } from '../turn-events.ts';
import { answerDecision, approvalPending, cancelPausedTurn, describeOpenApprovals, storeDecision } from './decide.ts';
import { continueCalls } from './pending-calls.ts';

export const approvalsPart: ConversationPlugin = {
  refusal: approvalPending,
  cancel: cancelPausedTurn,
  methods: { listApprovals: listOpen, decideApproval },
};

/** @returns the calls that wait for approval, as JSON text */
function listOpen({ transcript, profileFor: allowed }: ConversationContext, by?: RestrictedCaller): Result<string> {
  const may = allowed(by);
  return may.ok ? { ok: true, value: describeOpenApprovals(transcript) } : may;
}

/** Stores a decision. After the last decision of a step it also begins the turn that goes on. Does both or neither. */
async function decideApproval(
  conversation: ConversationContext,
  decision: DecisionRequest,
): Promise<Result<DecisionAnswer>> {
  const {
    transcript,
    now,
    maintenance,
    profileFor: allowed,
    findWithdrawal: withdrawal,
    acquireLock: begun,
  } = conversation;
  const { id, requestId, by } = decision;
  const withdrawn = decision.decision === 'approve' && (await withdrawal());
  if (withdrawn) return failedRpcResult(withdrawn);
  const may = allowed(by);
  if (!may.ok) return may;
  try {
    const { going, value } = transcript.transact(() => {
      const goesOn = storeDecision(transcript, decision, now());
      const going = goesOn && continueRun(conversation, { ...goesOn, requestId });
      return { going, value: answerDecision(transcript, id, goesOn !== undefined, shouldHideTools(by?.only)) };
    });
    if (going) begun(going);
    return { ok: true, value };
  } catch (thrown) {
    return failedRpcResult(thrown);
  } finally {
    maintenance.notePaused();
  }
}

/**
 * Begins the turn that goes on with a run, for the caller of that run. Call it in one transaction. The turn runs without a
 * listener.
 *
 * @param paused the run that has waited
 * @param step the number of its step whose calls were decided
 * @param requestId the id of the request that made the last decision; the new turn is named by it
 * @throws ApiError if the deployment has no upstream
 */
function continueRun(
  conversation: ConversationContext,
  { paused, step, requestId }: { paused: TurnRow; step: number; requestId: string },
): Runner {
  const { transcript, now } = conversation;
  // This throws if the deployment has no upstream. So it comes before anything is stored.
  conversation.upstream();
  const stored = readStoredRun(conversation, paused);
  if (!stored) {
    throw finalError('api_error', 'This run cannot go on: its request is not there. Rewind the conversation.', {
      logged: 'no_request_of_run',
    });
  }
  const { request: before, planned } = stored;
  const members = { ...before.asked, background: true };
  // One key must not name two requests.
  const { 'idempotency-key': _, ...headers } = before.headers;
  const call = { ...before.call, id: requestId, key: undefined, stream: true };
  const request: StartedRequest = { ...before, call, asked: members, headers };
  const { model, sentFrom } = paused;
  const row = newTurnRow(transcript, request, { model, sentFrom, frame: null, follows: true }, now());
  const run = { ...row, run: row.seq };
  noteAddress(run, request);
  const carried = carriedUsage(transcript, paused, stored.carried);
  transcript.beginTurn(run, []);
  callRowsOf(transcript).deleteRequest(paused.seq);
  callRowsOf(transcript).saveRequest(run.seq, JSON.stringify({ request, rest: planned.bodyWithoutMessages, carried }));
  approvalRowsOf(transcript).assignToRun(paused.seq, run.seq);
  return continueRunAfterApproval(conversation, run, { request, planned, carried, step, take: continueCalls });
}

/** @returns what a run and the runs before it have used of their limits. The time of waiting does not count. */
function carriedUsage(
  transcript: Transcript,
  { seq, cost, beganAt, endedAt }: TurnRow,
  before?: CarriedLimits,
): CarriedLimits {
  const steps = turnsOfRun(transcript, seq).slice(1);
  return {
    steps: steps.filter(({ status }) => status !== 'failed').length + (before?.steps ?? 0),
    calls:
      steps.reduce((sum, step) => sum + callRowsOf(transcript).callsOfTurn(step.seq).length, 0) + (before?.calls ?? 0),
    cost: cost + (before?.cost ?? 0),
    ms: (endedAt ?? beganAt) - beganAt + (before?.ms ?? 0),
  };
}
