/** Begins a turn in the background again that a crash has kept from being sent. */

import { PIECE_CHARACTERS } from '../../../conversations/history/storage/message-text.ts';
import type { TurnRow } from '../../../conversations/history/storage/rows.ts';
import type { TurnNotes } from '../../../conversations/history/storage/turn-notes.ts';
import { listMessageNumbersOfTurn } from '../../../conversations/history/storage/turn-queries.ts';
import { createSingleRequestRunner, replanStoredRequest, WATCH_MS } from '../../../conversations/object/begin-turn.ts';
import type { StartedTurnRequest } from '../../../conversations/object/contract.ts';
import { settleUnreadAttempt } from '../../../conversations/object/crash-recovery.ts';
import type { BufferedTurnRequest, ConversationContext } from '../../../conversations/object/hooks.ts';
import { createNextAttemptGrant } from '../../../conversations/turn/turn-grants.ts';
import type { TurnRunner } from '../../../conversations/turn/turn-handle.ts';
import { TurnRecorder } from '../../../conversations/turn/turn-recorder.ts';
import { editJson } from '../../../kit/json/edit.ts';
import { isObject } from '../../../kit/json/object.ts';
import { parseAttemptNumber } from '../../../money/admission/reserve-attempt.ts';
import { toStorableTurnRequest } from '../stored-run.ts';

/** How often a turn is begun again. The limit is needed because the turn itself may cause the crash. */
const MOST_BEGINNINGS = 10;

/** The note with the request that a background turn needs to begin again if it was not sent. */
const KEPT_REQUEST = 'request';

/** @returns the note with which a turn can begin again; undefined if it is too long for the turn's row */
export function createResumableRequestNote(request: BufferedTurnRequest): TurnNotes | undefined {
  const stored = { request: toStorableTurnRequest(request), rest: editJson(request.body, { messages: '[]' }) };
  return JSON.stringify(stored).length > PIECE_CHARACTERS ? undefined : { [KEPT_REQUEST]: stored };
}

/**
 * Begins a background turn again, with the next attempt id in the ledger. Call it only if its row shows that it was not sent.
 *
 * @returns undefined if its request is not stored
 * @throws ApiError if it cannot be planned any more
 */
export function resumeBackgroundTurn(conversation: ConversationContext, row: TurnRow): TurnRunner | undefined {
  const { transcript, now, waitUntil } = conversation;
  const { [KEPT_REQUEST]: stored, ...notes } = row.notes ?? {};
  const grant = createNextAttemptGrant(row, { earlier: 0, startedAt: now() });
  const { requestId } = grant;
  if (!isObject(stored) || parseAttemptNumber(requestId) > MOST_BEGINNINGS) return undefined;
  const request = stored.request as StartedTurnRequest;
  const question = listMessageNumbersOfTurn(transcript, row.seq).flatMap((seq) =>
    Array.from(transcript.messages.readMessages({ from: seq, to: seq, pending: true }), ({ text }) => text),
  );
  const body = editJson(String(stored.rest), { messages: `[${question.join(',')}]` });
  const plan = replanStoredRequest(conversation, request, body, { isAgain: true });
  // The account may have placed a hold for the attempt that was not sent. Settle that attempt as unsent, which releases the
  // hold.
  settleUnreadAttempt(conversation, row, undefined);
  transcript.updateTurn(row, { grant });
  conversation.alarm.scheduleWatchAt(now() + WATCH_MS);
  const turn = new TurnRecorder(transcript, { ...row, grant, notes }, plan.maxTokens, { newMessages: question.length });
  // After a restart, no connection waits for the response, so report the end of the turn as an event in any case.
  turn.isReported = true;
  const runner = createSingleRequestRunner(
    conversation,
    { ...request, call: { ...request.call, id: requestId } },
    turn,
    plan,
  );
  waitUntil(Promise.resolve().then(() => runner.runToEnd(plan)));
  return runner;
}
