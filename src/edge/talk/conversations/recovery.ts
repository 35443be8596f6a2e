/** Ends what was running when the object died, or goes on with it where a room does that. */

import { toApiError } from '../../kit/http/errors.ts';
import type { Settled } from '../../money/contracts/settlement.ts';
import { turnInterrupted } from '../answers/crossing-answer.ts';
import { damageIn } from '../storage/damaged-row.ts';
import type { TurnRow } from '../storage/rows.ts';
import { latestTurn, wakingTurns } from '../storage/turn-queries.ts';
import { closeCrashedRun, endCrashedRun } from '../turn/crashed-run.ts';
import { restoreCrashed } from '../turn/restore-turn.ts';
import type { Runner } from '../turn/running-turn.ts';
import type { ConversationContext, OpenPart } from './parts.ts';

/**
 * Ends the turns that were running when the object crashed, and settles what is not settled.
 *
 * @param goesOn called with the runner of what goes on
 */
export function endCrashedTurns(context: ConversationContext, goesOn: (runner: Runner) => void): void {
  const { transcript, maintenance } = context;
  const unsettled = wakingTurns(transcript);
  const newest = latestTurn(transcript);
  if (newest) maintenance.settlements.doubt(newest);
  const running = unsettled.filter(({ status }) => status === 'running');
  const damaged = new Set<TurnRow>();
  for (const row of running) {
    // Steps have no log.
    const damage = transcript.log.cutDamage(row);
    if (!damage) continue;
    damaged.add(row);
    maintenance.noteDamage(damage);
  }
  const going = [
    ...running.filter(({ run, seq }) => run === seq).map((row) => endOrResume(context, row)),
    ...running.filter(({ run }) => run === null).map((row) => endOrBegin(context, row, damaged.has(row))),
  ].filter((runner) => runner !== undefined);
  for (const runner of going) goesOn(runner);
  const { profile } = transcript;
  // A first turn must not continue a copy that was interrupted.
  if (profile && !profile.exists && !profile.deleted && going.length === 0) transcript.dropUnborn();
  maintenance.confirmSoon(unsettled.length > 0);
}

/** @returns what the first room makes that can go on; undefined if none can */
function byParts({ parts }: ConversationContext, goOn: (part: OpenPart) => Runner | undefined): Runner | undefined {
  for (const part of parts) {
    const runner = goOn(part);
    if (runner) return runner;
  }
  return undefined;
}

/** Ends the step of a run that was interrupted, and the run unless it goes on. */
function endOrResume(context: ConversationContext, row: TurnRow): Runner | undefined {
  const { transcript, now, maintenance } = context;
  const { settlements, events } = maintenance;
  const meterOf = (step: TurnRow) => settlements.meterOf(step);
  const onSettled = (step: TurnRow, settled: Promise<Settled> | undefined) => settlements.follow(step, settled);
  const closing = { transcript, now: now(), error: turnInterrupted(), meterOf, onSettled };
  const crashed = transcript.together(() => closeCrashedRun(row, closing));
  try {
    const resumed = crashed.mayGoOn ? byParts(context, (part) => part.resume?.(crashed)) : undefined;
    if (resumed) return resumed;
  } catch (thrown) {
    // What cannot be read ends all that runs; whose agent is not there ends alone.
    if (damageIn(thrown)) throw thrown;
    closing.error = toApiError(thrown);
  }
  transcript.together(() => {
    endCrashedRun(crashed, closing);
    events.noteEnd(crashed.turn);
  });
  return undefined;
}

/** Ends a turn that was interrupted, unless it begins again. */
function endOrBegin(context: ConversationContext, row: TurnRow, isDamaged: boolean): Runner | undefined {
  const { transcript, now, waitUntil, maintenance } = context;
  let error = turnInterrupted();
  try {
    // A turn in the background stores that it goes up before it does.
    const again =
      row.background && row.sentAt === null ? byParts(context, (part) => part.beginAgain?.(row)) : undefined;
    if (again) return again;
  } catch (thrown) {
    error = toApiError(thrown);
  }
  const turn = restoreCrashed(transcript, row, now());
  // Whatever is left of its log, somebody has heard of it.
  turn.isAcknowledged ||= isDamaged;
  const meter = maintenance.settlements.meterOf(turn.row);
  const settled = transcript.together(() => {
    const confirmed = turn.end({ kind: 'cut', error, end: 'cut' }, meter, now());
    maintenance.events.noteEnd(turn);
    return confirmed;
  });
  if (settled !== undefined) waitUntil(maintenance.settlements.confirm(turn.row, settled));
  return undefined;
}
