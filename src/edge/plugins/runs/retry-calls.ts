/** Finds where a run resumes after a crash: which calls of its last step are repeated, and which must not be. */

import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { findTurnByNumber, isAnswered, listToolCallsOfStep } from '../../conversations/history/storage/turn-queries.ts';
import { isObject, type JsonObject, toJsonText } from '../../kit/json/object.ts';
import { parseAttemptNumber } from '../../money/admission/reserve-attempt.ts';
import { EDGE_SERVER_NAME } from '../../registry/tools/edge-tools.ts';
import { doesCallNeedApproval, toApprovedCall } from './approvals/pending-calls.ts';
import { type CrashedRun, HIDDEN_BY_CRASH } from './crashed-run.ts';
import { getCallableToolKind } from './kinds.ts';
import { CUT_SHORT, type NextAction } from './next-action.ts';
import type { CallsToMake, PlannedCall } from './pauses.ts';
import type { RunToolCaller } from './run-calls.ts';
import { getApprovalRows, getCallRows } from './run-rows.ts';
import type { RunLimitsUsage } from './stored-run.ts';
import { createFailedResult } from './tool-result.ts';

/** A run that resumes after a crash. */
export interface ResumedRun extends Pick<CrashedRun, 'turn' | 'unknown' | 'waitsUntil'> {
  /** How many blocks were shown, and which of them were not ended. */
  blocks: number;
  open: number[];
  /** The ids of calls that were shown but never made, because their step was not stored. */
  unmade: string[];
  spent: RunLimitsUsage;
  /** The number of its last step, and the highest known number of a try. */
  number: number;
  tries: number;
  /** The last step whose answer is kept, whole or in part. */
  last: TurnRow | undefined;
  /** Whether the beginning of the message was shown. */
  hasBegun: boolean;
}

export function createResumedRun(
  { turn, events, owed, steps, calls, spent: cost, unknown, waitsUntil }: CrashedRun,
  transcript: Transcript,
): ResumedRun {
  const listBlockIndices = (type: string) =>
    events.filter((event) => event.type === type).map(({ index }) => Number(index));
  const [started, ended] = [listBlockIndices('content_block_start'), listBlockIndices('content_block_stop')];
  const unmade = new Set(
    collectBlockIds(
      events,
      ({ type, server_name, id }) => type === 'mcp_tool_use' && server_name === EDGE_SERVER_NAME && id,
    ),
  );
  for (const id of collectBlockIds(events, ({ type, tool_use_id }) => type === 'mcp_tool_result' && tool_use_id))
    unmade.delete(id);
  for (const { toolUseId } of owed) unmade.delete(toolUseId);
  for (const { id } of calls) unmade.delete(id);
  // Ignore a step that was interrupted before its answer. The next step answers its question.
  const answers = steps.filter(
    ({ status, seq }) => status !== 'failed' && (status !== 'interrupted' || isAnswered(transcript, seq)),
  );
  const { continues } = turn;
  return {
    turn,
    unknown,
    waitsUntil,
    blocks: started.length,
    unmade: [...unmade],
    open: started.filter((index) => !ended.includes(index)),
    spent: { steps: answers.length, calls: calls.length, cost },
    number: Math.max(0, ...steps.map(({ id }) => Number(id.split('_').at(-1)))),
    tries: Math.max(0, ...steps.map(({ grant, requestId }) => parseAttemptNumber(grant?.requestId ?? requestId))),
    last: answers.at(-1) ?? (continues === undefined ? undefined : findTurnByNumber(transcript, continues)),
    hasBegun: events.some(({ type }) => type === 'message_start'),
  };
}

/** @returns the ids of blocks in a log. @param idOf the id of a block; something else for blocks to leave out */
function collectBlockIds(events: readonly JsonObject[], idOf: (block: JsonObject) => unknown): string[] {
  return events.flatMap(({ content_block: block }) => {
    const id = isObject(block) && idOf(block);
    return typeof id === 'string' ? [id] : [];
  });
}

/** Shows that a run continues after a crash. @returns the remaining work */
export function resumeLogAndDecideNext({ open, unmade, last }: ResumedRun, runCalls: RunToolCaller): NextAction {
  const { shown, now } = runCalls.run;
  for (const index of open) shown.addEvent('content_block_stop', { index });
  // Show a ping, which takes the first event number after the skipped numbers. A client that reconnects with a skipped number
  // then continues from here.
  shown.addEvent('ping', {});
  for (const id of unmade) {
    shown.expectResult(id);
    shown.showToolResult(id, createFailedResult(CUT_SHORT));
  }
  shown.log.store({ at: now(), unseenMs: 0 });
  const again = last && selectCallsToRetry(last.seq, runCalls);
  return again ? { kind: 'calls', ...again } : { kind: 'step' };
}

/**
 * Finds the calls of a step that have no result yet. A call that must not be made twice gets an error as its result.
 *
 * @returns the calls to make, and whether the step also called tools of the client; undefined if the edge has no calls to
 * make
 */
function selectCallsToRetry(step: number, runCalls: RunToolCaller): CallsToMake | undefined {
  const { transcript, shown, tools, now } = runCalls.run;
  const rows = getCallRows(transcript).listCallsOfStep(step);
  if (rows.length === 0) return undefined;
  const toolCalls = listToolCallsOfStep(transcript, step);
  const approvals = getApprovalRows(transcript).listApprovalsOfStep(step);
  const calls = rows.flatMap((row): PlannedCall[] => {
    const { turn, n, id, beganAt, endedAt, tries, subagent } = row;
    const block = toolCalls.find((one) => one.id === id);
    if (!block || endedAt !== null) return [];
    if (shown.isEdgeToolCall(block)) shown.expectResult(id);
    const decided = approvals.find(({ toolUseId }) => toolUseId === id);
    const planned = { turn, n, block, tries, subagent, idleMs: now() - (beganAt ?? now()) };
    const run = tools.get(toJsonText(block.name));
    // This call still waits for approval, so it was never made, and this is not a retry.
    if (!decided && doesCallNeedApproval(run, block.input)) return [planned];
    const again = { ...planned, tries: tries + 1 };
    const call = decided ? toApprovedCall(again, decided) : again;
    // A subagent's call can be repeated even with `once`: it attaches to the conversation that the first try has created.
    if (getCallableToolKind(run)?.apart || !run?.once) {
      getCallRows(transcript).storeCallRetry(row, now());
      return [call];
    }
    runCalls.storeAndShowResult(planned, createFailedResult(HIDDEN_BY_CRASH));
    return [];
  });
  return { calls, asksClient: toolCalls.length > rows.length };
}
