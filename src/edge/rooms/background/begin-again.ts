/** Goes on after a crash: with a run, and with a turn in the background that has not gone up. */

import { unanswered } from '../../claude/outcome.ts';
import { edit } from '../../kit/json/edit.ts';
import { parseObject } from '../../kit/json/object.ts';
import { numberOfTry } from '../../money/admission/admission.ts';
import { readRequest } from '../../talk/contracts/read-request.ts';
import {
  planAgain,
  runContextOf,
  runnerOfTurn,
  type TurnHooks,
  WATCH_MS,
} from '../../talk/conversations/begin-turn.ts';
import type { ConversationContext } from '../../talk/conversations/maintenance.ts';
import type { TurnRow } from '../../talk/storage/rows.ts';
import { messagesOf } from '../../talk/storage/turn-queries.ts';
import type { Runner } from '../../talk/turn/running-turn.ts';
import { Turn } from '../../talk/turn/turn.ts';
import { grantOfNextTry } from '../../talk/turn/turn-grants.ts';
import type { CrashedRun } from '../runs/crashed-run.ts';
import { Run } from '../runs/run.ts';
import { type RunRequest, storedRunOf } from '../runs/stored-run.ts';

/** How often a turn is begun again. The limit is needed because the turn itself may cause the crash. */
const MOST_BEGINNINGS = 10;

/** Resumes a run from what a crash has left of it. @returns undefined if it cannot be resumed */
export function resumeRun(context: ConversationContext, crashed: CrashedRun, hooks: TurnHooks): Run | undefined {
  const { now } = context;
  const { row } = crashed.turn;
  const stored = storedRunOf(context, row);
  if (!stored) return undefined;
  const { request, planned, carried } = stored;
  context.alarm.watch(now() + WATCH_MS);
  context.maintenance.settlements.resumeRun(row);
  const run = new Run(row, planned, runContextOf(context, request, row, hooks, carried), crashed);
  // It begins a moment later, because it may end at once: before that the caller must have noted it as the running turn.
  context.waitUntil(Promise.resolve().then(() => run.goOnAfterCrash(crashed)));
  return run;
}

/**
 * Begins a turn in the background again, under the next name in the ledger. Its row says that it has not gone up.
 *
 * @returns undefined if its request is not stored
 * @throws ApiError if it cannot be planned any more
 */
export function beginAgain(context: ConversationContext, row: TurnRow, hooks: TurnHooks): Runner | undefined {
  const { transcript, maintenance, now, waitUntil } = context;
  const stored = parseObject(row.request ?? '');
  const grant = grantOfNextTry(row, { earlier: 0, startedAt: now() });
  const { requestId } = grant;
  if (!stored || numberOfTry(requestId) > MOST_BEGINNINGS) return undefined;
  const request = readRequest(stored.request as RunRequest);
  const question = messagesOf(transcript, row.seq).flatMap((seq) =>
    Array.from(transcript.messages.history({ from: seq, to: seq, pending: true }), ({ text }) => text),
  );
  const body = edit(String(stored.rest), { messages: `[${question.join(',')}]` });
  const plan = planAgain(context, request, body, { isAgain: true });
  // The account may have placed a hold for the try that did not go up.
  const { done } = maintenance.settlements.meterOf(row).settle(unanswered({ sentAt: undefined }, now()));
  waitUntil(done.catch(() => {}));
  transcript.changeTurn(row, { grant });
  context.alarm.watch(now() + WATCH_MS);
  const turn = new Turn(transcript, { ...row, grant, request: null }, plan.maxTokens, { newMessages: question.length });
  // Nobody waits for its answer any more, so its end is always sent as an event.
  turn.isReported = true;
  const runner = runnerOfTurn(context, { ...request, requestId }, turn, plan, hooks);
  waitUntil(Promise.resolve().then(() => runner.go(plan)));
  return runner;
}
