import { expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { createSkyEdge, requestEdge, runWholeTurn, SKY } from '#test/support/agents.ts';
import { authorizationFor } from '#test/support/prefixes.ts';
import { weatherTool } from '#test/support/scripted-runs.ts';

const PICK = { name: 'pick', input_schema: { type: 'object', properties: { city: { type: 'string' } } } };
const NOTE = { name: 'note', input_schema: { type: 'object' } };
/** An agent whose tools are its client's. */
const TALKING = {
  ...SKY,
  thinking: { type: 'adaptive' },
  tools: [PICK, { ...NOTE, name: 'later' }],
  limits: { max_usd: 5 },
};
const MESSAGES = [{ role: 'user', content: 'Is it sunny?' }];
const errorIn = ({ status, body }: { status: number; body: JsonObject }) =>
  `${status} ${(body.error as JsonObject | undefined)?.message}`;

/** An edge with the agent `sky`, which is asked without a conversation. */
async function edgeWithTalking(agent: object = TALKING) {
  const edge = await createSkyEdge(agent, 'none');
  const say = (body: object = {}, headers = edge.bob) =>
    requestEdge(edge.app, 'POST', '/v1/messages', headers, { agent: 'sky', messages: MESSAGES, ...body });
  const up = () => JSON.parse(edge.app.sent.at(-1)?.text ?? '{}') as JsonObject;
  return { ...edge, say, up };
}

const marked = (text: string) => ({ type: 'text', text, cache_control: { type: 'ephemeral' } });

test.each([
  ['a plain message', {}],
  ['what an SDK must send', { model: 'claude-haiku-5-5', max_tokens: 1, temperature: 0, service_tier: 'auto' }],
  ['a system and tools of its own', { system: 'Speak French.', tools: [NOTE], metadata: { user_id: 'u1' } }],
  [
    'fewer tools, lower limits, and what is for a turn',
    { agent_tools: ['pick'], max_turns: 1, on_pending_tools: 'cancel' },
  ],
  ['a breakpoint of its own', { system: [marked('a')] }],
  ['all breakpoints that there are', { system: ['a', 'b', 'c', 'd'].map(marked) }],
  ['caching of its own', { cache_control: { type: 'ephemeral', ttl: '5m' } }],
  ['long words', { system: 'Wörter. '.repeat(50_000) }],
  [
    'a history',
    { messages: [...MESSAGES, { role: 'assistant', content: 'Yes.' }, { role: 'user', content: 'And now?' }] },
  ],
])('an agent’s stateless message sends the same body as the first turn of a conversation: %s', async (_, body) => {
  const { say, up, app, bob, bodies } = await edgeWithTalking();
  const turn = await runWholeTurn(app, bob, { agent: 'sky', ...body });
  expect(turn.status, JSON.stringify(turn.body)).toBe(200);
  const alone = await say(body);
  expect(alone.status, JSON.stringify(alone.body)).toBe(200);
  const { stream: __, ...first } = bodies[0] as JsonObject;
  expect(up()).toEqual(first);
  for (const part of ['system', 'tools'] as const) {
    expect(app.sent.at(-1)?.text).toContain(JSON.stringify(first[part]));
  }
});

test('the response, log, ledger and usage name the agent’s version, whether a field or a header selects it', async () => {
  const { app, bob, root, version } = await edgeWithTalking();
  const { agent: _, ...plain } = { agent: 'sky', messages: MESSAGES };
  const streamed = await app.post('/messages', plain, { ...bob, 'sluice-agent': 'sky' });
  expect(streamed.headers.get('content-type')).toContain('text/event-stream');
  expect(streamed.headers.get('sluice-agent')).toBe(version);
  expect(await streamed.text()).toContain('message_stop');
  const whole = await app.post('/v1/messages', { ...plain, agent: version }, bob);
  expect([whole.status, whole.headers.get('sluice-agent')]).toEqual([200, version]);
  await whole.text();
  await app.waitUntilSettled();
  expect(app.log.filter(({ agent }) => agent === version)).toHaveLength(2);
  const { body } = await requestEdge(app, 'GET', '/usage?group_by=agent', bob);
  expect(body.data).toEqual([expect.objectContaining({ key: version, requests: 2 })]);
  const ledger = await requestEdge(app, 'GET', '/usage/requests?account=bob', root);
  expect((ledger.body.data as JsonObject[]).map(({ agent, conversation }) => [agent, conversation])).toEqual([
    [version, null],
    [version, null],
  ]);
});

test('the account’s list of models and the agent’s cost limit apply to a stateless message', async () => {
  const { app, root, say, up } = await edgeWithTalking({
    ...SKY,
    tools: undefined,
    max_tokens: 8_000,
    limits: { max_usd: 0.05 },
  });
  expect((await say()).status).toBe(200);
  // 20 dollars a million tokens of output.
  expect(Number(up().max_tokens)).toBeLessThanOrEqual(2_500);
  expect(Number(up().max_tokens)).toBeGreaterThan(2_000);
  expect(errorIn(await say({ max_usd: 0.000001 }))).toMatch(/^400 .*max_usd/);
  await requestEdge(app, 'PUT', '/accounts/bob/limits', root, { models: ['claude-haiku-5-5'] });
  expect(errorIn(await say({ model: 'claude-haiku-5-5' }))).toMatch(/^404 .*cannot use claude-opus-5-5/);
  expect(app.sent).toHaveLength(1);
});

test('an agent with tools that Sluice calls needs a conversation, unless `agent_tools` omits these tools', async () => {
  const { app, bob, say, up } = await edgeWithTalking({ ...SKY, tools: [weatherTool(), PICK] });
  expect(errorIn(await say())).toMatch(/^400 agent: sky has tools .*require a conversation.* Send `conversation`/);
  expect(errorIn(await say({ agent_tools: ['get_weather'] }))).toMatch(/^400 agent: sky /);
  expect(app.sent).toEqual([]);
  expect((await say({ agent_tools: ['pick'] })).status).toBe(200);
  expect((up().tools as JsonObject[]).map(({ name }) => name)).toEqual(['pick']);
  const counted = { agent: 'sky', messages: MESSAGES };
  expect((await requestEdge(app, 'POST', '/count-tokens', bob, counted)).status).toBe(200);
});

test.each([
  [{ agent: 'sea' }, /^404 The agent sea does not exist/],
  [{ agent: 'a b' }, /^400 agent: /],
  [{ prefix: 'support' }, /^400 prefix: not supported with `agent`/],
  [{ tools: [PICK] }, /^400 tools\.0\.name: the agent already has a tool of this name/],
  [{ tools: [{ ...weatherTool(), name: 'other' }] }, /^400 tools: .*require a conversation/],
  [{ agent_tools: ['get_tide'] }, /^400 agent_tools\.0: .*Its tools are: pick, later\./],
  [{ agent: undefined, agent_tools: ['pick'] }, /^400 agent_tools: supported only with an agent/],
  [{ background: true }, /^400 background: requires a conversation/],
  [{ max_tokens: 'many' }, /^400 max_tokens/],
  [{ max_turns: 'many' }, /^400 .*max_turns/],
  [{ messages: [] }, /^400 messages: at least one/],
])('an invalid stateless message to an agent is rejected and not forwarded: %j', async (body, words) => {
  const { app, say } = await edgeWithTalking();
  expect(errorIn(await say(body))).toMatch(words);
  expect(app.sent).toEqual([]);
});

test('an account’s own agent takes precedence, and a deleted version returns 404', async () => {
  const { app, root, say, up, version } = await edgeWithTalking();
  const storing = await authorizationFor('bob', 'messages', 'prefixes');
  const own = await requestEdge(app, 'PUT', '/agents/sky', storing, { ...TALKING, system: 'His own.' });
  expect((await say()).status).toBe(200);
  expect(JSON.stringify(up().system)).toContain('His own.');
  await requestEdge(app, 'PUT', '/agents/sky', storing, { ...TALKING, system: 'His next.' });
  expect((await say({ agent: own.body.version }, storing)).status).toBe(200);
  const { status } = await requestEdge(
    app,
    'DELETE',
    `/agents/${String(own.body.version).replace('@', '/versions/')}`,
    storing,
  );
  expect(status).toBe(200);
  for (const headers of [storing, await authorizationFor('bob', 'messages')]) {
    expect(errorIn(await say({ agent: own.body.version }, headers))).toMatch(/^404 The agent sky@/);
  }
  expect((await say({ agent: version }, root)).status).toBe(200);
  expect(app.sent).toHaveLength(3);
});

test('the agent’s fallback models apply, not those of the header', async () => {
  const { app, bob, root } = await edgeWithTalking({ ...TALKING, fallback_models: ['claude-haiku-5-5'] });
  await requestEdge(app, 'PUT', '/accounts/bob/limits', root, { usd_per_day: 0.0008 });
  const asked = { agent: 'sky', messages: MESSAGES, stream: false };
  const answer = await app.post('/messages', asked, { ...bob, 'sluice-fallback-models': '' });
  expect(answer.status, await answer.clone().text()).toBe(200);
  expect(answer.headers.get('sluice-fallback-from')).toBe(SKY.model);
  await answer.text();
});
