/** What runs have in a conversation's object: they begin where the edge calls tools, and go on after a crash. */

import { damageOf } from '../../conversations/history/storage/damaged-row.ts';
import type { TurnRow } from '../../conversations/history/storage/rows.ts';
import type { ConversationContext, ConversationPlugin } from '../../conversations/object/hooks.ts';
import { turnInterrupted } from '../../conversations/object/rpc-response.ts';
import type { Runner } from '../../conversations/turn/turn-handle.ts';
import { toApiError } from '../../kit/http/errors.ts';
import type { Settled } from '../../money/contracts/settlement.ts';
import { beginRun, resumeRun } from './begin-run.ts';
import { closeCrashedRun, endCrashedRun } from './crashed-run.ts';
import { createTurnEvents } from './create-turn-events.ts';
import { RunExecutor } from './run-executor.ts';

export const runsPart: ConversationPlugin = {
  createHooks: (conversation) => ({
    run: ({ request }, planned, row) => beginRun(conversation, request, planned, row),
    tell: (turn) => createTurnEvents(conversation).noteEnd(turn),
    alarm() {
      conversation.waitUntil(createTurnEvents(conversation).send());
      if (conversation.runner instanceof RunExecutor) conversation.runner.wake(conversation.now());
    },
    isOpen: () => createTurnEvents(conversation).isOpen,
    resume: (row) => (row.run === row.seq ? endOrResumeRun(conversation, row) : undefined),
  }),
};

/** Ends the step of a run that was interrupted, and the run unless it goes on. */
function endOrResumeRun(conversation: ConversationContext, row: TurnRow): Runner | undefined {
  const { transcript, now, maintenance } = conversation;
  const { settlements } = maintenance;
  const meterOf = (step: TurnRow) => settlements.meterOf(step);
  const onSettled = (step: TurnRow, settled: Promise<Settled> | undefined) => settlements.track(step, settled);
  const closing = { transcript, now: now(), error: turnInterrupted(), meterOf, onSettled };
  const crashed = transcript.transact(() => closeCrashedRun(row, closing));
  try {
    const resumed = crashed.mayGoOn ? resumeRun(conversation, crashed) : undefined;
    if (resumed) return resumed;
  } catch (thrown) {
    // What cannot be read ends all that runs; what cannot begin ends alone.
    if (damageOf(thrown)) throw thrown;
    closing.error = toApiError(thrown);
  }
  transcript.transact(() => {
    endCrashedRun(crashed, closing);
    createTurnEvents(conversation).noteEnd(crashed.turn);
  });
  return undefined;
}
