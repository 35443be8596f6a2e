/** `npm start` and the official SDKs of two years: `test/edge/app` calls the app as a function. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import AnthropicCurrent from '@anthropic-ai/sdk';
import AnthropicOld from 'anthropic-sdk-0';
import { beforeAll, describe, expect, test } from 'vitest';
import { EXPLORER_OFF, statusesOfExplorer } from '#test/support/explorer.ts';
import { openSharedEdge } from '#test/support/shared-start.ts';
import { expectFailedStart } from '#test/support/start.ts';

// Not `spawnSync`: while it waits, this process does not see that the edge closes a connection that rests.
const run = promisify(execFile);
let url: string;

const edge = openSharedEdge();
beforeAll(async () => {
  url = await edge();
});

const question = { role: 'user' as const, content: 'What is the weather in Bern today?' };
const request = { model: 'claude-haiku-5-5', max_tokens: 4_000, messages: [question] };
const weather = {
  name: 'get_weather',
  description: 'Current weather of a city',
  input_schema: {
    type: 'object' as const,
    properties: { city: { type: 'string' as const }, unit: { enum: ['celsius', 'fahrenheit'] } },
    required: ['city', 'unit'],
  },
};

const clients = {
  '1.x': () => new AnthropicCurrent({ apiKey: 'any', baseURL: url }),
  '0.x': () => new AnthropicOld({ apiKey: 'any', baseURL: url }) as unknown as AnthropicCurrent,
};

describe.each(['1.x', '0.x'] as const)('the official SDK %s, with only its base URL changed', (version) => {
  test('streams a message and reads its usage', async () => {
    const { data, response } = await clients[version]()
      .messages.create({ ...request, stream: true })
      .withResponse();
    expect(response.headers.get('sluice-upstream')).toBe('simulator');
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    const types = [];
    for await (const event of data) types.push(event.type);
    expect(types[0]).toBe('message_start');
    expect(types.at(-1)).toBe('message_stop');
    const message = await clients[version]().messages.stream(request).finalMessage();
    expect(message.stop_reason).toBe('end_turn');
    expect(message.usage.output_tokens).toBeGreaterThan(10);
  });

  test('gets a non-streaming message', async () => {
    const message = await clients[version]().messages.create(request);
    expect(message.content.at(-1)?.type).toBe('text');
    expect(message._request_id).toMatch(/^req_/);
  });

  test('calls a tool and continues with its result', async () => {
    const call = await clients[version]().messages.create({ ...request, tools: [weather] });
    expect(call.stop_reason).toBe('tool_use');
    const use = call.content.find((block) => block.type === 'tool_use');
    expect(use?.input).toMatchObject({ city: expect.any(String), unit: expect.stringMatching(/celsius|fahrenheit/) });
    const answer = await clients[version]().messages.create({
      ...request,
      tools: [weather],
      messages: [
        question,
        { role: 'assistant', content: call.content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: use?.id ?? '', content: '7 degrees and rain' }] },
      ],
    });
    expect(answer.stop_reason).toBe('end_turn');
  });

  test('counts the same input tokens as a message reports', async () => {
    const { max_tokens: _, ...prompt } = request;
    const counted = await clients[version]().messages.countTokens(prompt);
    const message = await clients[version]().messages.create(request);
    expect(counted.input_tokens).toBe(message.usage.input_tokens);
    expect(counted).toMatchObject({ context_window: 1_000_000, fits: true });
  });

  test('lists models and retrieves a model', async () => {
    const ids = [];
    for await (const model of clients[version]().models.list({ limit: 3 })) ids.push(model.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toContain('claude-haiku-5-5');
    const model = await clients[version]().models.retrieve('claude-haiku-5-5');
    expect(model).toMatchObject({ max_tokens: 128_000, prices: { input: 0.1, output: 0.5 } });
  });

  test('gets typed errors', async () => {
    const client = clients[version]();
    const sdk = version === '1.x' ? AnthropicCurrent : AnthropicOld;
    await expect(client.messages.create({ ...request, model: 'claude-unknown' })).rejects.toBeInstanceOf(
      sdk.NotFoundError,
    );
    await expect(client.messages.create({ ...request, messages: [] })).rejects.toBeInstanceOf(sdk.BadRequestError);
    await expect(
      client.messages.create(request, { headers: { 'sluice-simulate': 'status=529' }, maxRetries: 0 }),
    ).rejects.toMatchObject({ status: 529, error: { error: { type: 'overloaded_error' } } });
    await expect(client.get('/v1/skills')).rejects.toMatchObject({ status: 501 });
  });

  test('creates a batch, and finds it in the list', async () => {
    const client = clients[version]();
    const made = await client.messages.batches.create({ requests: [{ custom_id: 'one', params: request }] });
    expect(made).toMatchObject({ type: 'message_batch', request_counts: { processing: 1 } });
    const { data } = await client.messages.batches.list({ limit: 1 });
    expect(data.map(({ id }) => id)).toEqual([made.id]);
  });
});

test("npm start disables wrangler's local explorer", async () => {
  expect(await statusesOfExplorer(url)).toEqual(EXPLORER_OFF);
});

test('a malformed setting stops the start, and the error names the setting', async () => {
  const { code, stderr } = await expectFailedStart('--var', 'MAX_BODY_BYTES:many');
  expect(code).toBe(1);
  expect(stderr).toContain('MAX_BODY_BYTES');
  expect(stderr).not.toContain('many');
});

test('a development server rejects pages of other sites and rebound host names', async () => {
  const body = JSON.stringify({ ...request, stream: false });
  const headers = { 'content-type': 'application/json' };
  const post = (more: Record<string, string>) =>
    fetch(`${url}/v1/messages`, { method: 'POST', headers: { ...headers, ...more }, body });
  for (const origin of ['https://evil.example', 'null', 'http://localhost.evil.example', 'http://127.0.0.1.nip.io']) {
    const refused = await post({ origin });
    expect(refused.status, origin).toBe(403);
    expect(refused.headers.get('sluice-upstream')).toBeNull();
  }
  expect((await post({ origin: 'http://localhost:3000' })).status).toBe(403);
  const welcome = await post({ origin: 'http://localhost:3000', 'sec-fetch-site': 'cross-site' });
  expect(welcome.status).toBe(200);
  expect(welcome.headers.get('access-control-allow-origin')).toBe('http://localhost:3000');
  const { port } = new URL(url);
  const rebound = await run('curl', ['-s', '-H', 'Host: evil.example', `http://127.0.0.1:${port}/health`]);
  expect(JSON.parse(rebound.stdout)).toMatchObject({ error: { type: 'permission_error' } });
});
