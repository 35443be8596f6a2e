/** Makes the next step of a run. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { Transcript } from '../../conversations/history/storage/transcript.ts';
import { addJitter, pause } from '../../kit/async/pause.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import { editJson } from '../../kit/json/edit.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import { isBusyErrorType, parseLimitingCause } from '../../money/admission/limitation.ts';
import type { SettlementResult } from '../../money/contracts/settlement.ts';
import type { PauseReason } from './limits.ts';
import { getCallRows } from './run-rows.ts';

/** The message that follows an interrupted answer. The model reads it; it is stored, but not shown. */
const GO_ON = JSON.stringify([
  { role: 'user', content: '[The connection broke here. Go on exactly where your answer ended.]' },
]);

/**
 * Makes the body of a later step. The results of calls are added to it from their rows.
 *
 * @param body the caller's body without its messages
 * @param step `isInterrupted`: whether the answer before was interrupted; `model`: the model that has stepped in
 */
export function createStepBody(
  body: string,
  { isInterrupted, model }: { isInterrupted: boolean; model: string | undefined },
): string {
  const rest = model === undefined ? body : editJson(body, { model: JSON.stringify(model) });
  const messages = isInterrupted ? GO_ON : '[]';
  const { tool_choice: choice } = JSON.parse(rest) as JsonObject;
  // After the first step, replace a forced tool call (`tool_choice` of `any` or `tool`) with `auto`. Otherwise, every step
  // would call a tool and the run would never end.
  if (!isObject(choice) || (choice.type !== 'any' && choice.type !== 'tool')) return editJson(rest, { messages });
  const { name: _, ...kept } = choice;
  return editJson(rest, { messages, tool_choice: JSON.stringify({ ...kept, type: 'auto' }) });
}

/**
 * @param error why the step was refused by the edge; undefined if the upstream has refused it
 * @param type the type of the refusal
 * @returns why a run pauses after its next step was refused; undefined if it is tried again, or fails
 */
export function getPauseReasonOfError(error: ApiError | undefined, type: string | undefined): PauseReason | undefined {
  if (error?.type === 'authentication_error') return 'revoked';
  const { by, isOwn, passes } = error ? parseLimitingCause(error) : {};
  // A busy upstream pauses the run: the request was already retried as often as any request is.
  if (isBusyErrorType(type) && !isOwn) return 'upstream';
  if (by === 'run') return 'max_usd';
  // If the conversation's storage is full, end the run with this error, which explains what to do.
  if (error?.type === 'invalid_request_error') return undefined;
  return isOwn && passes !== 'soon' ? 'budget' : undefined;
}

/** @returns the cost of steps according to the account; `most` if the account cannot be reached */
export async function sumSettledCosts(
  settlements: readonly Promise<SettlementResult>[],
  most: Nanodollars,
): Promise<Nanodollars> {
  try {
    return (await Promise.all(settlements)).reduce((sum, { cost }) => sum + cost, 0);
  } catch {
    // Settling failed, and the alarm retries it. Count the maximum cost until then, so that the run cannot exceed its budget.
    return most;
  }
}

/** About how many bytes a step sends up: the history, and results, images in base64. @param called the step that has called */
export function estimateStepBytes(transcript: Transcript, called: number | undefined): number {
  const results = called === undefined ? [] : getCallRows(transcript).listCallsOfStep(called);
  const history = transcript.cachedHistory?.history.joinedBytes.length ?? transcript.bytes;
  return history + Math.ceil(results.reduce((sum, { bytes }) => sum + bytes, 0) * (4 / 3));
}

/** Pauses before a step is tried again because the account was too busy; milliseconds. */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
export const MAX_PAUSES = 8;

/** Waits longer each time. A stop ends the pause early: the caller checks for it. */
export async function waitBeforeStepRetry(pauses: number, leftMs: number, signal: AbortSignal): Promise<void> {
  const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** pauses);
  await pause(Math.min(addJitter(longest), leftMs), signal).catch(() => {});
}
