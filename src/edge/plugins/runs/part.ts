/** Runs in a conversation's object: begin if the edge calls tools, and are resumed after a crash. */

import { findDamageInError } from '../../conversations/history/storage/damaged-row.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import type { ConversationContext, ConversationPlugin } from '../../conversations/object/hooks.ts';
import { createTurnInterruptedError } from '../../conversations/object/rpc-response.ts';
import type { TurnRunner } from '../../conversations/turn/turn-handle.ts';
import { toApiError } from '../../kit/http/errors.ts';
import type { SettlementResult } from '../../money/contracts/settlement.ts';
import { beginRun, resumeRunAfterCrash } from './begin-run.ts';
import { endInterruptedStep, endUnresumableRun } from './crashed-run.ts';
import { getTurnEventSender } from './create-turn-events.ts';
import { RunExecutor } from './run-executor.ts';

export const runsPart: ConversationPlugin = {
  createHooks: (conversation) => ({
    run: ({ request }, planned, row) => beginRun(conversation, request, planned, row),
    storeEndData: (turn) => getTurnEventSender(conversation).storeTurnEndedEvent(turn),
    alarm() {
      conversation.waitUntil(getTurnEventSender(conversation).sendDueEvents());
      const { holder } = conversation.lock;
      if (holder instanceof RunExecutor) holder.endWaitIfDue(conversation.now());
    },
    hasPendingWork: () => getTurnEventSender(conversation).canHaveUnsentEvents,
    resume: (row) => (row.run === row.seq ? endOrResumeCrashedRun(conversation, row) : undefined),
  }),
};

/** Ends the interrupted step of a run, and the run itself unless it can be resumed. */
function endOrResumeCrashedRun(conversation: ConversationContext, row: TurnRow): TurnRunner | undefined {
  const { transcript, now, maintenance } = conversation;
  const { settlements } = maintenance;
  const restoreAttempt = (step: TurnRow) => settlements.restoreAttempt(step);
  const onSettled = (step: TurnRow, settled: Promise<SettlementResult> | undefined) =>
    settlements.storeConfirmationLater(step, settled);
  const closing = { transcript, now: now(), error: createTurnInterruptedError(), restoreAttempt, onSettled };
  const crashed = transcript.runInTransaction(() => endInterruptedStep(row, closing));
  try {
    const resumed = crashed.mayGoOn ? resumeRunAfterCrash(conversation, crashed) : undefined;
    if (resumed) return resumed;
  } catch (thrown) {
    // Rethrow if a row is damaged, because that affects the whole conversation. Any other error ends only this run.
    if (findDamageInError(thrown)) throw thrown;
    closing.error = toApiError(thrown);
  }
  transcript.runInTransaction(() => {
    endUnresumableRun(crashed, closing);
    getTurnEventSender(conversation).storeTurnEndedEvent(crashed.turn);
  });
  return undefined;
}
