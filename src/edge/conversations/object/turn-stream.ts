/** Carries a conversation's stream from the object to the caller. */
import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { EVENT_STREAM } from '../../claude/content-type.ts';
import { createUnansweredOutcome } from '../../claude/outcome.ts';
import { chooseNextBuffer, SMALL_PIECE_BYTES } from '../../claude/relay/tee-reader.ts';
import { waitForCaller } from '../../claude/relay/wait-for-caller.ts';
import { joinPieces } from '../../kit/http/body-pieces.ts';
import { decoder, encoder } from '../../kit/http/bytes.ts';
import { ApiError, createSseErrorEvent } from '../../kit/http/errors.ts';
import { LINE_FEED } from '../../kit/json/characters.ts';
import { createInterruptionEnding } from '../../kit/sse/endings.ts';
import type { OutcomeLogger } from '../../money/admission/answer-end.ts';
import { END_OF_STREAM } from '../turn/event-log.ts';
import type { TurnSummary } from '../views/turn-answer.ts';

/** Marks an error of the connection. Without it the error would seem to have the id of the unfinished event. */
const CUT_REMARK = ': sluice-cut\n';

/**
 * Streams a conversation's events to the caller.
 *
 * The stream of an object that died looks complete. Therefore the object marks the end, and if the mark is missing, the caller
 * gets an `error` event. A turn is not stopped when its caller disconnects.
 *
 * @param wake wakes the object. An interrupted turn costs as much as it can have generated until its object wakes
 */
export function streamTurn(
  c: Context<AppEnv>,
  answer: { first?: string; body: ReadableStream<Uint8Array> },
  headers: Record<string, string>,
  log: (...endStream: Parameters<OutcomeLogger>) => void,
  wake: () => Promise<unknown>,
): Response {
  const { readable, writable } = new IdentityTransformStream();
  const { signal } = c.req.raw;
  const body = answer.body.getReader({ mode: 'byob' });
  const carried = Promise.withResolvers<void>();
  let isOpen = true;
  const end = (json: string | undefined, otherwise: 'client_gone' | 'cut' = 'client_gone') => {
    if (!isOpen) return;
    isOpen = false;
    const summary = json ? (JSON.parse(json) as TurnSummary) : undefined;
    if (summary) log(summary.outcome, summary.nanodollars);
    else log({ ...createUnansweredOutcome({ sentAt: undefined }, 0), error_type: undefined, end: otherwise });
    // Dispose of the RPC result, so that the object's isolate can free what it refers to:
    // https://developers.cloudflare.com/workers/runtime-apis/rpc/lifecycle
    (answer as Partial<Disposable>)[Symbol.dispose]?.();
    carried.resolve();
  };
  const handleCallerDisconnect = () => {
    // Stop copying to the caller who has disconnected; the turn itself continues. Do not wait for a pending write, which may
    // never settle after a disconnect.
    body.cancel().catch(() => {});
    end(undefined);
  };
  if (signal.aborted) handleCallerDisconnect();
  else {
    signal.addEventListener('abort', handleCallerDisconnect, { once: true });
    const carrying = copyEventsToCaller(answer.first ?? '', body, writable, c).then(async (summary) => {
      end(summary, signal.aborted ? 'client_gone' : 'cut');
      // Wake the object, so that it ends an interrupted turn. If it cannot be reached, ignore that: its alarm wakes it later.
      if (summary === undefined && !signal.aborted) await wake().catch(() => undefined);
    });
    // Copying rejects if a write fails. Then the caller has disconnected, although `signal` has not fired yet.
    c.executionCtx.waitUntil(carrying.catch(handleCallerDisconnect));
  }
  c.executionCtx.waitUntil(carried.promise);
  return new Response(readable, { headers: createEventStreamHeaders(headers) });
}

export function createEventStreamHeaders(headers: Record<string, string>): Record<string, string> {
  return {
    ...headers,
    'content-type': `${EVENT_STREAM}; charset=utf-8`,
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
  };
}

/**
 * Copies the events. A caller that takes nothing for STREAM_IDLE_MS counts as gone, since the object stays awake for its
 * stream. It can resume.
 *
 * @returns the turn's summary as JSON; undefined if the stream was interrupted
 */
async function copyEventsToCaller(
  first: string,
  reader: ReadableStreamBYOBReader,
  writable: WritableStream<Uint8Array>,
  c: Context<AppEnv>,
): Promise<string | undefined> {
  const { STREAM_IDLE_MS: idleMs } = c.get('settings');
  const writer = writable.getWriter();
  const tail = new UnfinishedEventBuffer();
  let buffer: ArrayBuffer = new ArrayBuffer(SMALL_PIECE_BYTES);
  let summary: string | undefined;
  if (first !== '') {
    const events = encoder.encode(first);
    tail.addBytes(events);
    // Do not await this write, so that the next read runs at the same time. Writes keep their order.
    writer.write(events).catch(() => {});
  }
  for (;;) {
    const { value } = await reader.read(new Uint8Array(buffer)).catch(() => ({ value: undefined }));
    if (!value || value.length === 0) break;
    if (summary === undefined) {
      const end = value.indexOf(END_OF_STREAM);
      const events = end < 0 ? value : value.subarray(0, end);
      if (end >= 0) summary = decoder.decode(value.subarray(end + 1));
      tail.addBytes(events);
      if (events.length > 0) await waitForCaller(writer.write(events), writer, idleMs);
    } else summary += decoder.decode(value);
    buffer = chooseNextBuffer(value);
  }
  if (summary === undefined) {
    const error = CUT_REMARK + createSseErrorEvent(createBrokenStreamError(), c.get('requestId'));
    const ending = encoder.encode(createInterruptionEnding(tail.streamEndState, error));
    await waitForCaller(writer.write(ending), writer, idleMs);
  }
  writer.close().catch(() => {});
  return summary;
}

/** The bytes since the last complete event, which decide how an error can be appended. */
class UnfinishedEventBuffer {
  #parts: Uint8Array[] = [];

  addBytes(bytes: Uint8Array): void {
    let boundary = bytes.length;
    while (boundary > 1 && !(bytes[boundary - 1] === LINE_FEED && bytes[boundary - 2] === LINE_FEED)) boundary -= 1;
    if (boundary > 1) this.#parts = [];
    const rest = boundary > 1 ? bytes.subarray(boundary) : bytes;
    if (rest.length > 0) this.#parts.push(rest.slice());
  }

  get streamEndState() {
    // Join the pieces before decoding: the end of a piece may be in the middle of a character.
    const lines = decoder.decode(joinPieces(this.#parts)).split('\n');
    const unfinishedLine = lines.pop() ?? '';
    const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice(6));
    return {
      isAtBoundary: unfinishedLine === '' && lines.every((line) => line === ''),
      unfinishedLine,
      data: data.length === 0 ? undefined : data.join('\n'),
    };
  }
}

function createBrokenStreamError(): ApiError {
  return new ApiError(
    'api_error',
    'The connection to the conversation broke during the response. Resume it with GET /conversations/:id/stream.',
    { logged: 'conversation_cut' },
  );
}
