/** Decides the end of a turn: its status, its last events, and the conversation's profile afterwards. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import type { ResponseReport } from '../../claude/usage/usage-report.ts';
import { type ApiError, createErrorBody } from '../../kit/http/errors.ts';
import { isObject, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import type { SseEvent } from '../../kit/sse/frames.ts';
import { formatEndComments } from '../../money/admission/answer-end.ts';
import type { RemainingBudget } from '../../money/admission/budget-left.ts';
import type { ConversationReport, ParentToolCall } from '../../money/contracts/settlement.ts';
import type { ConversationProfile, TurnStatus } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import type { TurnSummary } from '../views/turn-answer.ts';
import type { EventWriter } from './event-log.ts';
import type { MessageBuilder } from './message-builder.ts';

const NOTHING_SAID = 'This turn was stopped before the response began.';
const NOT_KEPT = `${NOTHING_SAID} It is not part of the conversation. Send the message again.`;
const QUESTION_KEPT = `${NOTHING_SAID} The conversation contains only the question. Send your next message to continue.`;

/** How a turn ends: completed by the API, stopped by a client, with an `error` event of the API, or interrupted. */
export type TurnEnd =
  | { kind: 'complete' }
  | { kind: 'stopped' }
  | { kind: 'error'; frame: SseEvent }
  | {
      kind: 'cut';
      error: Pick<ApiError, 'type' | 'message' | 'logged'>;
      end: 'cut' | 'silent' | 'error';
      /** The API's own sentence in a rejection, for the ledger. */
      storedSentence?: string | undefined;
      /** The report of a buffered answer that is not a message, by which the turn is settled. */
      report?: ResponseReport | undefined;
    };

/** The contents of a piece of the upstream's stream. */
export interface StreamPieceContents {
  /** Whether it had an event that frames the answer. */
  hasFraming: boolean;
  /** Whether it contained an event that must not be lost: of a call, of a result, or of the end. */
  hasEffect: boolean;
  hasDelta: boolean;
  /** How the turn ends, if this piece ended it. */
  how?: TurnEnd;
}

/** The result of a turn. */
export interface TurnResult {
  status: TurnStatus;
  summary: TurnSummary;
  /** For a caller that does not stream: the message, or the error. */
  message: JsonObject | undefined;
  error: { type: string; message: string } | undefined;
  /** Why a run has paused. */
  paused?: string;
  /** Whether only its question is kept. */
  isUnanswered?: boolean;
  /** Whether a client has stopped it. */
  isStopped?: boolean;
  /** Whether the model has refused to answer after results of the edge's calls, so that later requests send them as text. */
  hidesResults?: boolean;
}

/**
 * @returns the status of a turn that has ended. `hasAnswer` is whether its answer has replayable blocks; `isAcknowledged`
 *   whether its question is kept even without an answer
 */
export function computeTurnStatus(
  turnEnd: TurnEnd,
  answer: { hasAnswer: boolean; isAcknowledged: boolean; stopReason: string | null; maxTokens: number },
): TurnStatus {
  const { hasAnswer, isAcknowledged, stopReason, maxTokens } = answer;
  if (turnEnd.kind !== 'complete') {
    if (!hasAnswer) return isAcknowledged && !isQuestionRejected(turnEnd) ? 'interrupted' : 'failed';
    return turnEnd.kind === 'stopped' ? 'stopped' : 'interrupted';
  }
  if (stopReason === 'refusal') return 'refused';
  if (hasAnswer) return 'complete';
  // With `max_tokens: 0` the request only warmed the prompt cache and has no answer, so it leaves no turn in the history.
  return maxTokens === 0 ? 'failed' : 'empty';
}

/** @returns whether the API does not accept the question. In the history it would spoil each later request. */
function isQuestionRejected(turnEnd: TurnEnd): boolean {
  const error =
    turnEnd.kind === 'error' ? parseErrorEvent(turnEnd.frame.data) : turnEnd.kind === 'cut' ? turnEnd.error : undefined;
  return isRequestError(error);
}

/** @returns whether an error is about the content of the request, so that sending it again would fail, too. */
export function isRequestError(error: { type: string } | undefined): boolean {
  return error?.type === 'invalid_request_error' || error?.type === 'request_too_large';
}

/**
 * Adds the last events of a turn to its log.
 *
 * @param open the indices of blocks that have not ended
 * @returns the error in these events, if there is one
 */
export function addEndEvents(
  log: Pick<EventWriter, 'add'>,
  turnEnd: TurnEnd,
  open: Iterable<number>,
  {
    status,
    output,
    cost,
    budget,
    requestId,
  }: {
    status: TurnStatus;
    output: number;
    cost: Nanodollars | undefined;
    budget?: RemainingBudget | undefined;
    requestId: string;
  },
): TurnResult['error'] {
  const addLogEvent = (type: string, fields: object = {}, remark?: string) =>
    log.add({ event: type, data: JSON.stringify({ type, ...fields }) }, remark);
  const addErrorEvent = (error: { type: string; message: string }) => {
    log.add({ event: 'error', data: JSON.stringify(createErrorBody(error, requestId)) });
    return { type: error.type, message: error.message };
  };
  if (turnEnd.kind === 'complete') {
    addLogEvent('message_stop', {}, formatEndComments(cost, budget));
    return undefined;
  }
  if (turnEnd.kind === 'error') {
    const { data } = turnEnd.frame;
    if (!parseJsonObject(data)) return addErrorEvent(parseErrorEvent(data));
    log.add({ event: 'error', data });
    return parseErrorEvent(data);
  }
  if (turnEnd.kind === 'cut') return addErrorEvent(turnEnd.error);
  if (status !== 'stopped')
    return addErrorEvent({ type: 'api_error', message: status === 'failed' ? NOT_KEPT : QUESTION_KEPT });
  for (const index of open) addLogEvent('content_block_stop', { index });
  // The reason that the stored row has: with `end_turn`, a client would take the fragment for the complete response.
  const delta = { stop_reason: null, stop_sequence: null };
  addLogEvent('message_delta', { delta, usage: { output_tokens: output } });
  addLogEvent('message_stop', {}, formatEndComments(cost, budget, true));
  return undefined;
}

/** @returns the message for a caller that does not stream; undefined for a turn that was interrupted */
export function buildFinalMessage(
  turnEnd: TurnEnd,
  { status, usage, content }: { status: TurnStatus; usage: JsonObject; content: JsonObject[] },
  { message, blocks }: Pick<MessageBuilder, 'message' | 'blocks'>,
): JsonObject | undefined {
  if (turnEnd.kind === 'complete') return { ...message, content: blocks.map(({ value }) => value) };
  if (status !== 'stopped') return undefined;
  return { ...message, content, stop_reason: null, stop_sequence: null, usage };
}

/**
 * @param cost the conversation's cost, without the cost that the same call settles: the account adds that itself
 * @returns the report of a conversation for its account
 */
export function createConversationReport(
  profile: ConversationProfile,
  cost: Nanodollars = profile.cost,
): ConversationReport {
  const { id, version, createdAt, updatedAt, title, paused, turns, messages, bytes, exists, deleted } = profile;
  const parent = profile.parent && toListedParent(profile.parent);
  const counted = { turns, messages, bytes, cost };
  return { id, version, createdAt, updatedAt, title, paused, parent, ...counted, gone: deleted || !exists };
}

/** @returns the part of a subagent's parent that lists show */
export function toListedParent({ conversation, toolUseId }: ParentToolCall): ParentToolCall {
  return { conversation, toolUseId };
}

/** @returns the version of a profile that changes now. Reports of an earlier one change nothing any more */
export function computeNextProfileVersion({ version }: Pick<ConversationProfile, 'version'>, now: number): number {
  return Math.max(version + 1, now);
}

/**
 * Adds to the cost of a conversation. Increases its version, so that an earlier report that arrives late does not replace a
 * later one.
 *
 * @param more other members to change
 */
export function addConversationCost(
  transcript: Transcript,
  cost: Nanodollars,
  now: number,
  more: Partial<ConversationProfile> = {},
): void {
  const { storedProfile: profile } = transcript;
  if (profile)
    transcript.saveProfile({
      ...profile,
      ...more,
      version: computeNextProfileVersion(profile, now),
      cost: profile.cost + cost,
    });
}

/** @returns a conversation's profile after a turn. @param added how many messages the turn has, including its answer */
export function computeNextProfile(
  profile: ConversationProfile,
  committed: boolean,
  added: number,
  now: number,
): ConversationProfile {
  const version = computeNextProfileVersion(profile, now);
  if (!committed) return { ...profile, version };
  const messages = profile.messages + added;
  const nextMessage = profile.nextMessage + added;
  return { ...profile, exists: true, updatedAt: now, version, turns: profile.turns + 1, messages, nextMessage };
}

export function parseErrorEvent(data: string): { type: string; message: string } {
  const error = parseJsonObject(data)?.error;
  const { type, message } = isObject(error) ? error : {};
  return {
    type: typeof type === 'string' ? type : 'api_error',
    message:
      typeof message === 'string' ? message : 'The upstream ended the response with an error. Send the request again.',
  };
}
