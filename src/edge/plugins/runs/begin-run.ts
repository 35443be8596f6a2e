/** Begins a run, or resumes one after a crash. */

import type { PlainHeaders } from '../../claude/headers.ts';
import type { NextRequestPlan, PlannedRun } from '../../conversations/history/next-request.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import { selectVisibleNotes } from '../../conversations/history/storage/turn-notes.ts';
import {
  createTurnExecutor,
  createTurnRow,
  replanStoredRequest,
  storeTurnAndMessages,
  WATCH_MS,
} from '../../conversations/object/begin-turn.ts';
import type { StartedTurnRequest, TurnRequest } from '../../conversations/object/contract.ts';
import type { ConversationContext } from '../../conversations/object/hooks.ts';
import { findToolOwnerOfConversation, readRetainedAgent } from '../../conversations/object/initial-context.ts';
import { createAccountRequest } from '../../conversations/object/object-context.ts';
import { isUnreportedRejection } from '../../conversations/turn/turn-handle.ts';
import { findCredentialRejection } from '../../money/admission/refuse-revoked.ts';
import type { CrashedRun } from './crashed-run.ts';
import { getTurnEventSender } from './create-turn-events.ts';
import { createResumedRun } from './retry-calls.ts';
import type { RunContext } from './run-context.ts';
import { RunExecutor } from './run-executor.ts';
import { getCallRows } from './run-rows.ts';
import { type EarlierRunsLimitsUsage, readStoredRun, toStorableTurnRequest } from './stored-run.ts';

/** Stores a run, and begins its first step. @returns undefined for a turn that is none */
export function beginRun(
  conversation: ConversationContext,
  request: TurnRequest,
  planned: NextRequestPlan,
  row: TurnRow,
): RunExecutor | undefined {
  const { transcript } = conversation;
  const { run: common } = planned;
  if (!common) return undefined;
  const kept = toStorableTurnRequest(request);
  const run = { ...row, run: row.seq };
  transcript.storeNewTurn(run, []);
  getCallRows(transcript).storeRunRequest(run.seq, JSON.stringify({ request: kept, rest: common.bodyWithoutMessages }));
  return new RunExecutor(run, common, createRunContext(conversation, kept, run)).begin(planned);
}

/**
 * Creates the context of a run. @param carried for a run that continues after approvals: how much the runs before it have used
 */
function createRunContext(
  conversation: ConversationContext,
  request: StartedTurnRequest,
  run: TurnRow,
  carried?: EarlierRunsLimitsUsage,
): RunContext {
  const { transcript, maintenance, now } = conversation;
  const { conversationKey, call, headers } = request;
  const settings = conversation.settings();
  return {
    transcript,
    settings,
    env: conversation.env,
    account: conversationKey.account,
    conversation: conversationKey.id,
    requestId: call.id,
    request: {
      caller: request.caller,
      headers,
      query: request.query,
      route: request.call.route,
      depth: request.parent?.depth ?? 1,
      retentionSeconds: transcript.storedProfile?.retentionSeconds ?? null,
      findToolOwner: (tool) => findToolOwnerOfConversation(conversation, tool),
    },
    isStreaming: call.stream,
    approvers: readRetainedAgent(conversation)?.definition.approvers ?? 'owner',
    carried,
    now,
    findCredentialRejection: () => findCredentialRejection(createAccountRequest(conversation, request.caller)),
    planNextStep: (body) => replanStoredRequest(conversation, request, body, { isLaterStep: true }),
    storeAndCreateStep: (plan, step) => {
      const own = {
        requestId: step.requestId,
        key: null,
        id: `${run.id}_${step.number}`,
        run: run.seq,
        notes: selectVisibleNotes(run),
        events: step.logged,
        background: null,
      };
      const row = { ...createTurnRow(transcript, request, plan, now()), ...own };
      const turn = storeTurnAndMessages(conversation, row, plan, {
        log: step.run.log,
        createStepWriter: step.createStepWriter,
        prepareCalls: (content) => {
          const calls = step.findEdgeCalls(content);
          return calls.length === 0 ? undefined : () => getCallRows(transcript).storePlannedCalls(row.seq, calls);
        },
        isLaterStep: step.isLater,
        isOfEdge: step.isOfEdge,
        runHandle: step.run,
      });
      // Allow fallback models only in the first step, because all steps of a run use the same model.
      const members = step.isLater ? { ...request.edgeOptions, fallback_models: [] } : request.edgeOptions;
      return createTurnExecutor(
        conversation,
        { ...request, call: { ...call, id: step.requestId }, edgeOptions: members },
        turn,
        plan,
        {
          headers: createStepHeaders(headers, step.number),
          costLimit: step.costLimit,
          isLaterStep: step.isLater,
          onEnd: step.onStepEnd,
          onEndNotStored: conversation.abortObject,
        },
      );
    },
    trackStepSettlement: (step, settled) => maintenance.settlements.storeConfirmationLater(step, settled),
    storeEvent: (event, members) => getTurnEventSender(conversation).storeAndSendEvent(run, event, members),
    recordWait(reason, until) {
      conversation.alarm.scheduleAt(until);
      getCallRows(transcript).storeWait(run.seq, reason, until);
    },
    onRunEnd: (ended) => {
      conversation.lock.release();
      maintenance.scheduleFailedTurnDeletion(ended);
      if (!isUnreportedRejection(transcript, ended)) getTurnEventSender(conversation).storeTurnEndedEvent(ended);
      maintenance.settlements.markRunEnded(run);
      maintenance.updatePausedState();
      maintenance.reportChangesInBackground();
    },
    onUnexpectedError: conversation.abortObject,
  };
}

/** @returns the headers of a step. Each step gets its own idempotency key, because one key must not identify two requests. */
function createStepHeaders(headers: PlainHeaders, number: number): PlainHeaders {
  const { 'idempotency-key': key, ...others } = headers;
  if (key === undefined) return others;
  return { ...others, 'idempotency-key': number === 1 ? key : `${key}-${number}` };
}

/** Resumes a run from its rows after a crash. @returns undefined if it cannot be resumed */
export function resumeRunAfterCrash(conversation: ConversationContext, crashed: CrashedRun): RunExecutor | undefined {
  const { transcript, now } = conversation;
  const { row } = crashed.turn;
  const stored = readStoredRun(conversation, row);
  if (!stored) return undefined;
  const { request, planned, carried } = stored;
  conversation.alarm.scheduleWatchAt(now() + WATCH_MS);
  conversation.maintenance.settlements.markRunResumed(row);
  const resumed = createResumedRun(crashed, transcript);
  const run = new RunExecutor(row, planned, createRunContext(conversation, request, row, carried), resumed);
  return beginRunInNextMicrotask(conversation, run, () => run.resumeAfterCrash(resumed));
}

/** A run that continues with the decided calls of a step, and the usage of the runs before it. */
interface ContinuedRunOptions {
  request: StartedTurnRequest;
  planned: PlannedRun;
  carried: EarlierRunsLimitsUsage;
  step: number;
  take: Parameters<RunExecutor['takeOverDecidedCalls']>[1];
}

/**
 * Stores that a run takes over the decided calls of a step. Call it in the transaction that stores the run.
 *
 * @returns the run, for `beginContinuedRun`
 */
export function prepareContinuedRun(
  conversation: ConversationContext,
  row: TurnRow,
  { request, planned, carried, step, take }: ContinuedRunOptions,
): RunExecutor {
  conversation.alarm.scheduleWatchAt(conversation.now() + WATCH_MS);
  const run = new RunExecutor(row, planned, createRunContext(conversation, request, row, carried));
  return run.takeOverDecidedCalls(step, take);
}

/** Begins a run with the decided calls that it has taken over, without a listener. Call it when the run is stored and has the lock. */
export function beginContinuedRun(conversation: ConversationContext, run: RunExecutor): void {
  conversation.waitUntil(run.continueWithDecidedCalls());
}

/** Begins a moment later, because a run may end at once: before that the caller must have noted it as the running turn. */
function beginRunInNextMicrotask(
  { waitUntil }: ConversationContext,
  run: RunExecutor,
  begin: () => Promise<void>,
): RunExecutor {
  waitUntil(Promise.resolve().then(begin));
  return run;
}
