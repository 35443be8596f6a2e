/** Begins a run, and goes on with one after a crash. */

import type { PlainHeaders } from '../../claude/headers.ts';
import type { NextRequest, PlannedRun } from '../../conversations/history/next-request.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import { visibleNotes } from '../../conversations/history/storage/turn-notes.ts';
import { createRunner, newTurnRow, replan, storeTurn, WATCH_MS } from '../../conversations/object/begin-turn.ts';
import type { StartedRequest, TurnRequest } from '../../conversations/object/contract.ts';
import type { ConversationContext } from '../../conversations/object/hooks.ts';
import { ownerOfTool, retainedAgent } from '../../conversations/object/initial-context.ts';
import { accountRequestOf } from '../../conversations/object/object-context.ts';
import { isRefused } from '../../conversations/turn/turn-handle.ts';
import { isRevokedCaller } from '../../money/admission/refuse-revoked.ts';
import type { CrashedRun } from './crashed-run.ts';
import { createTurnEvents } from './create-turn-events.ts';
import { createResumedRun } from './retry-calls.ts';
import type { RunContext } from './run-context.ts';
import { RunExecutor } from './run-executor.ts';
import { callRowsOf } from './run-rows.ts';
import { type CarriedLimits, readStoredRun, storableTurnRequest } from './stored-run.ts';

/** Stores a run, and begins its first step. @returns undefined for a turn that is none */
export function beginRun(
  conversation: ConversationContext,
  request: TurnRequest,
  planned: NextRequest,
  row: TurnRow,
): RunExecutor | undefined {
  const { transcript } = conversation;
  const { run: common } = planned;
  if (!common) return undefined;
  const kept = storableTurnRequest(request);
  const run = { ...row, run: row.seq };
  transcript.beginTurn(run, []);
  callRowsOf(transcript).saveRequest(run.seq, JSON.stringify({ request: kept, rest: common.bodyWithoutMessages }));
  return new RunExecutor(run, common, createRunContext(conversation, kept, run)).begin(planned);
}

/** Makes the context of a run. @param carried for a run that goes on after approvals: what the runs before it have used */
function createRunContext(
  conversation: ConversationContext,
  request: StartedRequest,
  run: TurnRow,
  carried?: CarriedLimits,
): RunContext {
  const { transcript, maintenance, now } = conversation;
  const { place, call, headers } = request;
  const settings = conversation.settings();
  return {
    transcript,
    settings,
    env: conversation.env,
    account: place.account,
    conversation: place.id,
    requestId: call.id,
    caller: {
      caller: request.caller,
      headers,
      query: request.query,
      route: request.call.route,
      depth: request.parent?.depth ?? 1,
      retentionSeconds: transcript.profile?.retentionSeconds ?? null,
      ownerOf: (tool) => ownerOfTool(conversation, tool),
    },
    isStreaming: call.stream,
    approvers: retainedAgent(conversation)?.definition.approvers ?? 'owner',
    carried,
    now,
    isRevoked: () => isRevokedCaller(accountRequestOf(conversation, request.caller)),
    plan: (body) => replan(conversation, request, body, { isStep: true }),
    begin: (plan, step) => {
      const own = {
        requestId: step.requestId,
        key: null,
        id: `${run.id}_${step.number}`,
        run: run.seq,
        notes: visibleNotes(run),
        events: step.logged,
        background: null,
      };
      const row = { ...newTurnRow(transcript, request, plan, now()), ...own };
      const turn = storeTurn(conversation, row, plan, {
        logOf: step.logOf,
        callsIn: (content) => {
          const calls = step.callsIn(content);
          return calls.length === 0 ? undefined : () => callRowsOf(transcript).plan(row.seq, calls);
        },
        isLater: step.isLater,
        isOfEdge: step.isOfEdge,
        shownAs: step.run,
      });
      // Another model may step in only before the first step. All steps of a run have the same model.
      const members = step.isLater ? { ...request.asked, fallback_models: [] } : request.asked;
      return createRunner(
        conversation,
        { ...request, call: { ...call, id: step.requestId }, asked: members },
        turn,
        plan,
        {
          headers: stepHeaders(headers, step.number),
          most: step.most,
          isLater: step.isLater,
          onEnd: step.onEnd,
          onBroken: conversation.abortObject,
        },
      );
    },
    settle: (step, settled) => maintenance.settlements.track(step, settled),
    storeEvent: (event, members) => createTurnEvents(conversation).storeEvent(run, event, members),
    noteWait(reason, until) {
      conversation.alarm.schedule(until);
      callRowsOf(transcript).noteWait(run.seq, reason, until);
    },
    onEnd: (ended) => {
      conversation.releaseLock();
      maintenance.noteEnd(ended);
      if (!isRefused(transcript, ended)) createTurnEvents(conversation).noteEnd(ended);
      maintenance.settlements.endRun(run);
      maintenance.notePaused();
      maintenance.reportSoon();
    },
    onBroken: conversation.abortObject,
  };
}

/** @returns the headers of a step. Each step gets an idempotency key of its own: one key must not mean two requests. */
function stepHeaders(headers: PlainHeaders, number: number): PlainHeaders {
  const { 'idempotency-key': key, ...others } = headers;
  if (key === undefined) return others;
  return { ...others, 'idempotency-key': number === 1 ? key : `${key}-${number}` };
}

/** Resumes a run from what a crash has left of it. @returns undefined if it cannot be resumed */
export function resumeRun(conversation: ConversationContext, crashed: CrashedRun): RunExecutor | undefined {
  const { transcript, now } = conversation;
  const { row } = crashed.turn;
  const stored = readStoredRun(conversation, row);
  if (!stored) return undefined;
  const { request, planned, carried } = stored;
  conversation.alarm.watch(now() + WATCH_MS);
  conversation.maintenance.settlements.resumeRun(row);
  const resumed = createResumedRun(crashed, transcript);
  const run = new RunExecutor(row, planned, createRunContext(conversation, request, row, carried), resumed);
  return beginInTime(conversation, run, () => run.resumeAfterCrash(resumed));
}

/** A run that goes on with the decided calls of a step, and what the runs before it have used. */
interface ContinuedRun {
  request: StartedRequest;
  planned: PlannedRun;
  carried: CarriedLimits;
  step: number;
  take: Parameters<RunExecutor['takeUpCalls']>[1];
}

/** Begins a stored run with the decided calls of a step. It runs without a listener. */
export function continueRunAfterApproval(
  conversation: ConversationContext,
  row: TurnRow,
  { request, planned, carried, step, take }: ContinuedRun,
): RunExecutor {
  conversation.alarm.watch(conversation.now() + WATCH_MS);
  const run = new RunExecutor(row, planned, createRunContext(conversation, request, row, carried)).takeUpCalls(
    step,
    take,
  );
  return beginInTime(conversation, run, () => run.continue());
}

/** Begins a moment later, because a run may end at once: before that the caller must have noted it as the running turn. */
function beginInTime({ waitUntil }: ConversationContext, run: RunExecutor, begin: () => Promise<void>): RunExecutor {
  waitUntil(Promise.resolve().then(begin));
  return run;
}
