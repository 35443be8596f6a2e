/** Ends a run: shows its last events, and stores its own row. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { TurnStatus } from '../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { listToolCallsOfStep } from '../../conversations/history/storage/turn-queries.ts';
import { parseErrorEvent, type TurnResult } from '../../conversations/turn/turn-ending.ts';
import { createErrorBody, toApiError } from '../../kit/http/errors.ts';
import { isObject } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { formatEndComments } from '../../money/admission/answer-end.ts';
import type { PauseReason } from './limits.ts';
import { isRunPartOfHistory, type RunHandle, storeRunEnd } from './run-handle.ts';
import type { RunStream } from './run-stream.ts';
import { sumUsageOfSteps } from './sum-usage.ts';
import { createFailedResult } from './tool-result.ts';

/** How a run ends. */
export type RunEndReason =
  | { kind: 'complete' | 'stopped' }
  | { kind: 'paused'; reason: PauseReason }
  /** `data` is the `error` event as a step has shown it. */
  | { kind: 'error'; error: unknown; data?: string | undefined; isStopped?: boolean | undefined };

interface EndRunContext {
  transcript: Transcript;
  shown: RunStream;
  spent: Nanodollars;
  now: number;
  requestId: string;
}

/** Ends a run: shows its end and stores it, without waiting in between. */
export function showAndStoreRunEnd(
  turn: RunHandle,
  end: RunEndReason,
  { transcript, shown, spent, now, requestId }: EndRunContext,
): void {
  const { log, last, usages } = turn;
  let error: TurnResult['error'];
  if (end.kind === 'error') {
    const data = end.data ?? JSON.stringify(createErrorBody(toReportedError(end.error), requestId));
    log.add({ event: 'error', data });
    error = parseErrorEvent(data);
  } else {
    const waits = end.kind === 'paused' && end.reason === 'approval';
    for (const id of waits ? [] : shown.callIdsWithoutResult) shown.showToolResult(id, createFailedResult('stopped'));
    const { delta = {}, ...others } = last?.delta ?? {};
    const reason =
      end.kind === 'complete' ? {} : { stop_reason: end.kind === 'paused' ? 'pause_turn' : null, stop_sequence: null };
    const remark = end.kind === 'paused' ? `: sluice-paused=${end.reason}\n\n` : '';
    // A run without a step of its own has only continued approved calls. It ends with `tool_use`, because the client has to
    // make the remaining calls of the paused step.
    const ownReason = turn.continues !== undefined && last === undefined ? 'tool_use' : null;
    const stopReason = { stop_reason: ownReason, stop_sequence: null, ...(isObject(delta) ? delta : {}), ...reason };
    shown.addEvent('message_delta', { ...others, delta: stopReason, usage: sumUsageOfSteps(usages) }, remark);
    shown.addEvent('message_stop', {}, formatEndComments(spent, last?.budget, end.kind === 'stopped'));
  }
  const paused = end.kind === 'paused' ? { paused: end.reason } : {};
  const isStopped = end.kind === 'error' && end.isStopped === true;
  storeRunEnd(turn, { status: getEndedRunStatus(turn, end), error, isStopped, ...paused }, { transcript, spent, now });
}

/**
 * Shows the open calls of the client's tools from the paused run, because a client that follows only this run must answer
 * them.
 */
export function showPausedClientCalls(turn: RunHandle, transcript: Transcript, shown: RunStream): void {
  if (turn.continues === undefined || turn.isCommitted) return;
  for (const block of listToolCallsOfStep(transcript, turn.continues)) {
    if (shown.isEdgeToolCall(block)) continue;
    const index = shown.takeNextBlockIndex();
    shown.addEvent('content_block_start', { index, content_block: { ...block, input: {} } });
    const delta = { type: 'input_json_delta', partial_json: stringifyWithRememberedTexts(block.input) };
    shown.addEvent('content_block_delta', { index, delta });
    shown.addEvent('content_block_stop', { index });
  }
}

function getEndedRunStatus(turn: RunHandle, { kind }: RunEndReason): TurnStatus {
  if (!isRunPartOfHistory(turn)) return 'failed';
  if (kind === 'error') return 'interrupted';
  if (kind === 'stopped') return 'stopped';
  return kind === 'complete' && turn.last?.outcome.stop_reason === 'refusal' ? 'refused' : 'complete';
}

function toReportedError(error: unknown): { type: string; message: string } {
  if (isObject(error) && typeof error.type === 'string' && typeof error.message === 'string') {
    return { type: error.type, message: error.message };
  }
  return toApiError(error);
}
