/** Decides what the end of a turn changes in its conversation: the answer that is kept, the turn's status, and the profile. */

import { isThinkingType } from '../../claude/usage/hidden-output.ts';
import { type JsonObject, toJsonText } from '../../kit/json/object.ts';
import { findLostCode } from '../history/container.ts';
import { findBetasNeededByBlocks } from '../history/needed-betas.ts';
import { removePendingCallsOfPausedAnswer } from '../history/repair-paused.ts';
import { ensureObjectInput } from '../history/repaired-calls.ts';
import {
  canHavePendingServerResults,
  listToolCallIds,
  removeBlocksAndBoundThinking,
  type StreamedContentBlock,
  selectReplayableBlocks,
} from '../history/replayable-blocks.ts';
import { addAnswerId } from '../history/storage/message-rows.ts';
import type { ConversationProfile, TurnRow, TurnStatus } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import type { MessageBuilder } from './message-builder.ts';
import type { PlannedTurnEnd } from './store-end.ts';
import type { StepOrRecoveryOptions } from './turn-context.ts';
import { computeNextProfile, computeTurnStatus, type TurnEnd } from './turn-ending.ts';

/** A turn that ends. */
interface EndingTurn {
  transcript: Transcript;
  row: TurnRow;
  builder: Pick<MessageBuilder, 'blocks' | 'stopReason'>;
  maxTokens: number;
  /** The id of its answer. */
  answerId: string;
  /** How many messages its question has. */
  newMessages: number;
  /** Whether its caller may know that it has begun. */
  isAcknowledged: boolean;
  /** The ids of calls whose name or id was repaired. */
  repairedCallIds: ReadonlySet<string>;
  options: StepOrRecoveryOptions;
}

/** The answer of a turn that ends. */
interface KeptAnswer {
  /** The replayable blocks, as they are shown. */
  blocks: readonly JsonObject[];
  /** The blocks that later requests send. */
  content: JsonObject[];
  /** Whether it is paused: calls of the API's tools still have no result. */
  isPaused: boolean;
  /** What leaves the history, because this answer ends a tool loop whose code has not ended. */
  lostCode: ReturnType<typeof findLostCode>;
}

/** Plans the end of a turn. Writes nothing. @param now milliseconds since 1970 */
export function planTurnEnd(turn: EndingTurn, turnEnd: TurnEnd, now: number): Omit<PlannedTurnEnd, 'outcome'> {
  const { storedProfile: profile, bytes } = turn.transcript;
  if (!profile) throw new TypeError('The conversation of this turn is not stored.');
  const isComplete = turnEnd.kind === 'complete';
  const answer = selectKeptAnswer(turn, isComplete);
  const { blocks, content } = answer;
  const status = decideStatus(turn, turnEnd, content);
  const isUnanswered = status === 'interrupted' && content.length === 0;
  const hasRow = content.length > 0 || (isUnanswered && !turn.options.recovered?.canRunContinue);
  const isShown = content.length === blocks.length && content.every((block, at) => block === blocks[at]);
  return {
    isComplete,
    content,
    shown: isShown ? null : blocks,
    status,
    isCommitted: status !== 'failed',
    isUnanswered,
    hasRow,
    repaired: planRepairs(turn, answer, status),
    next: planProfile(turn, answer, { profile, status, hasRow, isComplete, now }),
    bytes,
    // Store the calls of omitted blocks, too: the edge makes these calls as well, and sends their results as text.
    storeCalls: status === 'complete' ? turn.options.prepareCalls?.(blocks) : undefined,
  };
}

function selectKeptAnswer({ transcript, row, builder, repairedCallIds }: EndingTurn, isComplete: boolean): KeptAnswer {
  const { stopReason } = builder;
  const blocks = selectReplayableBlocks(
    builder.blocks,
    isComplete ? { complete: true, stopReason } : { complete: false },
  );
  const isPaused = isComplete && canHavePendingServerResults(stopReason);
  // The answer after a tool loop contains the results of the loop's code. Code without a result is lost, with its calls.
  const endsToolLoop = blocks.length > 0 && row.follows && !isPaused;
  const lostCode = endsToolLoop ? findLostCode(transcript, blocks) : { repaired: [], calls: [] };
  // The thinking of the answer is bound to the messages that change.
  const isBound = lostCode.repaired.length > 0;
  const unbound = isBound ? removeBlocksAndBoundThinking(blocks, ({ type }) => isThinkingType(type)) : blocks;
  return { blocks, content: selectSendableBlocks(unbound, repairedCallIds), isPaused, lostCode };
}

/**
 * @returns the blocks that are sent. A repaired call with signed thinking after it is omitted together with this thinking,
 *   because the signature covers the call as it was before the repair
 */
function selectSendableBlocks(blocks: readonly JsonObject[], repairedCallIds: ReadonlySet<string>): JsonObject[] {
  const lastSigned = blocks.findLastIndex(({ type }) => isThinkingType(type));
  const isRepairedCall = (block: JsonObject) =>
    repairedCallIds.has(toJsonText(block.id)) || ensureObjectInput(block) !== block;
  const bound = new Set(
    blocks.slice(0, Math.max(0, lastSigned)).filter((block) => block.type === 'tool_use' && isRepairedCall(block)),
  );
  return removeBlocksAndBoundThinking(blocks, (block) => bound.has(block)).map(ensureObjectInput);
}

function decideStatus(turn: EndingTurn, turnEnd: TurnEnd, content: readonly JsonObject[]): TurnStatus {
  const { builder, maxTokens, isAcknowledged, newMessages, options } = turn;
  return computeTurnStatus(turnEnd, {
    hasAnswer: content.length > 0,
    isAcknowledged: isAcknowledged && newMessages > 0 && !options.isOfEdge,
    stopReason: builder.stopReason,
    maxTokens,
  });
}

/** @returns the messages of a paused answer or a tool loop that change, because no later turn continues it */
function planRepairs(
  turn: EndingTurn,
  { content, isPaused, lostCode }: KeptAnswer,
  status: TurnStatus,
): PlannedTurnEnd['repaired'] {
  if (lostCode.repaired.length > 0) return lostCode.repaired;
  const { transcript, row, newMessages } = turn;
  const continuesPausedAnswer = content.length > 0 && row.follows && newMessages === 0;
  const isSent = status !== 'failed' && status !== 'refused';
  const isPausedAnswerOver = continuesPausedAnswer ? !isPaused : isSent && isPauseAbandoned(turn);
  return isPausedAnswerOver ? removePendingCallsOfPausedAnswer(transcript, content) : [];
}

/**
 * @returns whether the turn leaves a paused answer unfinished. After a crash this is unknown, so it is assumed for a turn with new
 *   messages; `removePendingCallsOfPausedAnswer` then reads the previous answer
 */
function isPauseAbandoned({ row, newMessages, options }: EndingTurn): boolean {
  return options.isPauseAbandoned ?? (options.recovered !== undefined && newMessages > 0 && !row.follows);
}

/** @returns the profile after the turn. It does not include the turn's cost yet */
function planProfile(
  { transcript, row, builder, answerId, newMessages, options }: EndingTurn,
  { content, lostCode }: KeptAnswer,
  end: { profile: ConversationProfile; status: TurnStatus; hasRow: boolean; isComplete: boolean; now: number },
): ConversationProfile {
  const { profile, hasRow } = end;
  const isCommitted = end.status !== 'failed';
  const next = computeNextProfile(profile, isCommitted, newMessages + (hasRow ? 1 : 0), end.now);
  if (!isCommitted) return next;
  // Advance `through` only for a committed turn, because the number of a failed turn may be used again.
  next.through = row.seq;
  next.answerIds = addAnswerId(transcript, answerId, next.nextMessage);
  if (options.isLaterStep) next.turns -= 1;
  const leftOut = [...lostCode.calls, ...(end.isComplete ? findDroppedCallIds(builder.blocks, content) : [])];
  if (leftOut.length > 0) next.leftOut = [...(profile.leftOut ?? []), ...leftOut];
  const betas = findBetasNeededByBlocks(content);
  if (betas.length > 0) next.betas = [...new Set([...(profile.betas ?? []), ...betas])];
  return next;
}

/** @returns the ids of the calls of an answer that are not in what is kept of it */
function findDroppedCallIds(blocks: readonly StreamedContentBlock[], content: readonly JsonObject[]): string[] {
  const calls = new Set(listToolCallIds(content));
  return listToolCallIds(blocks.map(({ value }) => value)).filter((id) => !calls.has(id));
}
