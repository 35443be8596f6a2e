/** Clients that know nothing of agents, and must send a model and `max_tokens`: a header makes a stored agent answer them. */

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ChatAnthropic } from '@langchain/anthropic';
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { createClient } from '#client/client.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { AI_SDKS } from '#test/support/ai-sdks.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { SDKS } from '#test/support/sdks.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '#test/support/upstream.ts';

// The AI SDK warns of a result of a tool that it has not called, which is what a run is.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

const MODEL = 'claude-haiku-4-5';
const QUESTION = 'Is it warm in Bern?';
const SAID = 'Yes, 21 degrees.';

let upstream: FakeUpstream;
let tools: Server;
let edge: Edge;
let called = 0;
let made = 0;
let conversation = '';

/** The API: it calls the tool once for each question, and then answers. */
function answered({ model, messages }: { model: string; messages: { content: unknown }[] }): JsonObject {
  const hasResult = JSON.stringify(messages.at(-1)?.content).includes('tool_result');
  const number = upstream.receivedRequests.length;
  const look = {
    type: 'tool_use',
    id: `toolu_${conversation}_${number}`,
    name: 'get_weather',
    input: { city: 'Bern' },
  };
  return {
    id: `msg_${number}`,
    type: 'message',
    role: 'assistant',
    model,
    stop_sequence: null,
    content: hasResult ? [{ type: 'text', text: SAID }] : [look],
    stop_reason: hasResult ? 'end_turn' : 'tool_use',
    usage: { input_tokens: 100, output_tokens: 20 },
  };
}

beforeAll(async () => {
  tools = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    called += 1;
    request.resume();
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"degrees":21}');
  });
  await new Promise<void>((resolve) => tools.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(tools.address() as AddressInfo).port}`;
  upstream = await startUpstream(({ body }, response) => {
    const events = createMessageEventStream(answered(JSON.parse(body.toString()))).split(/(?<=\n\n)/);
    void streamBytes(
      response,
      events.map((event) => new TextEncoder().encode(event)),
      'end',
    );
  });
  edge = await startEdge(inject('worker'), {
    ANTHROPIC_API_KEY: 'key',
    ANTHROPIC_BASE_URL: upstream.url,
    TOOL_HOSTS: host,
    TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
  });
  const { agents } = createClient({ baseURL: edge.url });
  await agents.put('sky', {
    model: MODEL,
    max_tokens: 300,
    system: 'You are Sky.',
    thinking: { type: 'disabled' },
    tools: [{ name: 'get_weather', input_schema: { type: 'object' }, run: { url: `http://${host}/weather` } }],
    limits: { max_turns: 4 },
  });
});

afterAll(async () => {
  await edge?.stop();
  await upstream?.stop();
  tools?.close();
});

beforeEach(() => {
  made += 1;
  conversation = `agents-${made}`;
  upstream.receivedRequests.length = 0;
  called = 0;
});

const headers = () => ({ 'sluice-conversation': conversation, 'sluice-agent': 'sky' });

/** Two turns were the agent's: what went up says so, whatever the client had sent. */
function expectOfAgent(): void {
  expect([upstream.receivedRequests.length, called]).toEqual([4, 2]);
  for (const { body } of upstream.receivedRequests) {
    const sent = JSON.parse(body.toString()) as JsonObject;
    expect(sent).toMatchObject({ model: MODEL, max_tokens: 300, thinking: { type: 'disabled' } });
    expect(sent).not.toHaveProperty('temperature');
    expect((sent.system as JsonObject[]).map(({ text }) => text)).toEqual(['You are Sky.', 'Be brief.']);
    expect(sent.tools).toHaveLength(1);
  }
}

test.each(SDKS)(
  "%s: the agent's model and max_tokens replace the request's, and the request's system prompt follows the agent's",
  async (_, Anthropic) => {
    const client = new Anthropic({ baseURL: edge.url, apiKey: 'any', maxRetries: 0 });
    const ask = { model: 'claude-opus-5-5', max_tokens: 9_000, system: 'Be brief.' };
    const question = { role: 'user' as const, content: QUESTION };
    const options = { headers: headers() };
    const first = await client.messages.stream({ ...ask, messages: [question] }, options).finalMessage();
    expect(first.model).toBe(MODEL);
    expect(first.content.at(-1)).toEqual({ type: 'text', text: SAID });
    const messages = [question, { role: 'assistant' as const, content: first.content }, question];
    const { data, response } = await client.messages.create({ ...ask, messages }, options).withResponse();
    expect(data.content.at(-1)).toEqual({ type: 'text', text: SAID });
    expect(response.headers.get('sluice-agent')).toMatch(/^sky@[0-9a-f]{32}$/);
    expectOfAgent();
  },
);

test.each(AI_SDKS)('an agent responds to the %s', async (_, sdk) => {
  const settings = { baseURL: `${edge.url}/v1`, headers: headers() };
  const options = { system: 'Be brief.', temperature: 1, maxOutputTokens: 9_000 };
  for (const question of [QUESTION, 'And now?']) {
    expect((await sdk.chat(settings, 'claude-sonnet-4-5', options).say(question)).text).toBe(SAID);
  }
  expectOfAgent();
});

test('an agent responds to LangChain', async () => {
  const model = new ChatAnthropic({
    model: 'claude-sonnet-4-5',
    apiKey: 'any',
    anthropicApiUrl: edge.url,
    maxTokens: 9_000,
    maxRetries: 0,
    clientOptions: { defaultHeaders: headers() },
  });
  for (const question of [QUESTION, 'And now?']) {
    const answer = await model.invoke([
      ['system', 'Be brief.'],
      ['human', question],
    ]);
    expect(answer.text).toContain(SAID);
  }
  expectOfAgent();
});

test('an agent responds to sluice/client, which names it in the request body', async () => {
  const { messages, conversations } = createClient({ baseURL: edge.url });
  for (const content of [QUESTION, 'And now?']) {
    const request = { agent: 'sky', conversation, system: 'Be brief.', messages: [{ role: 'user' as const, content }] };
    expect((await messages.stream(request).finalMessage()).content.at(-1)).toMatchObject({ text: SAID });
  }
  expectOfAgent();
  expect((await conversations.get(conversation)).agent).toMatchObject({ name: 'sky' });
});
