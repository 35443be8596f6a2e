/** Turns whose answers come on a clock that is the test's own. */
import { afterEach, beforeEach, expect, onTestFinished, vi } from 'vitest';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { TurnRecorder } from '#edge/conversations/turn/turn-recorder.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bindings, installSimulator, setConversationUpstream } from './conversations.ts';
import { eventually } from './eventually.ts';
import { resetAll } from './reset.ts';
import { createBody, sendTurn } from './turns.ts';
import { sseResponse } from './wire.ts';

const encoder = new TextEncoder();

/** Bytes that the turn which runs has taken, and what waits for more of them: its own upstream. */
let takenBytes = 0;
let wakeWaiting = () => {};

/** How often a turn looks at what has come. By a clock of the test's own it looks at once. */
export const CHECK_INTERVAL_MS = 100;

/** The clock of all conversations; 0 is the real one. */
export const testTime = { now: 0 };

/** Has each test of a file begin with the simulator and a clock of its own, and leave nothing behind. */
export function installTestTime(): void {
  beforeEach(() => {
    installSimulator();
    testTime.now = Date.now();
    const { setTimeout } = globalThis;
    const setShortTimeout = (run: () => void, ms?: number) => setTimeout(run, ms === CHECK_INTERVAL_MS ? 0 : ms);
    const looking = vi.spyOn(globalThis, 'setTimeout').mockImplementation(setShortTimeout as never);
    onTestFinished(() => looking.mockRestore());
    const { takePiece: take } = TurnRecorder.prototype;
    const taking = vi.spyOn(TurnRecorder.prototype, 'takePiece').mockImplementation(function (
      this: TurnRecorder,
      piece,
      now,
      lateMs,
    ) {
      const result = take.call(this, piece, now, lateMs);
      takenBytes += piece.length;
      wakeWaiting();
      return result;
    });
    onTestFinished(() => taking.mockRestore());
    const spy = vi
      .spyOn(Conversation.prototype as unknown as { now(): number }, 'now')
      .mockImplementation(() => testTime.now || Date.now());
    onTestFinished(() => spy.mockRestore());
  });
  afterEach(resetAll);
}

/** Has every conversation answered by these pieces of a stream, each once its time has come, and by silence after them. */
export function answerWithPieces(piecesOf: () => readonly { at?: number; text: string }[], isOpen = true): void {
  setConversationUpstream(async (_, { signal }) => {
    const sentAt = testTime.now;
    let sent = 0;
    takenBytes = 0;
    const rest = [...piecesOf()];
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    aborted.catch(() => {});
    // What came before has been read at its own time.
    const waitUntilTaken = async () => {
      while (takenBytes < sent) {
        await new Promise<void>((resolve) => {
          wakeWaiting = resolve;
        });
      }
    };
    const body = new ReadableStream(
      {
        type: 'bytes',
        async pull(controller) {
          const next = rest.shift();
          if (next) {
            await waitUntilTaken();
            if (next.at !== undefined) testTime.now = Math.ceil(sentAt + next.at);
            sent += encoder.encode(next.text).length;
            controller.enqueue(encoder.encode(next.text));
          } else if (isOpen) await aborted;
          else {
            await waitUntilTaken();
            controller.error(new Error('connection reset'));
          }
        },
      },
      { highWaterMark: 0 },
    );
    return sseResponse(body);
  });
}

/** The ledger of an account, once nothing runs any more. */
export async function readLedger(name = 'alice') {
  const account = getAccountStub(bindings, {}, name);
  await eventually(async () => {
    expect((await account.getQuotaReport()).running_requests).toBe(0);
  });
  return (await account.listRequests({ limit: 100 })).data;
}

/** Begins a turn. @returns its stream */
export async function startTurnStream(
  id: string,
  body: object = createBody('Hi', { max_tokens: 128_000 }),
  account = 'alice',
): Promise<ReadableStream<Uint8Array>> {
  const answer = await sendTurn(body, { id, account });
  if (answer.kind !== 'stream') throw new Error(`no stream: ${JSON.stringify(answer)}`);
  return answer.body;
}

/** Reads a stream until it has said this. */
export async function readUntilText(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  expected: string,
): Promise<string> {
  let text = '';
  while (!text.includes(expected)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it ended before ${expected}: ${text}`);
    text += new TextDecoder().decode(value);
  }
  return text;
}
