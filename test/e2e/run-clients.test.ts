/** Clients that know nothing of runs, in conversations whose tools the edge calls. */

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ChatAnthropic } from '@langchain/anthropic';
import { AIMessageChunk, type BaseMessage, HumanMessage } from '@langchain/core/messages';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, onTestFinished, test } from 'vitest';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { AI_SDKS } from '#test/support/ai-sdks.ts';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { createAlternatingRoles } from '#test/support/roles.ts';
import { SDKS } from '#test/support/sdks.ts';
import { startSite } from '#test/support/site.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '#test/support/upstream.ts';

// The AI SDK warns of a result of a tool that it has not called, which is what a run is.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

const MODEL = 'claude-haiku-4-5';
const QUESTION = 'Is it warm in Bern?';
const NEXT = 'And tomorrow?';
const INPUT = { city: 'Bern', days: [1, 2], unit: { name: 'celsius' } };
const RESULT = '{"degrees":21}';
const USAGE = { input_tokens: 100, output_tokens: 20, cache_read_input_tokens: 5, cache_creation_input_tokens: 0 };

let upstream: FakeUpstream;
let tools: Server;
let edge: Edge;
let conversation = '';
let made = 0;

/** The API: it calls the tool once for each question, and then answers. */
function answered(body: { messages: { role: string; content: unknown }[] }): JsonObject {
  const hasResult = JSON.stringify(body.messages.at(-1)?.content).includes('tool_result');
  const id = `msg_${upstream.receivedRequests.length}`;
  const content = hasResult
    ? [{ type: 'text', text: 'Yes, 21 degrees.' }]
    : [
        { type: 'text', text: 'I look. ' },
        {
          type: 'tool_use',
          id: `toolu_${conversation}_${upstream.receivedRequests.length}`,
          name: 'get_weather',
          input: INPUT,
        },
      ];
  const stop_reason = hasResult ? 'end_turn' : 'tool_use';
  return {
    id,
    type: 'message',
    role: 'assistant',
    model: MODEL,
    content,
    stop_reason,
    stop_sequence: null,
    usage: USAGE,
  };
}

beforeAll(async () => {
  tools = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'application/json' }).end(RESULT);
  });
  await new Promise<void>((resolve) => tools.listen(0, '127.0.0.1', resolve));
  upstream = await startUpstream(({ body }, response) => {
    const text = createMessageEventStream(answered(JSON.parse(body.toString())));
    void streamBytes(
      response,
      text.split(/(?<=\n\n)/).map((event) => new TextEncoder().encode(event)),
      'end',
    );
  });
  edge = await startEdge(inject('worker'), {
    ANTHROPIC_API_KEY: 'key',
    ANTHROPIC_BASE_URL: upstream.url,
    TOOL_HOSTS: `127.0.0.1:${(tools.address() as AddressInfo).port}`,
    TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
  });
});

afterAll(async () => {
  await edge?.stop();
  await upstream?.stop();
  tools?.close();
});

beforeEach(async () => {
  made += 1;
  conversation = `c${made}`;
  upstream.receivedRequests.length = 0;
  const created = await fetch(`${edge.url}/conversations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      id: conversation,
      tools: [weather()],
    }),
  });
  expect(created.status).toBe(201);
});

const weather = () => ({
  name: 'get_weather',
  input_schema: { type: 'object' },
  run: { url: `http://127.0.0.1:${(tools.address() as AddressInfo).port}/weather` },
});

/** The rows of the conversation, without what the edge adds to them. */
async function rows(): Promise<{ role: string; content: unknown }[]> {
  const response = await fetch(`${edge.url}/conversations/${conversation}/messages?limit=100`);
  const { data } = (await response.json()) as { data: { role: string; content: unknown }[] };
  return data.map(({ role, content }) => ({ role, content }));
}

/** Looks at what a second question has added, which was sent behind the whole history. */
async function expectOneMore(before: number): Promise<void> {
  const all = await rows();
  expect(before).toBe(4);
  expect(all.map(({ role }) => role)).toEqual(createAlternatingRoles(8));
  expect(JSON.stringify(all[4]?.content)).toContain(NEXT);
}

const SUM = { input_tokens: 200, output_tokens: 40, cache_read_input_tokens: 10, cache_creation_input_tokens: 0 };
const ITERATIONS = [
  { type: 'message', ...USAGE },
  { type: 'message', ...USAGE },
];

/** What is left of the answer where it is shown as text. */
const TEXT_ALONE = [
  { type: 'text', text: 'I look. ' },
  { type: 'text', text: 'Yes, 21 degrees.' },
];

describe('the message of a run', () => {
  test.each(SDKS)('is assembled by %s, and accepted in the next request', async (_, Anthropic) => {
    const client = new Anthropic({ baseURL: edge.url, apiKey: 'any', maxRetries: 0 });
    const options = { headers: { 'sluice-conversation': conversation } };
    const ask = { model: MODEL, max_tokens: 100 };
    const question = { role: 'user' as const, content: QUESTION };
    const message = await client.messages.stream({ ...ask, messages: [question] }, options).finalMessage();
    const id = `toolu_${conversation}_1`;
    expect(message.content).toEqual([
      { type: 'text', text: 'I look. ' },
      { type: 'mcp_tool_use', id, name: 'get_weather', input: INPUT, server_name: 'edge' },
      { type: 'mcp_tool_result', tool_use_id: id, is_error: false, content: [{ type: 'text', text: RESULT }] },
      { type: 'text', text: 'Yes, 21 degrees.' },
    ]);
    expect(message).toMatchObject({ id: 'msg_1', stop_reason: 'end_turn' });
    // Of a stream these SDKs take the members of a usage that they know.
    const { iterations = ITERATIONS, ...sum } = message.usage as unknown as JsonObject;
    expect([sum, iterations]).toEqual([SUM, ITERATIONS]);
    const before = (await rows()).length;
    const whole = await client.messages.create(
      {
        ...ask,
        messages: [question, { role: 'assistant', content: message.content }, { role: 'user', content: NEXT }],
      },
      options,
    );
    expect(whole.content.map(({ type }) => type as string)).toEqual([
      'text',
      'mcp_tool_use',
      'mcp_tool_result',
      'text',
    ]);
    expect(whole.usage).toEqual({ ...SUM, iterations: ITERATIONS });
    await expectOneMore(before);
  });

  test.each(AI_SDKS)('is assembled by the %s, and accepted in the next request', async (_, sdk) => {
    const settings = { baseURL: `${edge.url}/v1`, headers: { 'sluice-conversation': conversation } };
    const chat = sdk.chat(settings, MODEL, { maxOutputTokens: 100 });
    const first = await chat.say(QUESTION);
    expect(first.text).toBe('I look. Yes, 21 degrees.');
    const call = {
      toolCallId: `toolu_${conversation}_1`,
      toolName: 'get_weather',
      input: INPUT,
      providerExecuted: true,
      dynamic: true,
      providerMetadata: { anthropic: { type: 'mcp-tool-use', serverName: 'edge' } },
    };
    expect(first.content).toEqual([
      { type: 'text', text: 'I look. ' },
      { type: 'tool-call', ...call },
      { type: 'tool-result', ...call, output: [{ type: 'text', text: RESULT }] },
      { type: 'text', text: 'Yes, 21 degrees.' },
    ]);
    expect(first.usage.raw).toEqual({ ...SUM, iterations: ITERATIONS });
    // Its sum of the input has what was read from the cache.
    expect(first.usage).toMatchObject({ inputTokens: 210, outputTokens: 40, totalTokens: 250 });
    const before = (await rows()).length;
    await chat.say(NEXT);
    await expectOneMore(before);
  });

  test.each(SDKS)('contains only text for %s if requested, streaming or not', async (_, Anthropic) => {
    const client = new Anthropic({ baseURL: edge.url, apiKey: 'any', maxRetries: 0 });
    const options = { headers: { 'sluice-conversation': conversation, 'sluice-show': 'text' } };
    const ask = { model: MODEL, max_tokens: 100 };
    const question = { role: 'user' as const, content: QUESTION };
    const first = await client.messages.stream({ ...ask, messages: [question] }, options).finalMessage();
    expect(first.content).toEqual(TEXT_ALONE);
    expect(first.usage).toMatchObject(SUM);
    const before = (await rows()).length;
    const messages = [
      question,
      { role: 'assistant' as const, content: first.content },
      { role: 'user' as const, content: NEXT },
    ];
    const whole = await client.messages.create({ ...ask, messages }, options);
    expect(whole.content).toEqual(TEXT_ALONE);
    expect(whole.usage).toEqual({ ...SUM, iterations: ITERATIONS });
    await expectOneMore(before);
  });

  test('contains only text for LangChain if requested', async () => {
    const model = new ChatAnthropic({
      model: MODEL,
      apiKey: 'any',
      anthropicApiUrl: edge.url,
      maxTokens: 100,
      maxRetries: 0,
      clientOptions: { defaultHeaders: { 'sluice-conversation': conversation, 'sluice-show': 'text' } },
    });
    const question = new HumanMessage(QUESTION);
    const first = await model.invoke([question]);
    expect(first.content).toEqual(TEXT_ALONE);
    const before = (await rows()).length;
    await model.invoke([question, first, new HumanMessage(NEXT)]);
    await expectOneMore(before);
  });

  test.each(AI_SDKS)(
    'contains only text for the %s if requested, and is accepted in the next request',
    async (_, sdk) => {
      const headers = { 'sluice-conversation': conversation, 'sluice-show': 'text' };
      const settings = { baseURL: `${edge.url}/v1`, headers };
      const chat = sdk.chat(settings, MODEL, { maxOutputTokens: 100 });
      const first = await chat.say(QUESTION);
      expect(first.content).toEqual(TEXT_ALONE);
      expect(first.usage).toMatchObject({ inputTokens: 210, outputTokens: 40, totalTokens: 250 });
      const before = (await rows()).length;
      await chat.say(NEXT);
      await expectOneMore(before);
    },
  );

  test('is assembled by LangChain, and accepted in the next request', async () => {
    const model = new ChatAnthropic({
      model: MODEL,
      apiKey: 'any',
      anthropicApiUrl: edge.url,
      maxTokens: 100,
      maxRetries: 0,
      clientOptions: { defaultHeaders: { 'sluice-conversation': conversation } },
    });
    const ask = async (messages: BaseMessage[]) => {
      let all: AIMessageChunk | undefined;
      for await (const chunk of await model.stream(messages)) all = all ? all.concat(chunk) : chunk;
      return all ?? new AIMessageChunk('');
    };
    const question = new HumanMessage(QUESTION);
    const first = await ask([question]);
    expect(first.text).toBe('I look. Yes, 21 degrees.');
    // Of a stream it takes the input from `message_start` alone, which tells the first step's.
    expect(first.usage_metadata).toMatchObject({ input_tokens: 105, output_tokens: 40 });
    const before = (await rows()).length;
    await ask([question, first, new HumanMessage(NEXT)]);
    await expectOneMore(before);
    // Asked for a whole answer it has all of it.
    const whole = await model.invoke([new HumanMessage('And in Oslo?')]);
    expect(whole.content).toEqual([
      { type: 'text', text: 'I look. ' },
      { type: 'mcp_tool_use', id: expect.any(String), name: 'get_weather', input: INPUT, server_name: 'edge' },
      {
        type: 'mcp_tool_result',
        tool_use_id: expect.any(String),
        is_error: false,
        content: [{ type: 'text', text: RESULT }],
      },
      { type: 'text', text: 'Yes, 21 degrees.' },
    ]);
    expect(whole.usage_metadata).toMatchObject({ input_tokens: 210, output_tokens: 40, total_tokens: 250 });
  });

  test.skipIf(isBrowserMissing())(
    'is assembled by useChat in a browser, and accepted in the next request',
    async () => {
      const site = await startSite(await bundleForBrowser("import './test/support/chat-page.ts';"));
      const browser = await launchBrowser();
      onTestFinished(async () => {
        await browser.close();
        site.stop();
      });
      const page = await browser.newPage();
      page.setDefaultTimeout(240_000);
      const faults: string[] = [];
      page.on('pageerror', (error) => faults.push(error.message));
      const query = new URLSearchParams({
        edge: edge.url,
        id: conversation,
        max_tokens: '100',
        tools: JSON.stringify([weather()]),
      });
      await page.goto(`${site.url}?${query}`);
      await page.waitForSelector('main[data-status=ready]');
      const ask = async (text: string, answers: number) => {
        await page.fill('[name=text]', text);
        await page.press('[name=text]', 'Enter');
        await page.waitForFunction(
          (count) =>
            document.querySelector('main')?.dataset.status === 'ready' &&
            document.querySelectorAll('.assistant:not([data-metadata=null])').length === count,
          answers,
        );
      };
      const shown = async (selector: string) => await page.locator(selector).allTextContents();
      const metadata = async () =>
        JSON.parse((await page.getAttribute('.assistant', 'data-metadata')) ?? '{}') as JsonObject;
      await ask(QUESTION, 1);
      const part = {
        type: 'tool-get_weather',
        toolCallId: `toolu_${conversation}_1`,
        state: 'output-available',
        input: INPUT,
        output: RESULT,
        providerExecuted: true,
      };
      expect((await shown('.tool-get_weather')).map((text) => JSON.parse(text) as JsonObject)).toEqual([part]);
      expect(await shown('.assistant .text')).toEqual(['I look. ', 'Yes, 21 degrees.']);
      const told = await metadata();
      expect(told.usage).toEqual({ ...SUM, iterations: ITERATIONS });
      const before = (await rows()).length;
      // After a reload the history tells the same.
      await page.reload();
      await page.waitForSelector('main[data-status=ready] .assistant');
      expect((await shown('.tool-get_weather')).map((text) => JSON.parse(text) as JsonObject)).toEqual([part]);
      expect(await shown('.assistant .text')).toEqual(['I look. ', 'Yes, 21 degrees.']);
      expect(await metadata()).toEqual(told);
      await ask(NEXT, 2);
      await expectOneMore(before);
      expect(faults).toEqual([]);
    },
  );
});
