import { expect, test } from 'vitest';
import { conversationReport, conversationRow } from '#edge/conversations/object/conversations-answers.schema.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { authorizationFor, createSimulatedEdge, type SimulatedEdge } from '#test/support/prefixes.ts';
import { answerByScript, callsAnswer, textAnswer } from '#test/support/scripted-runs.ts';
import { agentNameOf, createAgentTool, createTask, storeAgents, toolResultsOf } from '#test/support/subagents.ts';

test('subagents are listed only under their parent, can be read and forked, and reject messages and rewinds', async () => {
  answerByScript((body) => {
    if (agentNameOf(body) === 'researcher') return textAnswer('Found.');
    return toolResultsOf(body).size === 0
      ? callsAnswer(createTask('toolu_1', 'researcher'), createTask('toolu_2', 'researcher'))
      : textAnswer('Done.');
  });
  await storeAgents({ researcher: {} });
  const app = createSimulatedEdge();
  // Whoever may use an agent may have it called.
  const alice = await authorizationFor('alice', 'messages');
  const request = { model: 'claude-opus-5-5', max_tokens: 200, tools: [createAgentTool('researcher')] };
  const messages = [{ role: 'user', content: 'Find out.' }];
  const answer = await app.post('/v1/messages', { ...request, messages, conversation: 'trip' }, alice);
  expect(answer.status).toBe(200);
  await app.waitUntilSettled();

  const list = async (query = '') => {
    const response = await app.fetch(`/conversations${query}`, { headers: alice });
    const { data } = (await response.json()) as { data: unknown[] };
    return data.map((row) => conversationRow.parse(row));
  };
  expect((await list()).map(({ id }) => id)).toEqual(['trip']);
  const subagents = await list('?parent=trip');
  expect(subagents.map(({ parent, tool_use_id }) => [parent, tool_use_id]).toSorted()).toEqual([
    ['trip', 'toolu_1'],
    ['trip', 'toolu_2'],
  ]);
  const [{ id = '' } = {}] = subagents;
  expect(id).toMatch(/^sub_[0-9a-f]{32}$/);
  const read = conversationReport.parse(await (await app.fetch(`/conversations/${id}`, { headers: alice })).json());
  expect(read).toMatchObject({ parent: 'trip', turns: 1 });
  expect((await list(`?parent=${id}`)).length).toBe(0);

  const post = async (path: string, body: object) => {
    const response = await app.post(path, body, alice);
    return [response.status, (await readError(response)).message];
  };
  const go = { ...request, messages, conversation: id };
  expect(await post('/messages', go)).toEqual([400, expect.stringContaining('/fork')]);
  expect(await post(`/conversations/${id}/rewind`, { before: 'msg_1' })).toEqual([
    400,
    expect.stringContaining('/fork'),
  ]);
  expect(await post('/conversations', { id: 'hook_mine' })).toEqual([400, expect.stringContaining('hook_')]);
  expect(await post('/conversations', { id: 'sub_mine' })).toEqual([400, expect.stringContaining('sub_')]);
  expect(await post('/conversations/trip/fork', { id: 'sub_mine' })).toEqual([400, expect.stringContaining('sub_')]);
  const fork = await app.post(`/conversations/${id}/fork`, { id: 'own' }, alice);
  expect(fork.status).toBe(201);
  expect(conversationReport.parse(await fork.json())).not.toHaveProperty('parent');
  expect((await list()).map((row) => row.id)).toEqual(['own', 'trip']);
  const bob = await authorizationFor('bob', 'messages');
  expect((await app.fetch(`/conversations/${id}`, { headers: bob })).status).toBe(404);
});

test('agents and prefixes of the deployment call its own agents, not a caller’s agent with the same name', async () => {
  const root = await authorizationFor('root', 'admin');
  const bob = await authorizationFor('bob', 'messages', 'prefixes');
  const own = { model: 'claude-opus-5-5', max_tokens: 200 };
  const tools = [createAgentTool('checker')];
  const stored = [
    [root, '/agents/checker', { ...own, system: 'checker' }],
    [root, '/agents/boss', { ...own, system: 'boss', tools }],
    [root, '/prefixes/beginning', { ...own, system: 'beginning', tools }],
    [bob, '/agents/checker', { ...own, system: 'of bob' }],
    [bob, '/agents/between', { ...own, system: 'between', tools: [createAgentTool('boss'), ...tools] }],
  ] as const;
  const app = createSimulatedEdge();
  for (const [who, path, body] of stored) expect((await request(app, 'PUT', path, who, body)).status).toBe(200);
  const called: string[] = [];
  answerByScript((body) => {
    const agent = agentNameOf(body);
    if (agent === 'checker' || agent === 'of bob') called.push(agent);
    const names = Array.isArray(body.tools) ? body.tools.map(({ name }) => String(name)) : [];
    if (names.length === 0 || toolResultsOf(body).size > 0) return textAnswer('Done.');
    return callsAnswer(...names.map((name) => createTask(`toolu_${agent ?? ''}_${name}`, name)));
  });
  const messages = [{ role: 'user', content: 'Check it.' }];
  const calledIn = async (more: object) => {
    called.length = 0;
    const conversation = `c_${crypto.randomUUID()}`;
    const { status } = await request(app, 'POST', '/v1/messages', bob, { ...own, messages, conversation, ...more });
    await app.waitUntilSettled();
    // Calls of one step run beside each other, in no order.
    return [status, ...called.toSorted()];
  };
  expect(await calledIn({ agent: 'boss' })).toEqual([200, 'checker']);
  expect(await calledIn({ prefix: 'beginning' })).toEqual([200, 'checker']);
  // What bob has brought himself is bob's, also beside the deployment's.
  expect(await calledIn({ tools })).toEqual([200, 'of bob']);
  expect(await calledIn({ agent: 'boss', tools: [createAgentTool('checker', {}, 'mine')] })).toEqual([
    200,
    'checker',
    'of bob',
  ]);
  expect(await calledIn({ agent: 'between' })).toEqual([200, 'checker', 'of bob']);
});

async function request(
  app: SimulatedEdge,
  method: string,
  path: string,
  headers: Record<string, string>,
  body: object,
) {
  const sent = { method, headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await app.fetch(path, sent);
  await response.text();
  return response;
}

test('an invalid agent tool in a request is a 400 that names the field', async () => {
  answerByScript(() => textAnswer('Nothing.'));
  const app = createTestApp(() => Response.json({}));
  for (const run of [
    { agent: '' },
    { agent: 'a b' },
    { agent: 'x', url: 'https://x.example' },
    { agent: 'x', once: true },
  ]) {
    const tools = [{ name: 'x', run }];
    const messages = [{ role: 'user', content: 'Hi' }];
    const body = { model: 'claude-opus-5-5', max_tokens: 20, conversation: 'c1', messages, tools };
    const response = await app.post('/messages', body);
    expect(response.status).toBe(400);
    expect((await readError(response)).message).toContain('tools.0.run');
  }
});
