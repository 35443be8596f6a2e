import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { formatVersionReference } from '#edge/conversations/history/storage/rows.ts';
import { findAgent } from '#edge/conversations/object/initial-context.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { agentContent, agentDeleted } from '#edge/plugins/agents/agents-answers.schema.ts';
import { nameRow } from '#edge/registry/versions/versions-answers.schema.ts';
import { authorizationFor, createSimulatedEdge, type SimulatedEdge } from '#test/support/prefixes.ts';
import { answerTools, TOOL_URL, TOOL_VARS, weatherTool } from '#test/support/scripted-runs.ts';

const AGENT = { model: 'claude-opus-5-5', max_tokens: 64, system: 'Be kind.', description: 'Weather' };
type Headers = Record<string, string>;

/** Sends a request. @returns its status and its body */
async function ask(app: SimulatedEdge, method: string, path: string, headers: Headers, body?: unknown) {
  const sent = { method, headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await app.fetch(path, sent);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

test('an agent is stored with defaults for omitted limits, and read by name and by version', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  const put = await ask(app, 'PUT', '/agents/support', alice, { ...AGENT, limits: { max_usd: 0.5 } });
  expect(put.status).toBe(200);
  const { warnings, ...shown } = put.body;
  expect(warnings).toEqual([]);
  const stored = agentContent.parse(shown);
  expect(stored).toEqual({
    type: 'agent',
    name: 'support',
    version: stored.version,
    owner: 'account',
    ...AGENT,
    tools: [],
    limits: { max_turns: 10, max_usd: 0.5, max_tool_calls: 100, parallel_tools: 6 },
    approvers: 'owner',
  });
  for (const path of ['/agents/support', `/agents/${stored.version}`]) {
    expect((await ask(app, 'GET', path, alice)).body).toEqual(shown);
  }
});

test('a schema that Claude rejects is stored with a warning, and requests with it return 400', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  const number = { type: 'integer', minimum: 1 };
  const input_schema = { type: 'object', properties: { n: number }, required: ['n'], additionalProperties: false };
  const tools = [
    { name: 'loose', input_schema },
    { name: 'count', strict: true, input_schema },
    { name: 'pick', input_schema: { type: 'object', anyOf: [{ required: ['a'] }] } },
  ];
  const format = { type: 'json_schema', schema: { type: 'object' } };
  const put = await ask(app, 'PUT', '/agents/support', alice, { ...AGENT, tools, output_config: { format } });
  expect(put).toMatchObject({
    status: 200,
    body: {
      warnings: [
        'Claude will reject requests with this: tools.2.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level (the tool pick)',
        "Claude will reject requests with this: tools.1.custom.input_schema: For 'integer' type, property 'minimum' is not supported (the tool count, at properties.n)",
        "Claude will reject requests with this: output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
      ],
    },
  });
  const asked = await ask(app, 'POST', '/v1/messages', alice, {
    agent: 'support',
    messages: [{ role: 'user', content: 'Hi' }],
  });
  expect(asked.status).toBe(400);
  expect(JSON.stringify(asked.body)).toContain('tools.2.custom.input_schema: input_schema does not support');
});

test('storing an agent warns about a too large max_tokens, an unknown beta and a tool’s invalid field', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  const tools = [{ type: 'web_search_20260318', name: 'look_up' }];
  const wrong = { ...AGENT, model: 'claude-haiku-4-5', max_tokens: 100_000, betas: ['fast-mode-2020-01-01'], tools };
  const { status, body } = await ask(app, 'PUT', '/agents/support', alice, wrong);
  expect({ status, warnings: body.warnings }).toEqual({
    status: 200,
    warnings: [
      expect.stringContaining('Unexpected value(s) `fast-mode-2020-01-01` for the `anthropic-beta` header'),
      expect.stringContaining("tools.0.web_search_20260318.name: Input should be 'web_search'"),
      expect.stringContaining('max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens'),
    ],
  });
});

test('an MCP server’s tool whose schema Claude rejects is omitted with a warning, and the others are stored', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice', 'messages', 'prefixes', 'tools');
  const either = { type: 'object', anyOf: [{ required: ['id'] }, { required: ['url'] }] };
  const search = { anyOf: [{ properties: { text: { type: 'string' } }, required: ['text'] }] };
  const listed = [
    { name: 'fetch', inputSchema: either },
    { name: 'search', inputSchema: search },
  ];
  answerTools(({ body: { id, method } }) => {
    if (id === undefined) return new Response(null, { status: 202 });
    const hello = { protocolVersion: '2025-11-25', capabilities: {} };
    return Response.json({ jsonrpc: '2.0', id, result: method === 'initialize' ? hello : { tools: listed } });
  });
  const tools = [{ name: 'notes', run: { mcp: TOOL_URL } }];
  const leftOut = expect.stringContaining('tools.0.run.mcp: The tool fetch is left out');
  for (const path of ['/agents/support', '/prefixes/support']) {
    const { status, body } = await ask(app, 'PUT', path, alice, { ...AGENT, tools });
    expect({ status, warned: (body.warnings as string[]).slice(0, 1) }).toEqual({ status: 200, warned: [leftOut] });
    expect(JSON.stringify(body.warnings)).not.toContain('Claude will reject');
    expect((await ask(app, 'GET', path, alice)).body.tools).toMatchObject([
      { name: 'notes_search', input_schema: { type: 'object', properties: { text: {} }, required: ['text'] } },
    ]);
  }
});

test('equal agents share a version in any field order, and a name can return to an older version', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  const first = await ask(app, 'PUT', '/agents/support', alice, { ...AGENT, service_tier: 'auto', temperature: 1 });
  const { description, ...rest } = AGENT;
  const same = { temperature: 1, approvers: 'owner', description, limits: {}, ...rest, service_tier: 'auto' };
  expect((await ask(app, 'PUT', '/agents/support', alice, same)).body.version).toBe(first.body.version);
  const second = await ask(app, 'PUT', '/agents/support', alice, { ...same, system: 'Be brief.' });
  expect(second.body.version).not.toBe(first.body.version);
  const back = await ask(app, 'PUT', '/agents/support', alice, { version: first.body.version });
  expect(back).toEqual(first);
  const history = await ask(app, 'GET', '/agents/support/versions', alice);
  expect(history.body.data).toHaveLength(2);
  const list = await ask(app, 'GET', '/agents', alice);
  const rows = (list.body.data as unknown[]).map((row) => nameRow.parse(row));
  expect(rows.find(({ name }) => name === 'support')).toMatchObject({ type: 'agent', version: first.body.version });
  agentDeleted.parse((await ask(app, 'DELETE', '/agents/support', alice)).body);
  expect((await ask(app, 'GET', '/agents/support', alice)).status).toBe(404);
});

/** What is refused when it is stored, and how the refusal begins. */
const REFUSED: [object, string][] = [
  [
    { tool_choice: { type: 'any' } },
    'tool_choice: this value is not supported by claude-opus-5-5 (supported: auto and none).',
  ],
  [{ temperature: 0.3 }, 'temperature: this value is not supported by claude-opus-5-5 (supported: 1).'],
  [
    { top_p: 0.5 },
    'top_p: this value is not supported by claude-opus-5-5 (supported: 0.99 to 1, without a temperature).',
  ],
  [{ top_k: 5 }, 'top_k: this value is not supported by claude-opus-5-5 (supported: none).'],
  [
    { model: 'claude-haiku-4-5', output_config: { effort: 'low' } },
    'output_config.effort: this value is not supported by claude-haiku-4-5-20251001 (supported: none).',
  ],
  [
    { model: 'claude-opus-4-6', output_config: { effort: 'some' } },
    'output_config.effort: this value is not supported by claude-opus-4-6 (supported: low, medium, high, max).',
  ],
  [
    { speed: 'fast', fallback_models: ['claude-opus-5', 'claude-haiku-5-5'] },
    'speed: this value is not supported by claude-haiku-5-5 (supported: standard).',
  ],
  [
    { model: 'claude-haiku-4-5', fallback_models: ['claude-opus-5-5'] },
    'max_tokens: this value is not supported by claude-opus-5-5 (supported: 2048 or more with thinking).',
  ],
  [
    { output_config: { effort: 'xhigh' }, fallbacks: [{ model: 'claude-opus-4-6' }] },
    'output_config.effort: this value is not supported by claude-opus-4-6 (supported: low, medium, high, max).',
  ],
  [
    {
      model: { by: 'level', models: { easy: 'claude-opus-5' }, otherwise: 'claude-haiku-5-5' },
      thinking: { type: 'disabled' },
      output_config: { effort: 'max' },
    },
    'output_config.effort: this value is not supported by claude-haiku-5-5 (supported: low, medium, high).',
  ],
  [
    {
      model: {
        by: 'level',
        models: { easy: 'claude-haiku-5-5', hard: 'claude-sonnet-5-5' },
        otherwise: 'claude-opus-5',
      },
      tool_choice: { type: 'tool', name: 'find' },
    },
    'tool_choice: this value is not supported by claude-sonnet-5-5 (supported: auto and none).',
  ],
];

test('an agent with a value that one of its models does not support is a 400 with the supported values', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice', 'messages', 'prefixes', 'classify');
  expect((await ask(app, 'PUT', '/classifiers/level', alice, { labels: ['easy', 'hard'] })).status).toBe(200);
  for (const [more, told] of REFUSED) {
    const { status, body } = await ask(app, 'PUT', '/agents/refused', alice, { ...AGENT, ...more });
    const { type, message } = body.error as { type: string; message: string };
    expect([status, type, message]).toEqual([400, 'invalid_request_error', `${told} Change it, or use another model.`]);
  }
  expect((await ask(app, 'GET', '/agents/refused', alice)).status).toBe(404);
  const fits = { tool_choice: { type: 'any' }, fallback_models: ['claude-haiku-4-5'], thinking: { type: 'disabled' } };
  expect((await ask(app, 'PUT', '/agents/taken', alice, { ...AGENT, model: 'claude-opus-4-8', ...fits })).status).toBe(
    200,
  );
});

test('an agent stored before its model stopped supporting a parameter is still sent upstream with that parameter', async () => {
  const alice = await authorizationFor('alice');
  const before = createSimulatedEdge({
    ...TOOL_VARS,
    PRICES: JSON.stringify({ 'claude-opus-5-5': { forced_tools: true } }),
  });
  const agent = { ...AGENT, tools: [{ name: 'find', input_schema: { type: 'object' } }], tool_choice: { type: 'any' } };
  expect((await ask(before, 'PUT', '/agents/old', alice, agent)).status).toBe(200);
  const app = createSimulatedEdge(TOOL_VARS);
  const asked = { agent: 'old', messages: [{ role: 'user', content: 'Hi' }] };
  await ask(app, 'POST', '/v1/messages', alice, asked);
  expect(app.sent.map(({ text }) => JSON.parse(text).tool_choice)).toEqual([{ type: 'any' }]);
});

test('an admin’s agent is shared; an account’s own agent takes precedence, and is hidden from other accounts', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const [root, alice, bob] = [
    await authorizationFor('root', 'admin'),
    await authorizationFor('alice'),
    await authorizationFor('bob'),
  ];
  await ask(app, 'PUT', '/agents/support', root, AGENT);
  const own = await ask(app, 'PUT', '/agents/support', alice, { ...AGENT, system: 'Hers.' });
  const seen = async (headers: Headers, ref = 'support') => (await ask(app, 'GET', `/agents/${ref}`, headers)).body;
  expect((await seen(alice)).owner).toBe('account');
  expect((await seen(bob)).owner).toBe('deployment');
  expect((await ask(app, 'GET', `/agents/${own.body.version}`, bob)).status).toBe(404);
  const context = { env: env as unknown as Bindings, settings: parseSettingsOnce({ ...env, ...TOOL_VARS }) };
  await app.waitUntilSettled();
  const asking = (account: string) => ({ account, scopes: [] });
  const { agent } = await findAgent(context, asking('alice'), 'support');
  expect([agent.name, formatVersionReference(agent)]).toEqual(['support', own.body.version]);
  const { stored } = await findAgent(context, asking('bob'), 'support');
  expect(JSON.parse(stored.text)).toMatchObject({ model: AGENT.model, limits: {} });
  await expect(findAgent(context, asking('bob'), String(own.body.version))).rejects.toThrow('The agent support@');
});

test('storing tools with an address needs the scope `tools`, and callers without it cannot read the address', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const plain = await authorizationFor('alice');
  const trusted = await authorizationFor('alice', 'messages', 'prefixes', 'tools');
  const body = { ...AGENT, tools: [weatherTool()] };
  const refused = await ask(app, 'PUT', '/agents/sky', plain, body);
  expect(refused).toMatchObject({ status: 403, body: { error: { type: 'permission_error' } } });
  expect(JSON.stringify(refused.body)).toContain('the scope `tools`');
  const stored = await ask(app, 'PUT', '/agents/sky', trusted, body);
  expect(stored.body.tools).toEqual([weatherTool()]);
  const { run: _, ...told } = weatherTool();
  const read = await ask(app, 'GET', '/agents/sky', plain);
  expect(read.body.tools).toEqual([told]);
  expect(JSON.stringify(read.body)).not.toContain(TOOL_URL);
});

test('only admins read the addresses and headers of the deployment’s tools', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const root = await authorizationFor('root', 'admin');
  const tenant = await authorizationFor('bob', 'messages', 'prefixes', 'tools');
  const tool = weatherTool({ headers: { 'x-key': 'of the operator' } });
  const { run: _, ...told } = tool;
  for (const path of ['/agents/sky', '/prefixes/sky']) {
    const body = path === '/agents/sky' ? { ...AGENT, tools: [tool] } : { system: 'Be kind.', tools: [tool] };
    expect((await ask(app, 'PUT', path, root, body)).status).toBe(200);
    expect((await ask(app, 'GET', path, root)).body.tools).toEqual([tool]);
    expect((await ask(app, 'GET', path, tenant)).body.tools).toEqual([told]);
  }
});

test('an agent tool takes its description from the agent, unless the tool has its own', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const [root, alice] = [await authorizationFor('root', 'admin'), await authorizationFor('alice')];
  await ask(app, 'PUT', '/agents/sky', root, { ...AGENT, description: 'Knows the weather.' });
  const tools = [
    { name: 'sky', run: { agent: 'sky' } },
    { name: 'mine', description: 'Knows it all.', run: { agent: 'sky' } },
    { name: 'later', run: { agent: 'not_yet' } },
  ];
  const described = async (who: Headers) => {
    const { status, body } = await ask(app, 'PUT', '/agents/editor', who, { ...AGENT, tools });
    expect(status).toBe(200);
    return (body.tools as { description?: string }[]).map(({ description }) => description);
  };
  expect(await described(alice)).toEqual(['Knows the weather.', 'Knows it all.', undefined]);
  // Alice's own comes first in hers, and never in the deployment's.
  await ask(app, 'PUT', '/agents/sky', alice, { ...AGENT, description: 'Knows the stars.' });
  expect(await described(alice)).toEqual(['Knows the stars.', 'Knows it all.', undefined]);
  expect(await described(root)).toEqual(['Knows the weather.', 'Knows it all.', undefined]);
});

test('listing an MCP server’s tools counts towards the request limit, even if it fails', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const trusted = await authorizationFor('alice', 'messages', 'prefixes', 'tools');
  const asked = answerTools(() => new Response(null, { status: 503 }));
  const root = await authorizationFor('root', 'admin');
  const limited = await ask(app, 'PUT', '/accounts/alice/limits', root, { requests_per_minute: 2 });
  expect(limited.status).toBe(200);
  const statuses: number[] = [];
  const tools = [{ name: 'tracker', run: { mcp: 'https://tools.example.com/mcp' } }];
  for (const path of ['/agents/sky', '/prefixes/sky', '/agents/sky', '/prefixes/sky']) {
    const body = path === '/agents/sky' ? { ...AGENT, tools } : { system: 'Be kind.', tools };
    statuses.push((await ask(app, 'PUT', path, trusted, body)).status);
  }
  expect(statuses).toEqual([502, 502, 429, 429]);
  expect(asked).toHaveLength(2);
});

const USED = { name: 'used', input_schema: { type: 'object' } };

test.each([
  [{ ...AGENT, model: undefined }, 'model: Field required'],
  [{ ...AGENT, max_tokens: undefined }, 'max_tokens: Field required'],
  [{ ...AGENT, messages: [] }, 'messages'],
  [{ ...AGENT, limits: { max_turns: 0 } }, 'limits.max_turns'],
  [{ ...AGENT, limits: { max_dollars: 1 } }, 'max_dollars'],
  [{ ...AGENT, approvers: 'anybody' }, "'owner' or 'admin'"],
  [{ ...AGENT, tools: [USED, USED] }, 'tools.1.name: Tool names must be unique.'],
  [{ ...AGENT, tools: [USED, { name: 'a' }] }, 'tools.1.input_schema: Field required without `run`'],
  [{ ...AGENT, tools: [{ ...USED, run: 'edge' }] }, 'tools.0.run: must be \\"worker\\"'],
  [{ ...AGENT, system: [{ type: 'text', text: 'x', cache_control: { type: 'ephemeral' } }] }, 'system.0.cache_control'],
  [{ ...AGENT, tools: [{ name: 'a', run: 'worker' }] }, 'no tool of this name'],
])('an invalid agent is a 400 that names the field: %j', async (body, words) => {
  const app = createSimulatedEdge(TOOL_VARS);
  const answer = await ask(app, 'PUT', '/agents/support', await authorizationFor('alice'), body);
  expect(answer.status).toBe(400);
  expect(JSON.stringify(answer.body)).toContain(words);
});

test('a model choice is stored only with labels of its classifier, and equal choices share a version', async () => {
  const app = createSimulatedEdge(TOOL_VARS);
  const alice = await authorizationFor('alice');
  const choice = { by: 'difficulty', models: { easy: 'claude-haiku-5-5', hard: AGENT.model }, otherwise: AGENT.model };
  const put = (model: unknown) => ask(app, 'PUT', '/agents/router', alice, { ...AGENT, model });
  expect(await put(choice)).toMatchObject({ status: 404 });
  await ask(app, 'PUT', '/classifiers/difficulty', alice, { labels: ['easy', 'hard'] });
  await ask(app, 'PUT', '/classifiers/several', alice, { labels: ['easy', 'hard'], multi: true });
  const slow = { labels: ['easy', 'hard'], model: 'claude-opus-5-5' };
  await ask(app, 'PUT', '/classifiers/slow', alice, slow);
  const first = await put(choice);
  expect(agentContent.parse(first.body).model).toEqual(choice);
  const { hard, easy } = choice.models;
  const same = await put({ otherwise: AGENT.model, models: { hard, easy }, by: 'difficulty' });
  expect(same.body.version).toBe(first.body.version);
  for (const [wrong, said] of [
    [{ ...choice, models: { hrad: hard } }, '"hrad\\" is not a label of'],
    [{ ...choice, models: {} }, 'model'],
    [{ ...choice, by: 'several' }, 'can return several labels'],
    [{ ...choice, by: 'slow' }, 'claude-opus-5-5, which always thinks'],
    [{ ...choice, by: 'slow' }, 'without thinking: claude-haiku-5-5, '],
    [{ ...choice, control: 0.05 }, 'control'],
    [7, 'Input should be a model, or'],
  ] as const) {
    const { status, body } = await put(wrong);
    expect([status, JSON.stringify(body)]).toEqual([400, expect.stringContaining(said)]);
  }
});
