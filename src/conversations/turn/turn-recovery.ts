/** Turns of which only their rows are there: of a process that died, and of one that is asked for again. */

import { encoder } from '../../http/bytes.ts';
import { FrameReader } from '../../sse/frames.ts';
import { isThinkingType } from '../../upstream/usage/hidden-output.ts';
import { replayableBlocks } from '../history/replayable-blocks.ts';
import type { TurnRow } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import { EventLog } from './event-log.ts';
import { MessageBuilder } from './message-builder.ts';
import { COVER_MS, Turn } from './turn.ts';
import { type Ended, errorIn, eventData } from './turn-ending.ts';

/** What is said is stored this often, and a little later. */
const LONGEST_SILENCE_MS = 1_000;
/** More events than can have been shown and not stored. */
const MOST_LOST = 100_000;

/** @returns the turn of a process that died, as far as its log tells. */
export function recoverTurn(transcript: Transcript, row: TurnRow): Turn {
  const { text, rows } = transcript.log.of(row);
  const stored = encoder.encode(text);
  const frames = new FrameReader();
  const assembly = new MessageBuilder();
  let events = 0;
  for (const { data } of frames.push(stored)) {
    events += 1;
    if (assembly.takeLike(data) === undefined) assembly.take(eventData(data) ?? {}, data);
  }
  const log = new EventLog(transcript, row, { events, rows });
  log.leaveOut(MOST_LOST);
  const unseenMs = unseenWhenLost(transcript, row, assembly);
  const turn = new Turn(transcript, row, 1, { found: { log, assembly, frames, bytes: stored.length, unseenMs } });
  // Before it was sent, nothing was stored of what it may cost.
  turn.course.sentAt = row.sentAt ?? row.beganAt;
  turn.status = events > 0 ? 200 : undefined;
  return turn;
}

/** @returns a turn that has ended, as its log tells it again. */
export function recallTurn(transcript: Transcript, row: TurnRow): Turn {
  const turn = new Turn(transcript, row, 1);
  let error: Ended['error'];
  for (const { event, data } of new FrameReader().push(encoder.encode(transcript.log.of(row).text))) {
    if (event === 'error') error = errorIn(data);
    else turn.assembly.take(eventData(data) ?? {});
  }
  const { message, blocks } = turn.assembly;
  const content =
    row.status === 'stopped' ? replayableBlocks(blocks, { complete: false }) : blocks.map(({ value }) => value);
  const { outcome } = row;
  if (!outcome) throw new TypeError('A turn that has not ended.');
  turn.ended = {
    status: row.status,
    trailer: { outcome, nanodollars: row.cost },
    message: error ? undefined : { ...message, content },
    error,
  };
  return turn;
}

/** @returns how long a turn that died may have written what nobody saw: no longer than what was stored covers. */
function unseenWhenLost(transcript: Transcript, row: TurnRow, { blocks, openIndices }: MessageBuilder): number {
  const sentAt = row.sentAt ?? row.beganAt;
  const { at = sentAt, unseenMs = 0 } = transcript.log.last(row.seq) ?? {};
  const last = blocks.at(-1);
  // The input of a call may come in large pieces.
  const isHidden = isThinkingType(last?.value.type) || last?.value.type === 'tool_use';
  const isUnseen = !last || openIndices.length === 0 || isHidden;
  if (!isUnseen) return unseenMs + LONGEST_SILENCE_MS;
  return unseenMs + Math.max(0, Math.max(row.coversUntil ?? 0, at + COVER_MS) - at);
}
