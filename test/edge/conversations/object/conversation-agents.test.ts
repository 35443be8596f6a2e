import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { createSkyEdge, requestEdge, runWholeTurn, SKY, toolsAndSystemOf } from '#test/support/agents.ts';
import { eventually } from '#test/support/eventually.ts';
import { authorizationFor } from '#test/support/prefixes.ts';
import { answerTools, TOOL_URL, weatherTool } from '#test/support/scripted-runs.ts';

const RUN = ['mcp_tool_use', 'mcp_tool_result', 'text'];
const { run: _, ...TOLD } = weatherTool();
const YOU = { type: 'text', text: SKY.system };
const typesOf = ({ body }: { body: JsonObject }) =>
  (body.content as JsonObject[] | undefined)?.map(({ type }) => type) ?? body;
const errorIn = ({ status, body }: { status: number; body: JsonObject }) =>
  `${status} ${(body.error as JsonObject | undefined)?.type}: ${(body.error as JsonObject | undefined)?.message}`;

test("a message that names an agent runs the agent's tools, without showing their URLs to the caller", async () => {
  const { app, bob, bodies, version } = await createSkyEdge();
  const tools = answerTools(() => new Response('sun'));
  const said = await runWholeTurn(app, bob, { agent: 'sky' });
  expect(typesOf(said)).toEqual(RUN);
  expect(tools.map(({ url }) => url)).toEqual([TOOL_URL]);
  expect(bodies[0]).toMatchObject({ model: SKY.model, max_tokens: SKY.max_tokens });
  for (const body of bodies) expect(toolsAndSystemOf(body)).toEqual({ tools: [TOLD], system: [YOU] });
  for (const name of ['agent', 'conversation', 'max_turns', 'max_usd', 'max_tool_calls', 'parallel_tools']) {
    for (const body of bodies) expect(body).not.toHaveProperty(name);
  }
  const told = await requestEdge(app, 'GET', '/conversations/c1', bob);
  expect(told.body).toMatchObject({ agent: { name: 'sky', version }, prefix: null, system: null, tools: null });
  expect(JSON.stringify([said, told])).not.toContain(TOOL_URL);
});

test('an agent configures the history of its conversations unless they set it themselves', async () => {
  const { app, bob } = await createSkyEdge({ ...SKY, history: { max_tokens: 3_000, strategy: 'summarize' } });
  answerTools(() => new Response('sun'));
  await runWholeTurn(app, bob, { agent: 'sky' });
  const created = await requestEdge(app, 'POST', '/conversations', bob, { id: 'c2', agent: 'sky' });
  for (const { body } of [await requestEdge(app, 'GET', '/conversations/c1', bob), created]) {
    expect(body).toMatchObject({ history: { max_tokens: 3_000, strategy: 'summarize' } });
  }
  const own = { id: 'c3', agent: 'sky', history: null };
  expect((await requestEdge(app, 'POST', '/conversations', bob, own)).body).toMatchObject({ history: null });
});

test("the response, the log and the ledger name the agent's version, and usage can be grouped by it", async () => {
  const { app, bob, version } = await createSkyEdge();
  answerTools(() => new Response('sun'));
  const lines: JsonObject[] = [];
  const log = vi
    .spyOn(console, 'log')
    .mockImplementation((line: string) => void lines.push(JSON.parse(line) as JsonObject));
  const asked = { conversation: 'c1', agent: 'sky', messages: [{ role: 'user', content: 'Is it sunny?' }] };
  const first = await app.post('/v1/messages', asked, bob);
  expect(first.headers.get('sluice-agent')).toBe(version);
  await first.text();
  const { agent: _agent, ...later } = asked;
  const streamed = await app.post('/messages', later, bob);
  expect(streamed.headers.get('sluice-agent')).toBe(version);
  await streamed.text();
  await runWholeTurn(app, bob, { conversation: 'plain', model: SKY.model, max_tokens: 10 });
  await app.waitUntilSettled();
  log.mockRestore();
  const turns = lines.filter(({ route }) => String(route).endsWith('/messages'));
  expect(turns.map(({ conversation, agent }) => [conversation, agent])).toEqual([
    ['c1', version],
    ['c1', version],
    ['plain', undefined],
  ]);
  const { body } = await requestEdge(app, 'GET', '/usage?group_by=agent', bob);
  const data = body.data as { key: string | null; requests: number; cost_usd: number }[];
  expect(data.map(({ key, requests }) => [key, requests]).sort()).toEqual([
    [null, 1],
    [version, 4],
  ]);
  for (const { cost_usd } of data) expect(cost_usd).toBeGreaterThan(0);
});

test('the sluice-agent header names an agent, too; a conflict or a missing conversation returns a 400', async () => {
  const { app, bob, bodies } = await createSkyEdge();
  answerTools(() => new Response('sun'));
  const header = { 'sluice-agent': 'sky' };
  expect(errorIn(await runWholeTurn(app, bob, { agent: 'other' }, header))).toMatch(/^400 .*differ\. Send only one/);
  expect(errorIn(await runWholeTurn(app, bob, { agent: 'sky', conversation: undefined }))).toMatch(
    /^400 .*conversation/,
  );
  expect(errorIn(await runWholeTurn(app, bob, { conversation: undefined }, header))).toMatch(/^400 .*conversation/);
  expect(errorIn(await runWholeTurn(app, bob, { agent: 'sky', prefix: 'support' }))).toMatch(/^400 .*prefix/);
  expect(errorIn(await runWholeTurn(app, bob, { agent: 'nobody' }))).toMatch(/^404 .*The agent nobody does not exist/);
  expect(bodies).toHaveLength(0);
  await runWholeTurn(app, bob, { agent: null, conversation: 'none', model: 'claude-haiku-5-5', max_tokens: 10 });
  expect(bodies.map((body) => Object.hasOwn(body, 'agent'))).toEqual([false]);
  expect(typesOf(await runWholeTurn(app, bob, {}, header))).toEqual(RUN);
});

test("the agent's model, max_tokens and sampling replace the request's, whose system and tools are added after the agent's", async () => {
  const { app, bob, bodies } = await createSkyEdge({ ...SKY, thinking: { type: 'disabled' } });
  answerTools(() => new Response('sun'));
  const own = { name: 'note', description: 'Notes.', input_schema: { type: 'object' } };
  const asked = {
    agent: 'sky',
    model: 'claude-haiku-5-5',
    max_tokens: 9_000,
    temperature: 1,
    service_tier: 'priority',
    thinking: { type: 'enabled', budget_tokens: 5_000 },
    fallbacks: [{ model: 'claude-fable-5' }],
    system: 'Speak French.',
    tools: [own],
    metadata: { user_id: 'u1' },
  };
  expect(typesOf(await runWholeTurn(app, bob, asked))).toEqual(RUN);
  // Of a first turn they are the defaults of later ones.
  expect(typesOf(await runWholeTurn(app, bob, {}))).toEqual(RUN);
  expect(bodies).toHaveLength(4);
  for (const body of bodies) {
    expect(body).toMatchObject({ model: SKY.model, max_tokens: SKY.max_tokens, thinking: { type: 'disabled' } });
    expect(toolsAndSystemOf(body)).toEqual({
      tools: [TOLD, own],
      system: [YOU, { type: 'text', text: 'Speak French.' }],
    });
    for (const name of ['temperature', 'service_tier', 'fallbacks']) expect(body).not.toHaveProperty(name);
  }
  expect(bodies[0]?.metadata).toEqual({ user_id: 'u1' });
  const taken = await runWholeTurn(app, bob, { tools: [{ ...own, name: 'get_weather' }] });
  expect(errorIn(taken)).toMatch(/^400 .*tools\.0\.name: the agent already has a tool of this name/);
  expect(typesOf(await runWholeTurn(app, bob, { tools: [] }))).toEqual(RUN);
});

test("each turn and step sends the agent's part in the same bytes, with a breakpoint at its end", async () => {
  const { app, bob, bodies } = await createSkyEdge();
  answerTools(() => new Response('sun'));
  const beginnings = (body: JsonObject) =>
    JSON.stringify([(body.tools as JsonObject[])[0], (body.system as JsonObject[])[0]]);
  await runWholeTurn(app, bob, { agent: 'sky' });
  await runWholeTurn(app, bob, { system: 'Speak French.' });
  await runWholeTurn(app, bob, { conversation: 'c2', agent: 'sky', tools: [{ name: 'note', input_schema: {} }] });
  expect(new Set(bodies.map(beginnings)).size).toBe(1);
  expect(bodies[0]?.system).toEqual([{ ...YOU, cache_control: { type: 'ephemeral' } }]);
  // With four of the caller's own, none is left for it.
  const block = (text: string) => ({ type: 'text', text, cache_control: { type: 'ephemeral' } });
  await runWholeTurn(app, bob, { conversation: 'c3', agent: 'sky', system: ['a', 'b', 'c', 'd'].map(block) });
  const all = JSON.stringify(bodies.at(-2)).split('cache_control').length - 1;
  expect(all).toBe(4);
});

test('a conversation keeps its agent version; another agent, or an agent for a plain conversation, returns a 400', async () => {
  const { app, root, bob, bodies, version } = await createSkyEdge();
  answerTools(() => new Response('sun'));
  await runWholeTurn(app, bob, { agent: 'sky' });
  const next = await requestEdge(app, 'PUT', '/agents/sky', root, { ...SKY, system: 'You are Sea.' });
  await requestEdge(app, 'DELETE', '/agents/sky', root);
  await abortAllDurableObjects();
  for (const agent of [undefined, 'sky', version])
    expect(typesOf(await runWholeTurn(app, bob, { agent }))).toEqual(RUN);
  for (const body of bodies) expect(toolsAndSystemOf(body).system).toEqual([YOU]);
  for (const agent of ['sea', String(next.body.version)]) {
    expect(errorIn(await runWholeTurn(app, bob, { agent }))).toContain(`this conversation uses ${version}`);
  }
  expect(errorIn(await runWholeTurn(app, bob, { prefix: 'support' }))).toMatch(
    /^400 .*cannot be added to a conversation/,
  );
  await requestEdge(app, 'POST', '/conversations', bob, { id: 'plain', model: SKY.model, max_tokens: 10 });
  expect(errorIn(await runWholeTurn(app, bob, { conversation: 'plain', agent: 'sky' }))).toMatch(/^400 .*without it/);
});

test('a run continues with its agent after a crash, even if the agent was deleted', async () => {
  const { app, root, bob, bodies, version } = await createSkyEdge();
  const called = answerTools((_, number) => (number === 1 ? new Promise(() => {}) : new Response('sun')));
  const first = runWholeTurn(app, bob, { agent: 'sky', system: 'Speak French.', max_tool_calls: 2 }).catch(
    () => undefined,
  );
  await eventually(() => expect(called).toHaveLength(1));
  await requestEdge(app, 'DELETE', '/agents/sky', root);
  await abortAllDurableObjects();
  await first;
  await eventually(async () => {
    const { body } = await requestEdge(app, 'GET', '/conversations/c1', bob);
    expect(body).toMatchObject({ state: 'idle', messages: 4, agent: { name: 'sky', version } });
  });
  expect(called).toHaveLength(2);
  expect(bodies).toHaveLength(2);
  for (const body of bodies) {
    expect(body).toMatchObject({ model: SKY.model, max_tokens: SKY.max_tokens });
    expect(toolsAndSystemOf(body)).toEqual({ tools: [TOLD], system: [YOU, { type: 'text', text: 'Speak French.' }] });
  }
});

test('a conversation can be created with an agent and defaults, and its copy keeps both', async () => {
  const { app, root, bob, bodies, version } = await createSkyEdge();
  answerTools(() => new Response('sun'));
  const defaults = { model: 'claude-haiku-5-5', max_tokens: 5_000, system: 'Speak French.' };
  const same = { id: 'c1', agent: 'sky', tools: [{ name: 'get_weather', input_schema: {} }] };
  expect(errorIn(await requestEdge(app, 'POST', '/conversations', bob, same))).toMatch(
    /^400 .*the agent already has a tool/,
  );
  const both = { id: 'c1', agent: 'sky', prefix: 'support' };
  expect(errorIn(await requestEdge(app, 'POST', '/conversations', bob, both))).toMatch(
    /^400 .*not supported with `agent`/,
  );
  const created = await requestEdge(app, 'POST', '/conversations', bob, { id: 'c1', agent: 'sky', ...defaults });
  expect(created).toMatchObject({
    status: 201,
    body: { agent: { name: 'sky', version }, model: SKY.model, max_tokens: 64 },
  });
  expect(typesOf(await runWholeTurn(app, bob, {}))).toEqual(RUN);
  await requestEdge(app, 'DELETE', '/agents/sky', root);
  const copy = await requestEdge(app, 'POST', '/conversations/c1/fork', bob, { id: 'c2' });
  expect(copy).toMatchObject({ status: 201, body: { agent: { name: 'sky', version } } });
  await abortAllDurableObjects();
  for (const conversation of ['c1', 'c2']) {
    expect(typesOf(await runWholeTurn(app, bob, { conversation }))).toEqual(RUN);
  }
  for (const body of bodies) {
    expect(body).toMatchObject({ model: SKY.model, max_tokens: SKY.max_tokens });
    expect(toolsAndSystemOf(body).system).toEqual([YOU, { type: 'text', text: 'Speak French.' }]);
  }
});

test("a request can restrict the agent's tools by name", async () => {
  const tools = [weatherTool(), weatherTool({}, 'get_tides')];
  const { app, bob, bodies } = await createSkyEdge({ ...SKY, tools }, 'get_tides');
  const called = answerTools(() => new Response('high'));
  expect(typesOf(await runWholeTurn(app, bob, { agent: 'sky', agent_tools: ['get_weather'] }))).toEqual(['text']);
  expect(bodies[0]).not.toHaveProperty('agent_tools');
  expect(toolsAndSystemOf(bodies[0] as never).tools.map(({ name }) => name)).toEqual(['get_weather']);
  expect(called).toHaveLength(0);
  expect(errorIn(await runWholeTurn(app, bob, { agent_tools: ['get_tide'] }))).toContain(
    'Its tools are: get_weather, get_tides.',
  );
  expect(errorIn(await runWholeTurn(app, bob, { agent_tools: 'get_tides' }))).toMatch(/^400 .*agent_tools/);
  expect(typesOf(await runWholeTurn(app, bob, {}))).toEqual(RUN);
});

test('agent_tools without an agent returns a 400, and nothing is sent to the upstream', async () => {
  const { app, bob, bodies } = await createSkyEdge();
  const narrowed = { model: 'claude-haiku-5-5', max_tokens: 10, agent_tools: ['get_weather'] };
  const messages = [{ role: 'user', content: 'Is it sunny?' }];
  expect(errorIn(await runWholeTurn(app, bob, narrowed))).toMatch(/^400 .*agent_tools: supported only with an agent/);
  for (const path of ['/v1/messages', '/count-tokens']) {
    const refused = await requestEdge(app, 'POST', path, bob, { ...narrowed, messages });
    expect(errorIn(refused), path).toMatch(/^400 .*agent_tools: supported only with an agent/);
  }
  expect(bodies).toEqual([]);
});

test("a request can require an approval for the agent's tools, but cannot remove a required one", async () => {
  const always = weatherTool({ approval: 'always' });
  const { app, bob } = await createSkyEdge({ ...SKY, tools: [always] });
  const called = answerTools(() => new Response('sun'));
  expect((await runWholeTurn(app, bob, { agent: 'sky', agent_tools: ['get_weather'] })).body.stop_reason).toBe(
    'pause_turn',
  );
  const other = await createSkyEdge({
    ...SKY,
    tools: [weatherTool(), { name: 'note', input_schema: { type: 'object' } }],
  });
  const agent_tools = [{ name: 'get_weather', approval: 'always' }, 'get_weather'];
  const waiting = await runWholeTurn(other.app, other.bob, { conversation: 'c2', agent: 'sky', agent_tools });
  expect(waiting.body.stop_reason).toBe('pause_turn');
  expect(called).toHaveLength(0);
  const { body } = await requestEdge(other.app, 'GET', '/conversations/c2/approvals', other.bob);
  const [row] = body.data as JsonObject[];
  expect(row).toMatchObject({ name: 'get_weather', input: { city: 'Bern' }, decision: null });
  const path = `/conversations/c2/approvals/${row?.id}`;
  expect((await requestEdge(other.app, 'POST', path, other.bob, { decision: 'approve' })).status).toBe(202);
  await eventually(() => expect(called).toHaveLength(1));
  for (const asked of [
    { name: 'get_weather', approval: 'never' },
    { name: 'note', approval: 'always' },
  ]) {
    const refused = await runWholeTurn(other.app, other.bob, {
      conversation: 'c3',
      agent: 'sky',
      agent_tools: [asked],
    });
    expect(errorIn(refused)).toMatch(/^400 .*agent_tools\.0/);
  }
});

test.each([
  [{ max_tool_calls: 0 }, 'max_tool_calls'],
  [{ max_tool_calls: 50, max_turns: 1 }, 'max_turns'],
])("a request lowers the agent's limits: %j", async (limits, reason) => {
  const { app, bob } = await createSkyEdge();
  answerTools(() => new Response('sun'));
  const said = await runWholeTurn(app, bob, { agent: 'sky', ...limits });
  expect(said.body.stop_reason).toBe('pause_turn');
  const { body } = await requestEdge(app, 'GET', '/conversations/c1/messages?view=shown', bob);
  expect((body.data as JsonObject[]).at(-1)?.paused).toBe(reason);
  expect(errorIn(await runWholeTurn(app, bob, { max_turns: 'many' }))).toMatch(/^400 .*max_turns/);
});

test('max_usd also limits an agent without tools', async () => {
  const { app, bob, bodies } = await createSkyEdge({
    ...SKY,
    tools: undefined,
    max_tokens: 8_000,
    limits: { max_usd: 0.05 },
  });
  expect((await runWholeTurn(app, bob, { agent: 'sky' })).status).toBe(200);
  // 20 dollars a million tokens of output.
  expect(Number(bodies[0]?.max_tokens)).toBeLessThanOrEqual(2_500);
  expect(Number(bodies[0]?.max_tokens)).toBeGreaterThan(2_000);
  expect(errorIn(await runWholeTurn(app, bob, { max_usd: 0.000001 }))).toMatch(/^400 .*max_usd/);
  expect(bodies).toHaveLength(1);
});

test('a token count includes the agent, before and after its conversation begins', async () => {
  const { app, bob } = await createSkyEdge({ ...SKY, temperature: 1 });
  answerTools(() => new Response('sun'));
  const count = (body: object) =>
    requestEdge(app, 'POST', '/v1/messages/count_tokens', bob, {
      messages: [{ role: 'user', content: 'Hi' }],
      ...body,
    });
  const plain = await count({ model: SKY.model });
  const early = await count({ conversation: 'c1', agent: 'sky' });
  expect(early.status).toBe(200);
  expect(Number(early.body.input_tokens)).toBeGreaterThan(Number(plain.body.input_tokens) + 20);
  expect((await count({ agent: 'sky' })).body).toEqual(early.body);
  expect(errorIn(await count({ agent: 'sea' }))).toMatch(/^404 .*The agent sea does not exist/);
  expect(errorIn(await count({ agent: 'sky', prefix: 'p' }))).toMatch(/^400 .*not supported with `agent`/);
  await runWholeTurn(app, bob, { agent: 'sky' });
  const late = await count({ conversation: 'c1' });
  expect(Number(late.body.input_tokens)).toBeGreaterThan(Number(early.body.input_tokens));
});

test("an agent cannot use a model that is missing from the account's list", async () => {
  const { app, root, bob, bodies } = await createSkyEdge();
  answerTools(() => new Response('sun'));
  await requestEdge(app, 'PUT', '/accounts/bob/limits', root, { models: ['claude-haiku-5-5'] });
  expect(errorIn(await runWholeTurn(app, bob, { agent: 'sky', model: 'claude-haiku-5-5' }))).toMatch(
    /^404 .*cannot use claude-opus-5-5/,
  );
  expect(bodies).toHaveLength(0);
  expect(
    (await runWholeTurn(app, await authorizationFor('carol', 'messages'), { agent: 'sky', conversation: 'd1' })).status,
  ).toBe(200);
});
