/** Sends pings to a caller whose turn cannot begin yet, before networks close the silent connection. */

import { createUnansweredOutcome } from '../../claude/outcome.ts';
import { resolveWithin } from '../../kit/async/timeout.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { createSseErrorEvent } from '../../kit/http/errors.ts';
import { PING_EVENT } from '../turn/event-log.ts';
import { PING_MS } from '../turn/turn-timer.ts';
import type { TurnAnswer } from '../views/turn-answer.ts';

/**
 * Waits for a turn's answer, unless the work before it takes longer than a stream may be silent.
 *
 * @param turn the id that the turn will have
 * @param coming the answer, which comes after that work. It never rejects
 * @returns the answer, or a stream that begins with pings
 */
export async function waitForAnswerSendingPings(
  turn: string,
  work: Promise<unknown>,
  coming: Promise<TurnAnswer>,
  { requestId, waitUntil }: { requestId: string; waitUntil(work: Promise<unknown>): void },
): Promise<TurnAnswer> {
  const returnTrue = () => true;
  if (await resolveWithin(work.then(returnTrue, returnTrue), PING_MS)) return await coming;
  const { readable, writable } = new IdentityTransformStream();
  // If the caller disconnects, the pings fail. Continue to wait for the work anyway: the turn must not end with its caller.
  waitUntil(sendPingsUntilAnswered(coming, writable, requestId).catch(() => coming));
  return { kind: 'stream', turn, headers: {}, body: readable };
}

async function sendPingsUntilAnswered(
  coming: Promise<TurnAnswer>,
  writable: WritableStream<Uint8Array>,
  requestId: string,
): Promise<void> {
  const writer = writable.getWriter();
  const writeText = (text: string) => writer.write(encoder.encode(text));
  let answer: TurnAnswer | undefined;
  for (; !answer; answer = await resolveWithin(coming, PING_MS)) await writeText(PING_EVENT);
  // The response headers are already sent, so report a truncated history in a comment of the stream instead of the
  // `sluice-history` header.
  if (answer.kind !== 'error' && answer.headers['sluice-history']) await writeText(': sluice-history truncated\n\n');
  if (answer.kind === 'stream') {
    await writeText(answer.first ?? '');
    writer.releaseLock();
    return await answer.body.pipeTo(writable);
  }
  let rest = answer.kind === 'complete_stream' ? answer.events : '';
  let trailer: unknown = answer.kind === 'error' ? undefined : answer.trailer;
  if (answer.kind === 'response') rest = `event: error\ndata: ${answer.body.replaceAll('\n', ' ')}\n\n`;
  if (answer.kind === 'error') {
    rest = createSseErrorEvent(answer.error, requestId);
    trailer = {
      outcome: { ...createUnansweredOutcome({ sentAt: undefined }, 0), error_type: answer.error.logged },
      nanodollars: 0,
    };
  }
  await writeText(`${rest}\0${JSON.stringify(trailer)}`);
  await writer.close();
}
