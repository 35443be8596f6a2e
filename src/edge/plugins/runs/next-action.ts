/** Decides what follows a step of a run. */

import type { TurnExecutor } from '../../conversations/turn/turn-executor.ts';
import { HOUR_MS, MINUTE_MS } from '../../kit/async/durations.ts';
import { addJitter } from '../../kit/async/pause.ts';
import { isBusyErrorType, parseLimitingCause } from '../../money/admission/limitation.ts';
import type { RunEndReason } from './end-run.ts';
import type { PauseReason } from './limits.ts';
import { getPauseReasonOfError, MAX_PAUSES } from './next-step.ts';
import type { CallsToMake } from './pauses.ts';
import type { RunToolCaller } from './run-calls.ts';
import { getCallRows } from './run-rows.ts';
import type { LiveStepWriter } from './run-stream.ts';
import { createFailedResult } from './tool-result.ts';

/** What follows a step: calls of its tools, the next step, or the same step again, at once or at a time. */
export type NextAction = ({ kind: 'calls' } & CallsToMake) | { kind: 'step' | 'again' } | BackgroundWait;

/** A run in the background waits before it tries the same step again. */
interface BackgroundWait {
  kind: 'wait';
  reason: PauseReason;
  /** Milliseconds since 1970. */
  until: number;
}

/** A step that has ended, and its run. */
interface EndedRunStep {
  runner: Pick<TurnExecutor, 'turn' | 'failure'>;
  writer: LiveStepWriter;
  calls: RunToolCaller;
  /** Whether a step of the run is part of the history. */
  isPart: boolean;
  /** How the run ends now, if it was stopped or must not continue. */
  ending: RunEndReason | undefined;
  /** How often a step was tried again. */
  pauses: number;
  /** When the last answer of the run ended, for a run in the background; undefined for others, which do not wait. */
  answeredAt: number | undefined;
}

/** A run in the background gives up this long after its last answer: any daily budget has begun anew by then. */
const MAX_WAIT_MS = 24 * HOUR_MS;
const [MIN_RETRY_MS, MAX_RETRY_MS] = [MINUTE_MS, 30 * MINUTE_MS];
/** Runs that wait for the same time do not all come back at once. */
const SPREAD_MS = 10_000;

const NOT_CALLED =
  'This tool was not called, because the run has reached its limit max_tool_calls. Call it again if it is still needed.';
export const CUT_SHORT = 'This tool was not called, because the response ended before its call.';

/** Decides what follows a step, and answers its calls that are not made. @returns `end` for a run that ends with it */
export function decideNextRunAction(step: EndedRunStep): NextAction | { end: RunEndReason } {
  const { runner, writer, ending, isPart } = step;
  const { result: ended, builder } = runner.turn;
  switch (ended?.status) {
    case 'complete': {
      const following = selectCallsToMake(step);
      if (following) return following;
      return builder.stopReason === 'pause_turn' && !ending ? { kind: 'step' } : { end: { kind: 'complete' } };
    }
    case 'failed': {
      if (ending || !isPart) break;
      const reason = getPauseReasonOfError(runner.failure, ended.error?.type);
      const isBusy = isBusyErrorType(ended.error?.type);
      if (!reason && isBusy && step.pauses < MAX_PAUSES) return { kind: 'again' };
      const wait = computeBackgroundWait(step, reason ?? (isBusy ? 'budget' : undefined));
      if (wait) return wait;
      if (reason) return { end: { kind: 'paused', reason } };
      break;
    }
    case 'refused':
      if (ended.hidesResults) return ending ? { end: ending } : { kind: 'step' };
      return { end: { kind: 'complete' } };
    case 'empty':
      return { end: { kind: 'complete' } };
  }
  const isKept = isPart && !ended?.isUnanswered;
  if (ending && isKept) return { end: ending };
  const data = isKept ? undefined : writer.error;
  return { end: { kind: 'error', error: ended?.error, data, isStopped: ended?.isStopped } };
}

/** @returns how long a run in the background waits for an upstream or a budget; undefined if it must not, or if that is too long */
function computeBackgroundWait(
  { runner, calls, answeredAt }: EndedRunStep,
  reason: PauseReason | undefined,
): BackgroundWait | undefined {
  if (answeredAt === undefined || (reason !== 'upstream' && reason !== 'budget')) return undefined;
  const { meter, now } = calls.run;
  const { passes, retryAt } = runner.failure
    ? parseLimitingCause(runner.failure, now())
    : { passes: 'soon' as const, retryAt: null };
  if (passes === 'never') return undefined;
  const waited = now() - answeredAt;
  // Wait in proportion to the time since the last answer. That time is stored, so the backoff continues after a crash, which a
  // counter in memory would not.
  const usual = addJitter(Math.min(Math.max(waited / 2, MIN_RETRY_MS), MAX_RETRY_MS));
  const pause = Math.max(usual, (retryAt ?? 0) - now() + Math.random() * SPREAD_MS);
  if (waited + pause > MAX_WAIT_MS || pause >= meter.computeRemainingMs(now())) return undefined;
  return { kind: 'wait', reason, until: now() + Math.ceil(pause) };
}

/** @returns the calls of a step that are to be made; undefined if there are none */
function selectCallsToMake({ runner, calls }: EndedRunStep): NextAction | undefined {
  const { transcript, shown, meter, signal } = calls.run;
  const { row, builder } = runner.turn;
  const toolCalls = builder.blocks
    .filter(({ value, isBroken: broken }) => value.type === 'tool_use' && !broken)
    .map(({ value }) => value);
  const own = toolCalls.filter((block) => shown.isEdgeToolCall(block));
  // Call only the tools that the step's rows name, because only their calls are stored in the history.
  const named = getCallRows(transcript)
    .listCallsOfStep(row.seq)
    .flatMap(({ turn, n, id, tries }) => {
      const block = own.find((one) => one.id === id);
      return block ? [{ turn, n, block, tries }] : [];
    });
  if (builder.stopReason === 'tool_use' && named.length > 0 && !signal.aborted) {
    const allowed = named.filter((call) => meter.countToolCallIfAllowed(call.block));
    for (const call of named)
      if (!allowed.includes(call)) calls.storeAndShowResult(call, createFailedResult(NOT_CALLED));
    return { kind: 'calls', calls: allowed, asksClient: own.length < toolCalls.length };
  }
  for (const call of named) calls.storeAndShowResult(call, createFailedResult(CUT_SHORT));
  return undefined;
}
