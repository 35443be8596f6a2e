import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { createTestApp } from '#test/support/app.ts';
import { authorizationFor, createSimulatedEdge, type SimulatedEdge } from '#test/support/prefixes.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createErrorResponse } from '#test/support/wire.ts';

const WORDS = 'tools.1.custom.input_schema: JSON schema is invalid.';
const NAMED = `${WORDS} (the tool note)`;
const note = { name: 'note', description: 'Notes.', input_schema: { type: 'object' } };
const ASKED = { model: 'claude-opus-5-5', max_tokens: 64, messages: [{ role: 'user', content: 'Is it sunny?' }] };

interface Told {
  status: number;
  error: unknown;
  headers: Headers;
}

/** Asks in the conversation `c1`. @returns its error, as JSON or as the last event */
async function refusedIn(app: SimulatedEdge, body: object, headers: Record<string, string>): Promise<Told> {
  const response = await app.post('/v1/messages', { conversation: 'c1', ...body }, headers);
  const text = await response.text();
  await app.waitUntilSettled();
  const data = text.startsWith('{') ? text : (/event: error\ndata: (.*)/.exec(text)?.[1] ?? '{}');
  return { status: response.status, error: (JSON.parse(data) as JsonObject).error, headers: response.headers };
}

describe('a step that the API rejects', () => {
  test('returns the 400 with the tool’s name, and the conversation keeps the response so far', async () => {
    const app = createSimulatedEdge(TOOL_VARS);
    const alice = await authorizationFor('alice', 'messages', 'tools');
    answerByScript((_, number) =>
      number % 2 === 1
        ? callsAnswer(weatherCall(`toolu_${number}`, 'Bern'))
        : createErrorResponse(400, 'invalid_request_error', WORDS),
    );
    answerTools(() => new Response('sun'));
    const tools = [weatherTool(), note];
    const whole = await refusedIn(app, { ...ASKED, tools }, alice);
    expect(whole).toMatchObject({ status: 400, error: { type: 'invalid_request_error' } });
    expect((whole.error as JsonObject).message).toBe(`${NAMED} (The conversation keeps the response so far.)`);
    // It would be asked a second time.
    expect(whole.headers.get('x-should-retry')).toBe('false');
    expect(whole.headers.get('sluice-turn')).toMatch(/^turn_/);
    const streamed = await refusedIn(app, { ...ASKED, tools, conversation: 'c2', stream: true }, alice);
    expect(streamed).toMatchObject({ status: 200, error: { type: 'invalid_request_error', message: NAMED } });
  });

  test('returns the 400 with the tool’s name for the first step, streaming or not', async () => {
    const app = createSimulatedEdge(TOOL_VARS);
    const alice = await authorizationFor('alice', 'messages', 'tools');
    answerByScript(() => createErrorResponse(400, 'invalid_request_error', WORDS));
    for (const stream of [false, true]) {
      const told = await refusedIn(app, { ...ASKED, tools: [weatherTool(), note], stream }, alice);
      expect(told).toMatchObject({ status: 400, error: { type: 'invalid_request_error', message: NAMED } });
    }
  });
});

test('the error of a turn includes the tool’s name only if the turn uses an agent', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  answerByScript(() => createErrorResponse(400, 'invalid_request_error', WORDS));
  const tools = [{ ...note, name: 'first' }, note];
  const { messages, ...agent } = ASKED;
  const stored = await app.fetch('/agents/support', {
    method: 'PUT',
    headers: { ...alice, 'content-type': 'application/json' },
    body: JSON.stringify({ ...agent, tools }),
  });
  expect(stored.status).toBe(200);
  await stored.body?.cancel();
  const ofAgent = await refusedIn(app, { agent: 'support', messages }, alice);
  expect(ofAgent).toMatchObject({ status: 400, error: { message: NAMED } });
  const plain = await refusedIn(app, { ...ASKED, tools, conversation: 'c2' }, alice);
  expect(plain).toMatchObject({ status: 400, error: { message: WORDS } });
});

test('the error of an agent’s message without a conversation includes the tool’s name', async () => {
  const app = createTestApp(() => createErrorResponse(400, 'invalid_request_error', WORDS));
  const { messages, ...agent } = ASKED;
  const body = JSON.stringify({ ...agent, tools: [{ ...note, name: 'first' }, note] });
  const stored = await app.fetch('/agents/support', {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body,
  });
  expect(stored.status).toBe(200);
  await stored.body?.cancel();
  const ofAgent = await app.post('/messages', { agent: 'support', messages, stream: false });
  expect({ status: ofAgent.status, body: await ofAgent.json() }).toMatchObject({
    status: 400,
    body: { type: 'error', error: { type: 'invalid_request_error', message: NAMED } },
  });
});

test('a tool that the API rejects is omitted from then on, and the agent responds without it', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice', 'messages', 'prefixes', 'tools');
  const toolsOf = (body: JsonObject | undefined) => ((body?.tools ?? []) as JsonObject[]).map(({ name }) => name);
  const bodies = answerByScript((body) => {
    const at = toolsOf(body).findIndex((name) => String(name).startsWith('bad'));
    return at < 0
      ? textAnswer('Sun.')
      : createErrorResponse(400, 'invalid_request_error', `tools.${at}.custom: Lorem ipsum.`);
  });
  const { messages, ...agent } = ASKED;
  const tools = [weatherTool({}, 'bad_one'), weatherTool({}, 'good'), weatherTool({}, 'bad_two')];
  const stored = await app.fetch('/agents/support', {
    method: 'PUT',
    headers: { ...alice, 'content-type': 'application/json' },
    body: JSON.stringify({ ...agent, tools }),
  });
  expect(stored.status).toBe(200);
  await stored.body?.cancel();
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
  onTestFinished(() => warned.mockRestore());
  const ask = async () => {
    const response = await app.post('/v1/messages', { conversation: 'c1', agent: 'support', messages }, alice);
    expect(await response.text()).toContain('Sun.');
    await app.waitUntilSettled();
    return response.headers.get('sluice-tools-omitted');
  };
  expect(await ask()).toBe('bad_one, bad_two');
  expect(bodies.map((body) => toolsOf(body))).toEqual([['bad_one', 'good', 'bad_two'], ['good', 'bad_two'], ['good']]);
  expect(warned.mock.calls.flat().filter((line) => /rejects the tool bad_/.test(String(line)))).toHaveLength(2);
  expect(await ask()).toBe('bad_one, bad_two');
  expect(toolsOf(bodies.at(-1))).toEqual(['good']);
});

test.each([
  [
    'a block’s type',
    `messages.0.content.0: Input tag 'tools.0' found using 'type' does not match any of the expected tags`,
    {},
  ],
  ['a URL', 'Could not fetch https://example.com/tools/0/messages.0.content.0', {}],
  ['the name of a field', 'tools.0: Extra inputs are not permitted', { 'tools.0': 1 }],
  ['a path that is wrong', 'tools.0.custom: Lorem ipsum.', {}],
])('no tool is omitted if the API rejects every request with words that contain %s', async (_, words, more) => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice', 'messages', 'prefixes', 'tools');
  let isRejecting = true;
  const bodies = answerByScript(() =>
    isRejecting ? createErrorResponse(400, 'invalid_request_error', words) : textAnswer('Sun.'),
  );
  const { messages, ...agent } = ASKED;
  const tools = ['one', 'two', 'three'].map((name) => weatherTool({}, name));
  const headers = { ...alice, 'content-type': 'application/json' };
  const stored = await app.fetch('/agents/support', {
    method: 'PUT',
    headers,
    body: JSON.stringify({ ...agent, tools }),
  });
  expect(stored.status).toBe(200);
  await stored.body?.cancel();
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {});
  onTestFinished(() => warned.mockRestore());
  const ask = async (fields: object) => {
    const response = await app.post(
      '/v1/messages',
      { conversation: 'c1', agent: 'support', messages, ...fields },
      alice,
    );
    await response.text();
    await app.waitUntilSettled();
    return response;
  };
  isRejecting = false;
  await ask({});
  isRejecting = true;
  expect((await ask(more)).status).toBe(400);
  isRejecting = false;
  const accepted = await ask({});
  expect(accepted.headers.get('sluice-tools-omitted')).toBeNull();
  expect(((bodies.at(-1)?.tools ?? []) as JsonObject[]).map(({ name }) => name)).toEqual(['one', 'two', 'three']);
  expect(warned).not.toHaveBeenCalled();
});
