import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { readError } from '#test/support/app.ts';
import { waitUntilAtRest } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  authorizationFor,
  createSimulatedEdge,
  type SimulatedEdge,
  storePrefix,
  tryStorePrefix,
} from '#test/support/prefixes.ts';
import {
  type AskedBody,
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_URL,
  TOOL_VARS,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';

const PREFIX = { model: 'claude-opus-5-5', max_tokens: 64, tools: [weatherTool()] };
const { run: _, ...TOLD } = weatherTool();

/** An edge where alice may store tools, and bob may only ask. What goes up calls the weather once in each turn. */
async function edge() {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice', 'messages', 'prefixes', 'tools');
  const bodies = answerByScript(({ messages }) => {
    const { role, content } = messages.at(-1) ?? {};
    const isAnswered = role === 'user' && Array.isArray(content) && content[0]?.type === 'tool_result';
    return isAnswered ? textAnswer('Sun.') : callsAnswer(weatherCall(`toolu_${messages.length}`, 'Bern'));
  });
  return { app, alice, user: await authorizationFor('alice', 'messages'), bodies };
}

/** A turn of the conversation `c1`, whole: the types of its blocks. */
async function turn(app: SimulatedEdge, body: object, headers: Record<string, string>): Promise<unknown[]> {
  const asked = { conversation: 'c1', messages: [{ role: 'user', content: 'Is it sunny?' }], ...body };
  const response = await app.post('/v1/messages', asked, headers);
  const { content, error } = (await response.json()) as { content?: JsonObject[]; error?: unknown };
  if (!content) throw new Error(JSON.stringify(error));
  await app.waitUntilSettled();
  return content.map(({ type }) => type);
}

const toolsOf = ({ tools }: AskedBody) => (tools as JsonObject[]).map(({ cache_control: _, ...tool }) => tool);
const RUN = ['mcp_tool_use', 'mcp_tool_result', 'text'];

test('a caller without the scope `tools` can use a prefix’s tools with `run`, in its first turn and later ones', async () => {
  const { app, alice, user, bodies } = await edge();
  await storePrefix(app, 'support', PREFIX, alice);
  const tools = answerTools(() => new Response('sun'));
  expect(await turn(app, { prefix: 'support' }, user)).toEqual(RUN);
  expect(await turn(app, {}, user)).toEqual(RUN);
  expect(tools.map(({ url }) => url)).toEqual([TOOL_URL, TOOL_URL]);
  for (const body of bodies) expect(toolsOf(body)).toEqual([TOLD]);
});

test('sends a prefix’s tools in a conversation that was created with the prefix, and in its fork', async () => {
  const { app, alice, user, bodies } = await edge();
  await storePrefix(app, 'support', PREFIX, alice);
  answerTools(() => new Response('sun'));
  expect((await app.post('/conversations', { id: 'c1', prefix: 'support' }, user)).status).toBe(201);
  expect(await turn(app, {}, user)).toEqual(RUN);
  expect((await app.post('/conversations/c1/fork', { id: 'c2' }, user)).status).toBe(201);
  expect(await turn(app, { conversation: 'c2' }, user)).toEqual(RUN);
  for (const body of bodies) expect(toolsOf(body)).toEqual([TOLD]);
});

test('adds a request’s tools to the prefix’s, and sends at most four breakpoints in each step', async () => {
  const { app, alice, user, bodies } = await edge();
  await storePrefix(app, 'support', { ...PREFIX, system: 'Be kind.' }, alice);
  answerTools(() => new Response('sun'));
  const cache_control = { type: 'ephemeral' };
  const own = { name: 'note', description: 'Notes.', input_schema: { type: 'object' } };
  const marked = { tools: [{ ...own, cache_control }], system: [{ type: 'text', text: 'Be brief.', cache_control }] };
  expect(await turn(app, { prefix: 'support', ...marked }, user)).toEqual(RUN);
  for (const body of bodies) {
    expect(toolsOf(body)).toEqual([TOLD, own]);
    expect(JSON.stringify(body).split('"cache_control"').length - 1).toBeLessThanOrEqual(4);
  }
  expect(bodies).toHaveLength(2);
});

test('a run continues with the prefix’s tools after a crash', async () => {
  const { app, alice, user, bodies } = await edge();
  await storePrefix(app, 'support', PREFIX, alice);
  const tools = answerTools((_, number) => (number === 1 ? new Promise(() => {}) : new Response('sun')));
  const first = turn(app, { prefix: 'support' }, user).catch(() => undefined);
  await eventually(() => expect(tools).toHaveLength(1));
  await abortAllDurableObjects();
  await first;
  await eventually(async () => {
    const response = await app.fetch('/conversations/c1', { headers: user });
    expect(await response.json()).toMatchObject({ state: 'idle', messages: 4 });
  });
  await waitUntilAtRest();
  expect(tools).toHaveLength(2);
  expect(bodies.at(-1)?.messages.at(-1)?.content).toMatchObject([{ type: 'tool_result', content: 'sun' }]);
});

test('storing tools in a prefix requires the scope `tools` and an allowed host, and their URLs are hidden without the scope', async () => {
  const { app, alice, user } = await edge();
  const writer = await authorizationFor('alice', 'messages', 'prefixes');
  const forbidden = await tryStorePrefix(app, 'support', PREFIX, writer);
  expect([forbidden.status, (await readError(forbidden)).message]).toEqual([403, expect.stringContaining('`tools`')]);
  const elsewhere = await tryStorePrefix(
    app,
    'support',
    { tools: [weatherTool({ url: 'https://elsewhere.test/' })] },
    alice,
  );
  expect([elsewhere.status, (await readError(elsewhere)).message]).toEqual([
    400,
    expect.stringContaining('tools.0.run.url'),
  ]);
  await storePrefix(app, 'support', PREFIX, alice);
  const seenBy = async (headers: Record<string, string>) =>
    ((await (await app.fetch('/prefixes/support', { headers })).json()) as { tools: JsonObject[] }).tools;
  expect(await seenBy(alice)).toEqual([weatherTool()]);
  expect(await seenBy(user)).toEqual([TOLD]);
});

test('rejects a prefix with `run` tools outside a conversation, but counts its tokens', async () => {
  const { app, alice, user, bodies } = await edge();
  await storePrefix(app, 'support', PREFIX, alice);
  const ask = { prefix: 'support', messages: [{ role: 'user', content: 'Hi' }] };
  const refused = await app.post('/v1/messages', ask, user);
  expect([refused.status, (await readError(refused)).message]).toEqual([
    400,
    expect.stringContaining('`conversation`'),
  ]);
  const items = { requests: [{ custom_id: 'a', params: ask }] };
  const batch = await app.post('/v1/messages/batches', items, user);
  expect([batch.status, (await readError(batch)).message]).toEqual([400, expect.stringContaining('`run`')]);
  expect((await app.post('/count-tokens', ask, user)).status).toBe(200);
  expect(bodies).toHaveLength(0);
});
