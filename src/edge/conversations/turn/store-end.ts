/** Stores the end of a turn: its answer, its row, and the conversation's profile. */

import type { JsonObject } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { type RepairedMessage, storeRepaired } from '../history/repaired-messages.ts';
import type { ConversationProfile, StoredOutcome, TurnRow, TurnStatus } from '../history/storage/rows.ts';
import { NO_ANSWER } from '../history/storage/tables.ts';
import type { Transcript } from '../history/storage/transcript.ts';

/** The changes at the end of a turn. */
export interface PlannedTurnEnd {
  isComplete: boolean;
  outcome: StoredOutcome;
  /** The replayable blocks of the answer. */
  content: JsonObject[];
  /** The blocks that are shown; null if they are the same. */
  shown: readonly JsonObject[] | null;
  status: TurnStatus;
  isCommitted: boolean;
  /** Whether only the question is kept. */
  isUnanswered: boolean;
  /** Whether the answer has a row, which is empty where only the question is kept. */
  hasRow: boolean;
  /** Messages of a paused answer, or of a tool loop, that change. */
  repaired: readonly RepairedMessage[];
  /** The conversation's profile afterwards. */
  next: ConversationProfile;
  /** The bytes of the conversation before the end. */
  bytes: number;
  /** Stores the edge's calls in the answer; undefined if there are none. */
  storeCalls: (() => void) | undefined;
}

/**
 * Stores the end of a turn. Call it without an `await` between this and the other writes of the end: Cloudflare then stores all
 * of them or none (https://developers.cloudflare.com/durable-objects/best-practices/rules-of-durable-objects/).
 *
 * @param context the id of the answer, and whether the turn is a later step of a run
 * @returns the text of the answer; undefined without one
 */
export function storeTurnEnd(
  transcript: Transcript,
  { content, shown, status, isCommitted: committed, hasRow, repaired, next, bytes, storeCalls }: PlannedTurnEnd,
  row: TurnRow,
  context: { id: string; isLaterStep: boolean | undefined; now: number },
): string | undefined {
  const text = content.length > 0 ? stringifyWithRememberedTexts({ role: 'assistant', content }) : undefined;
  if (!committed) transcript.deleteMessages('turn = ?', row.seq);
  else if (hasRow) {
    const key = { seq: next.nextMessage - 1, turn: row.seq, id: context.id };
    const asShown = shown && stringifyWithRememberedTexts({ role: 'assistant', content: shown });
    transcript.addMessage({
      ...key,
      role: 'assistant',
      createdAt: context.now,
      text: text ?? NO_ANSWER,
      shown: asShown,
    });
  }
  storeRepaired(transcript, repaired);
  transcript.storeTurnEnd(row);
  storeCalls?.();
  if (row.run !== null && status === 'complete' && context.isLaterStep) transcript.keepUnsavedProfile(next);
  else transcript.saveProfile(next, bytes);
  return text;
}
