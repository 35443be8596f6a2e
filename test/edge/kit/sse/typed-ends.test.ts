/** Clients at each byte where a stream can be cut, in their own process. With sockets, at some bytes: `test/e2e/cuts.test.ts`. */
import { ChatAnthropic } from '@langchain/anthropic';
import { expect, test } from 'vitest';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { createSseErrorEvent } from '#edge/kit/http/errors.ts';
import { createEventCompletion, createInterruptionEnding } from '#edge/kit/sse/endings.ts';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { SDKS } from '#test/support/sdks.ts';

const SAID = 'The connection broke.';
const whole = new TextEncoder().encode(TEXT_STREAM);
const ERROR = createSseErrorEvent({ type: 'api_error', message: SAID }, 'req_1');

/** @returns what a caller gets of a stream that was cut there; undefined if its last event lacks its end alone */
function cutAt(place: number): Uint8Array<ArrayBuffer> | undefined {
  const shown = whole.subarray(0, place);
  const reader = new UsageReader();
  reader.addPiece(shown);
  const completed = createEventCompletion(reader.positionInEventFormat);
  if (completed !== undefined) reader.completeUnfinishedEvent(completed);
  if (reader.hasApiEndedStream) return undefined;
  const ending = new TextEncoder().encode(
    (completed ?? '') + createInterruptionEnding(reader.positionInEventFormat, ERROR),
  );
  const all = new Uint8Array(shown.length + ending.length);
  all.set(shown);
  all.set(ending, shown.length);
  return all;
}

let body = whole;
const answer = () =>
  Promise.resolve(new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } }));

async function read(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of events);
}

const request = { model: 'claude-haiku-4-5', max_tokens: 100, messages: [{ role: 'user' as const, content: 'Hi' }] };
const model = new ChatAnthropic({
  model: request.model,
  apiKey: 'any',
  maxTokens: 100,
  maxRetries: 0,
  clientOptions: { fetch: answer },
});

const CLIENTS: [string, () => Promise<void>][] = [
  ...SDKS.map(([name, Client]): [string, () => Promise<void>] => {
    const client = new Client({ apiKey: 'any', maxRetries: 0, fetch: answer });
    return [name, async () => read(await client.messages.create({ ...request, stream: true }))];
  }),
  ['LangChain', async () => read(await model.stream('Hi'))],
];

test.each(CLIENTS)(
  '%s throws an error with the type and message of the error event, wherever a stream is cut',
  async (_, ask) => {
    const wrong: string[] = [];
    let cuts = 0;
    for (let place = 0; place <= whole.length; place += 1) {
      const cut = cutAt(place);
      if (!cut) continue;
      cuts += 1;
      body = cut;
      const thrown: unknown = await ask().then(
        () => 'nothing',
        (error: unknown) => error,
      );
      const { error } = thrown as { error?: { error?: { type?: string; message?: string } } };
      if (error?.error?.type !== 'api_error' || error.error.message !== SAID) wrong.push(`${place}: ${String(thrown)}`);
    }
    expect(wrong).toEqual([]);
    expect(cuts).toBeGreaterThan(whole.length - 5);
  },
);
