import { isEventStream } from '../../claude/content-type.ts';
import type { Exchange } from '../../claude/exchange.ts';
import type { Piece } from '../../claude/relay/tee-reader.ts';
import { SMALL_PIECE_BYTES } from '../../claude/relay/tee-reader.ts';
import { classifyRejectedResponse } from '../../claude/retry.ts';
import type { TurnAbort } from './turn-abort.ts';
import type { TurnRecorder } from './turn-recorder.ts';

/** What reading an answer on needs from its turn. */
export interface LateReader {
  exchange: Exchange;
  turn: TurnRecorder;
  abort: TurnAbort;
  now(): number;
}

/** Reads on an answer whose turn was stopped before its headers came, until it ends or is aborted. Its turn takes what it costs. */
export async function readStoppedAnswer(response: Response, { exchange, turn, abort, now }: LateReader): Promise<void> {
  const { progress } = turn;
  turn.begin(now());
  turn.status = response.status;
  turn.upstreamRequestId = exchange.upstreamRequestId;
  if (!response.ok) {
    const { mayHaveRun, response: refusal } = await classifyRejectedResponse(response, progress.elapsedMs ?? 0);
    if (!mayHaveRun) progress.sentAt = undefined;
    if (!refusal.bodyUsed) await refusal.body?.cancel();
    return;
  }
  const { body } = response;
  if (!body || !isEventStream(response)) return;
  turn.firstByteAt = now();
  if (progress.opening) turn.takeLate(progress.opening, now());
  const reader = body.getReader({ mode: 'byob' });
  abort.readers = [reader];
  let buffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  for (;;) {
    const { value, done }: Piece = await reader.read(new Uint8Array(buffer));
    if (done || !value) return;
    turn.takeLate(value, now());
    buffer = value.buffer as ArrayBuffer;
  }
}
