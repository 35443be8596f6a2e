import { isEventStream } from '../../claude/content-type.ts';
import type { UpstreamExchange } from '../../claude/exchange.ts';
import type { StreamReadResult } from '../../claude/relay/tee-reader.ts';
import { SMALL_PIECE_BYTES } from '../../claude/relay/tee-reader.ts';
import { classifyRejectedResponse } from '../../claude/retry.ts';
import type { TurnAborter } from './turn-abort.ts';
import type { TurnRecorder } from './turn-recorder.ts';

/** What reading an answer on needs from its turn. */
export interface ReadStoppedAnswerOptions {
  exchange: UpstreamExchange;
  turn: TurnRecorder;
  abort: TurnAborter;
  now(): number;
}

/** Reads on an answer whose turn was stopped before its headers came, until it ends or is aborted. Its turn takes what it costs. */
export async function drainStoppedAnswer(
  response: Response,
  { exchange, turn, abort, now }: ReadStoppedAnswerOptions,
): Promise<void> {
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
  if (progress.opening) turn.takePieceAfterEnd(progress.opening, now());
  const reader = body.getReader({ mode: 'byob' });
  abort.readers = [reader];
  let buffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  for (;;) {
    const { value, done }: StreamReadResult = await reader.read(new Uint8Array(buffer));
    if (done || !value) return;
    turn.takePieceAfterEnd(value, now());
    buffer = value.buffer as ArrayBuffer;
  }
}
