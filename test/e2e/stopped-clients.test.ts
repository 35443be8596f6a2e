/** Clients that know nothing of Sluice read a response that another client stops. `conversation.test.ts` reads its events. */
import { ChatAnthropic } from '@langchain/anthropic';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '#client/index.ts';
import { AI_SDKS } from '#test/support/ai-sdks.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { SDKS } from '#test/support/sdks.ts';

const MODEL = 'claude-haiku-5-5';
const MAX_TOKENS = 8_000;
const QUESTION = 'Tell me everything about rivers.';
const messages = [{ role: 'user' as const, content: QUESTION }];

let edge: Edge;
let made = 0;

beforeAll(async () => {
  edge = await startSimulatingEdge({ SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '20' });
});
afterAll(() => edge.stop());

/** A conversation for one client, and what stops its response once a second client has received a text of it. */
function openConversation() {
  made += 1;
  const conversation = `stopped-${made}`;
  const sluice = createClient({ baseURL: edge.url });
  const stopAfterText = async () => {
    let stream = await sluice.conversations.resume(conversation, { ifAbsent: 'empty' });
    while (!stream) stream = await sluice.conversations.resume(conversation, { ifAbsent: 'empty' });
    for await (const _ of stream.textDeltas()) if (!stream.stopped) await sluice.conversations.stop(conversation);
    return await stream.finalMessage();
  };
  const readRow = async () => {
    const { data } = await sluice.conversations.messages(conversation);
    const [, row] = data;
    return row;
  };
  return { conversation, headers: { 'sluice-conversation': conversation }, stopAfterText, readRow };
}

const textOf = (content: unknown) => (content as { text?: string }[]).map(({ text = '' }) => text).join('');

test.each(SDKS)('%s ends a stopped response with the stored reason, with and without streaming', async (_, Sdk) => {
  for (const isStreaming of [true, false]) {
    const { headers, stopAfterText, readRow } = openConversation();
    const sdk = new Sdk({ baseURL: edge.url, apiKey: 'any', defaultHeaders: headers, maxRetries: 0 });
    const request = { model: MODEL, max_tokens: MAX_TOKENS, messages };
    const answer = isStreaming ? sdk.messages.stream(request).finalMessage() : sdk.messages.create(request);
    const [message, followed] = await Promise.all([answer, stopAfterText()]);
    const row = await readRow();
    expect(row).toMatchObject({ status: 'stopped', stop_reason: null });
    expect([message.stop_reason, followed.stop_reason]).toEqual([null, null]);
    expect(textOf(message.content)).toBe(textOf(row?.content));
  }
});

test.each(AI_SDKS)('%s reads a stopped response to its end', async (_, sdk) => {
  const { headers, stopAfterText, readRow } = openConversation();
  const chat = sdk.chat({ baseURL: `${edge.url}/v1`, headers }, MODEL, { maxOutputTokens: MAX_TOKENS });
  const [{ text }] = await Promise.all([chat.say(QUESTION), stopAfterText()]);
  expect(text).toBe(textOf((await readRow())?.content));
});

test('LangChain reads a stopped response to its end, with and without streaming', async () => {
  for (const streaming of [true, false]) {
    const { headers, stopAfterText, readRow } = openConversation();
    const clientOptions = { defaultHeaders: headers };
    const options = { model: MODEL, maxTokens: MAX_TOKENS, apiKey: 'any', maxRetries: 0, streaming, clientOptions };
    const model = new ChatAnthropic({ ...options, anthropicApiUrl: edge.url });
    const [{ text }] = await Promise.all([model.invoke(QUESTION), stopAfterText()]);
    expect(text).toBe(textOf((await readRow())?.content));
  }
});
