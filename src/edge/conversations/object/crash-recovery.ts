/** Ends or resumes the turns that a crash has interrupted. */

import { createUnansweredOutcome } from '../../claude/outcome.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { toApiError } from '../../kit/http/errors.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { findDamageInError } from '../history/storage/damaged-row.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import { areMessagesIncomplete } from '../history/storage/turn-notes.ts';
import { listTurnsOfRun, readTurnsAtWake } from '../history/storage/turn-queries.ts';
import { endDamagedTurns } from '../turn/end-damaged-turns.ts';
import { restoreCrashedTurn } from '../turn/restore-turn.ts';
import type { TurnRunner } from '../turn/turn-handle.ts';
import { callHookOfEachPlugin } from './call-hooks.ts';
import type { ConversationContext, ConversationHooks } from './hooks.ts';
import { createLostPromptCounter } from './lost-prompt.ts';
import { createTurnInterruptedError } from './rpc-response.ts';

/** After how many milliseconds the account settles a hold that is not renewed. */
const ORPHANED_MS = 15 * MINUTE_MS;

/**
 * Ends the turns that were running when the object crashed, and settles what is not settled.
 *
 * @param onResumed called with the runner of a turn that continues, as soon as it does: such a turn must not be started again if
 *   something throws later
 * @param isLastTry whether a run whose plugin throws is ended without its plugin
 */
export function endCrashedTurns(
  conversation: ConversationContext,
  { onResumed, isLastTry }: { onResumed: (runner: TurnRunner) => void; isLastTry: boolean },
): void {
  const { transcript, maintenance } = conversation;
  const unsettled = readTurnsAtWake(transcript);
  const running = unsettled.filter(
    ({ status, seq }) => status === 'running' && seq !== conversation.lock.holder?.turn.row.seq,
  );
  for (const row of running.filter(areMessagesIncomplete)) transcript.deleteIncompleteMessages(row.seq);
  for (const row of running) {
    if (row.run !== null && row.run !== row.seq) continue;
    const runner =
      row.run === null ? restartOrEndTurn(conversation, row) : resumeOrEndRun(conversation, row, isLastTry);
    if (runner) onResumed(runner);
  }
  const { storedProfile: profile } = transcript;
  // Delete the remains of an interrupted copy: otherwise, the first turn of a new conversation would continue the copied
  // history.
  if (profile && !profile.exists && !profile.deleted && !conversation.lock.holder) transcript.dropIncompleteCopy();
  maintenance.confirmInBackground(unsettled.length > 0);
}

/**
 * @returns the first runner that a plugin creates for a turn that continues; undefined if none does
 * @throws the error of a plugin, after all others were called
 */
function findFirstPluginRunner(
  { hooks: parts }: ConversationContext,
  goOn: (part: ConversationHooks) => TurnRunner | undefined,
): TurnRunner | undefined {
  const errors: unknown[] = [];
  for (const part of parts) {
    try {
      const runner = goOn(part);
      if (runner) return runner;
    } catch (thrown) {
      if (findDamageInError(thrown)) throw thrown;
      errors.push(thrown);
    }
  }
  if (errors.length > 0) throw errors[0];
  return undefined;
}

/** Ends a run that was interrupted, unless it continues. */
function resumeOrEndRun(conversation: ConversationContext, row: TurnRow, isLastTry: boolean): TurnRunner | undefined {
  const { transcript, now } = conversation;
  try {
    return findFirstPluginRunner(conversation, (part) => part.resume?.(row));
  } catch (thrown) {
    if (findDamageInError(thrown)) throw thrown;
    logBackgroundFailure({ conversation: transcript.uncheckedProfile?.id ?? '', hook: 'resume' }, thrown);
    // Continue only if the run is still running: another plugin may have ended it before this one threw.
    if (transcript.getTurnStatus(row.seq) !== 'running') return undefined;
    // Rethrow unless this is the last attempt: the next recovery may succeed, and then the run keeps the part of the answer
    // that exists.
    if (!isLastTry) throw thrown;
    const steps = listTurnsOfRun(transcript, row.seq).filter(
      ({ status, seq }) => status === 'running' && seq !== row.seq,
    );
    endDamagedTurns(transcript, now());
    for (const step of steps) settleUnreadAttempt(conversation, step, step.sentAt ?? step.beganAt);
    return undefined;
  }
}

/**
 * Settles the hold of an attempt of which no answer was read. If that fails, the account settles it at its deadline.
 *
 * @param sentAt milliseconds since 1970; undefined if it was not sent, so that it costs nothing
 */
export function settleUnreadAttempt(
  { maintenance, now, waitUntil, retries }: ConversationContext,
  row: TurnRow,
  sentAt: number | undefined,
): void {
  const { done } = maintenance.settlements.restoreAttempt(row).settle(createUnansweredOutcome({ sentAt }, now()));
  const recordFailure = (thrown: unknown) =>
    retries.recordFailure('settlement', thrown, now() + ORPHANED_MS, { subject: row.id });
  waitUntil(done.catch(recordFailure));
}

/** Ends a turn that was interrupted, unless it begins again. */
function restartOrEndTurn(conversation: ConversationContext, row: TurnRow): TurnRunner | undefined {
  const { transcript, now, waitUntil, maintenance } = conversation;
  let error = createTurnInterruptedError();
  try {
    // Start a background turn again if it has no `sentAt`: it stores `sentAt` before it sends its request, so no request was
    // sent and nothing is paid twice.
    const again =
      row.background && row.sentAt === null && !areMessagesIncomplete(row)
        ? findFirstPluginRunner(conversation, (part) => part.beginAgain?.(row))
        : undefined;
    if (again) return again;
  } catch (thrown) {
    error = toApiError(thrown);
  }
  const turn = restoreCrashedTurn(transcript, row, now());
  // Prepare the count of the prompt's tokens before the turn ends: if no part of an answer is stored, ending the turn deletes
  // the question.
  const isSendable = turn.status === undefined && !areMessagesIncomplete(row);
  const count = isSendable ? createLostPromptCounter(conversation, row) : undefined;
  const attempt = maintenance.settlements.restoreAttempt(turn.row, count);
  const settled = transcript.runInTransaction(() => {
    const confirmed = turn.end({ kind: 'cut', error, end: 'cut' }, attempt, now());
    callHookOfEachPlugin(conversation, 'storeEndData', (part) => part.storeEndData?.(turn));
    return confirmed;
  });
  if (settled !== undefined) waitUntil(maintenance.settlements.waitForConfirmation(turn.row, settled));
  return undefined;
}
