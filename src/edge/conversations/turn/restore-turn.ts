/** Restores turns from their rows: turns that a crash interrupted, and turns that a client requests again. */

import { ADVISOR_BLOCK, isThinkingType } from '../../claude/usage/hidden-output.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { parseEventRememberingInput } from '../../kit/json/input-texts.ts';
import { type JsonObject, removeUndefined } from '../../kit/json/object.ts';
import { SseEventReader } from '../../kit/sse/frames.ts';
import type { StoredGrant } from '../../money/admission/price-outcome.ts';
import { selectReplayableBlocks } from '../history/replayable-blocks.ts';
import type { RowTime } from '../history/storage/log-rows.ts';
import type { TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import { findTurnPauseReason } from '../history/storage/turn-queries.ts';
import { TurnEventLog } from './event-log.ts';
import { MessageBuilder } from './message-builder.ts';
import { computeStoreDelayMs, TOUCH_MS } from './store-schedule.ts';
import { parseErrorEvent, type TurnResult } from './turn-ending.ts';
import { COVER_MS } from './turn-grants.ts';
import { TurnRecorder } from './turn-recorder.ts';

/** A turn with a running server tool died at most so many milliseconds after the newest time in its rows. */
const TOUCHED_MS = TOUCH_MS + 1_000;

/** Milliseconds for which a timer or the end of a connection may be late. */
const LATE_MS = 1_000;
/** How many event numbers are skipped after a crash: more than can have been shown without being stored. */
export const SKIPPED_EVENT_NUMBERS = 100_000;

/**
 * Restores a turn that a crash interrupted, as far as its log was stored.
 *
 * @param wokeAt when the object woke again; milliseconds since 1970
 */
export function restoreCrashedTurn(transcript: Transcript, row: TurnRow, wokeAt: number): TurnRecorder {
  const { text, rows } = transcript.log.readLog(row);
  const stored = encoder.encode(text);
  const frames = new SseEventReader();
  const builder = new MessageBuilder();
  let events = 0;
  for (const { data } of frames.readCompletedEvents(stored)) {
    events += 1;
    builder.addEventData(parseEventRememberingInput(data) ?? {});
  }
  const log = new TurnEventLog(transcript, row, { events, rows });
  log.skip(SKIPPED_EVENT_NUMBERS);
  const unseen = measureUnseenTimeAtCrash(transcript.log.findLastRowTime(row.run ?? row.seq), row, builder, wokeAt);
  const turn = new TurnRecorder(transcript, row, 1, {
    log,
    recovered: { builder, frames, bytes: stored.length, ...unseen },
  });
  // Without a stored time, assume that the request was sent at the earliest possible time, when the turn began. This way the
  // estimate of unseen output is not too low.
  turn.progress.sentAt = row.sentAt ?? row.beganAt;
  turn.status = events > 0 ? 200 : undefined;
  // The caller knows of the turn if it has received an event, a ping, or the 202 of a background turn. Such a turn is kept in
  // the history even without an answer.
  const wasSilent = (row.coversUntil ?? 0) > turn.progress.sentAt + COVER_MS;
  turn.isAcknowledged = rows > 0 || wasSilent || row.background === 1;
  return turn;
}

/** Restores a turn that has ended, from its log. */
export function restoreEndedTurn(transcript: Transcript, row: TurnRow): TurnRecorder {
  const { outcome, status } = row;
  if (!outcome) throw new TypeError('The turn has not ended, so it cannot be restored from its log.');
  const turn = new TurnRecorder(transcript, row, 1);
  let error: TurnResult['error'];
  for (const { event, data } of new SseEventReader().readCompletedEvents(
    encoder.encode(transcript.log.readLog(row).text),
  )) {
    if (event === 'error') error = parseErrorEvent(data);
    else turn.builder.addEventData(parseEventRememberingInput(data) ?? {});
  }
  const { message, blocks } = turn.builder;
  const content =
    status === 'stopped' ? selectReplayableBlocks(blocks, { complete: false }) : blocks.map(({ value }) => value);
  const summary = { outcome, nanodollars: row.cost };
  const paused = findTurnPauseReason(transcript, row.seq) ?? undefined;
  turn.result = {
    status,
    summary,
    message: error ? undefined : { ...message, content },
    error,
    ...removeUndefined({ paused }),
  };
  return turn;
}

/** @returns whether a block that has ended is a use of a tool of the API, which runs. An advisor writes */
function isRunningServerTool({ type, name }: JsonObject = {}): boolean {
  return typeof type === 'string' && type !== 'tool_use' && type.endsWith('tool_use') && name !== ADVISOR_BLOCK;
}

/** How long the edge did not see the model's output before a crash; milliseconds. */
interface UnseenTimeAtCrash {
  /** How long it may have written unseen output, in all. */
  unseenMs: number;
  /** The last part of it: since the newest row. */
  lostMs: number;
}

/**
 * Measures from a turn's rows how long output was unseen because of a crash. The connection to the upstream died with the
 * object, at the latest when the object woke again. While text was shown, it died before the next row was due; while a server
 * tool ran, before the newest row was to be touched.
 *
 * @param newest the times of the newest row of its log
 * @param wokeAt when the object woke again; milliseconds since 1970
 */
export function measureUnseenTimeAtCrash(
  newest: RowTime | undefined,
  row: Pick<TurnRow, 'sentAt' | 'beganAt' | 'coversUntil'> & { grant: Pick<StoredGrant, 'terms'> | null },
  { blocks, openBlockIndices: openIndices }: Pick<MessageBuilder, 'blocks' | 'openBlockIndices'>,
  wokeAt: number,
): UnseenTimeAtCrash {
  const sentAt = row.sentAt ?? row.beganAt;
  // Ignore a newest row from before this request: the steps of a run share one log, so the row may belong to the previous step.
  const { at, unseenMs } = newest && newest.at >= sentAt ? newest : { at: sentAt, unseenMs: 0 };
  const last = blocks.at(-1);
  // Output may be unseen while a tool's input is written, because the API may send the input in large pieces.
  const isHidden = isThinkingType(last?.value.type) || last?.value.type === 'tool_use';
  const isUnseen = !last || openIndices.length === 0 || isHidden;
  const coveredAt = (row.coversUntil ?? 0) - COVER_MS;
  const due = isUnseen
    ? Math.max(coveredAt, at) +
      (newest && openIndices.length === 0 && isRunningServerTool(last?.value) ? TOUCHED_MS : COVER_MS)
    : at + computeStoreDelayMs(at - sentAt, row.grant?.terms?.serverTools !== undefined) + LATE_MS;
  const lostMs = Math.max(0, Math.min(due, Math.max(wokeAt, at) + LATE_MS) - at);
  return { unseenMs: unseenMs + lostMs, lostMs };
}
