/** Turns whose answers come on a clock that is the test's own. */
import { afterEach, beforeEach, expect, onTestFinished, vi } from 'vitest';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { TurnRecorder } from '#edge/conversations/turn/turn-recorder.ts';
import { accountStub } from '#edge/durable/stubs.ts';
import { bindings, conversationsReach, simulate } from './conversations.ts';
import { eventually } from './eventually.ts';
import { resetAll } from './reset.ts';
import { ask, bodyOf } from './turns.ts';
import { sse } from './wire.ts';

const encoder = new TextEncoder();

/** Bytes that the turn which runs has taken, and what waits for more of them: its own upstream. */
let taken = 0;
let wake = () => {};

/** How often a turn looks at what has come. By a clock of the test's own it looks at once. */
export const SHOW_MS = 100;

/** The clock of all conversations; 0 is the real one. */
export const time = { now: 0 };

/** Has each test of a file begin with the simulator and a clock of its own, and leave nothing behind. */
export function keepTime(): void {
  beforeEach(() => {
    simulate();
    time.now = Date.now();
    const { setTimeout } = globalThis;
    const soon = (run: () => void, ms?: number) => setTimeout(run, ms === SHOW_MS ? 0 : ms);
    const looking = vi.spyOn(globalThis, 'setTimeout').mockImplementation(soon as never);
    onTestFinished(() => looking.mockRestore());
    const { take } = TurnRecorder.prototype;
    const taking = vi.spyOn(TurnRecorder.prototype, 'take').mockImplementation(function (
      this: TurnRecorder,
      piece,
      now,
      lateMs,
    ) {
      const result = take.call(this, piece, now, lateMs);
      taken += piece.length;
      wake();
      return result;
    });
    onTestFinished(() => taking.mockRestore());
    const spy = vi
      .spyOn(Conversation.prototype as unknown as { now(): number }, 'now')
      .mockImplementation(() => time.now || Date.now());
    onTestFinished(() => spy.mockRestore());
  });
  afterEach(resetAll);
}

/** Has every conversation answered by these pieces of a stream, each once its time has come, and by silence after them. */
export function answering(piecesOf: () => readonly { at?: number; text: string }[], isOpen = true): void {
  conversationsReach(async (_, { signal }) => {
    const sentAt = time.now;
    let sent = 0;
    taken = 0;
    const rest = [...piecesOf()];
    const aborted = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    aborted.catch(() => {});
    // What came before has been read at its own time.
    const untilTaken = async () => {
      while (taken < sent) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    };
    const body = new ReadableStream(
      {
        type: 'bytes',
        async pull(controller) {
          const next = rest.shift();
          if (next) {
            await untilTaken();
            if (next.at !== undefined) time.now = Math.ceil(sentAt + next.at);
            sent += encoder.encode(next.text).length;
            controller.enqueue(encoder.encode(next.text));
          } else if (isOpen) await aborted;
          else {
            await untilTaken();
            controller.error(new Error('connection reset'));
          }
        },
      },
      { highWaterMark: 0 },
    );
    return sse(body);
  });
}

/** The ledger of an account, once nothing runs any more. */
export async function ledger(name = 'alice') {
  const account = accountStub(bindings, {}, name);
  await eventually(async () => {
    expect((await account.quota()).running_requests).toBe(0);
  });
  return (await account.requests({ limit: 100 })).data;
}

/** Begins a turn. @returns its stream */
export async function begun(
  id: string,
  body: object = bodyOf('Hi', { max_tokens: 128_000 }),
  account = 'alice',
): Promise<ReadableStream<Uint8Array>> {
  const answer = await ask(body, { id, account });
  if (answer.kind !== 'stream') throw new Error(`no stream: ${JSON.stringify(answer)}`);
  return answer.body;
}

/** Reads a stream until it has said this. */
export async function until(reader: ReadableStreamDefaultReader<Uint8Array>, said: string): Promise<string> {
  let text = '';
  while (!text.includes(said)) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it ended before ${said}: ${text}`);
    text += new TextDecoder().decode(value);
  }
  return text;
}
