import { describe, expect, test } from 'vitest';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { createBody, createTestApp } from '#test/support/app.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { authorizationFor, createSimulatedEdge } from '#test/support/prefixes.ts';
import {
  answerByScript,
  callsAnswer,
  type ScriptedAnswer,
  TOOL_VARS,
  textAnswer,
} from '#test/support/scripted-runs.ts';
import { agentNameOf, createAgentTool, createTask, toolResultsOf } from '#test/support/subagents.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { sseResponse } from '#test/support/wire.ts';

const SECRET = 'the-token-of-the-maps-0123456789';
const VARS = { ...TOOL_VARS, TOOL_SECRET_MAPS: `mcp.example.com=Bearer ${SECRET}` };
const MAPS = {
  type: 'url',
  name: 'maps',
  url: 'https://mcp.example.com/mcp?v=2',
  authorization_token: { secret: 'MAPS' },
};
const OPEN = { type: 'url', name: 'open', url: 'https://open.example.com/mcp' };
const SKILLS = { skills: [{ type: 'custom', skill_id: 'skill_of_the_house', version: 'latest' }] };
const FALLBACKS = [{ model: 'claude-sonnet-5-5', max_tokens: 32 }];
const BETAS = ['mcp-client-2025-11-20', 'skills-2025-10-02', 'server-side-fallback-2026-07-01'];
const AGENT = {
  model: 'claude-opus-5-5',
  max_tokens: 64,
  system: 'maps',
  tools: [{ type: 'mcp_toolset', mcp_server_name: 'maps' }],
  mcp_servers: [MAPS, OPEN],
  container: SKILLS,
  fallbacks: FALLBACKS,
  betas: BETAS,
};
const MESSAGES = [{ role: 'user', content: 'Where is Bern?' }];
const SENT = { conversation: 'c1', agent: 'maps', messages: MESSAGES, max_tokens: 9 };

/** What goes up: the body, and the betas. */
interface Up {
  body: JsonObject;
  betas: string | null;
}
type Who = Record<string, string>;

const CONTAINER = { id: 'container_1', expires_at: '2030-01-01T00:00:00Z', ...SKILLS };

/** A server that repeats the secret it was sent, in several ways. */
const repeats: ScriptedAnswer = {
  content: [
    { type: 'mcp_tool_use', id: 'mcptoolu_1', name: 'find', server_name: 'maps', input: { of: 'Bern' } },
    {
      type: 'mcp_tool_result',
      tool_use_id: 'mcptoolu_1',
      is_error: false,
      content: [{ type: 'text', text: `authorization: Bearer ${SECRET}` }],
    },
    { type: 'text', text: 'In Switzerland.' },
  ],
  // The API tells the container twice.
  change: (text) =>
    text
      .replace('"role":"assistant"', `"role":"assistant","container":${JSON.stringify(CONTAINER)}`)
      .replace('"delta":{"stop_reason"', `"delta":{"container":${JSON.stringify(CONTAINER)},"stop_reason"`),
};

const inAll = (masked: boolean) => ({
  'streamed in a conversation': masked,
  'kept in it': masked,
  streamed: masked,
  // What comes in one piece is read as one.
  whole: true,
});
const search = { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: { query: 'Bern' } };
const found = { type: 'web_search_result', url: 'https://a.example', title: SECRET, encrypted_content: 'x' };
/** Where an answer may repeat the token, and where it is masked then: as `docs/agents.md` says it. */
const PLACES: [string, JsonObject[], Record<string, boolean>][] = [
  ['in the result of a server', repeats.content as JsonObject[], inAll(true)],
  ['in what the model says', [{ type: 'text', text: `It is ${SECRET}.` }], inAll(false)],
  [
    'in what it thinks',
    [
      { type: 'thinking', thinking: SECRET, signature: 'c2ln' },
      { type: 'text', text: 'So.' },
    ],
    inAll(false),
  ],
  [
    'in what it asks a server',
    [
      { type: 'mcp_tool_use', id: 'mcptoolu_1', name: 'find', server_name: 'maps', input: { of: SECRET } },
      ...(repeats.content as JsonObject[]).slice(1),
    ],
    inAll(false),
  ],
  [
    'in what another tool of the API has found',
    [
      search,
      { type: 'web_search_tool_result', tool_use_id: 'srvtoolu_1', content: [found] },
      { type: 'text', text: 'So.' },
    ],
    { ...inAll(true), 'streamed in a conversation': false, 'kept in it': false },
  ],
];

/** An edge with the agent, before a Claude API that answers as a script says. */
async function edgeWith(
  agent: object = AGENT,
  { vars = VARS, status = 200, script = repeats }: { vars?: object; status?: number; script?: ScriptedAnswer } = {},
) {
  const ups: Up[] = [];
  /** Everything that the edge has said. */
  const said: string[] = [];
  const whole = (script: ScriptedAnswer, model: unknown): JsonObject => ({
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model,
    container: CONTAINER,
    stop_reason: 'end_turn',
    usage: { input_tokens: 100, output_tokens: 10 },
    content: script.content,
  });
  const app = createTestApp(
    ({ text, headers, url }) => {
      const body = JSON.parse(text || '{}') as JsonObject;
      ups.push({ body, betas: headers.get('anthropic-beta') });
      if (url.pathname.endsWith('/count_tokens')) return Response.json({ input_tokens: 100 });
      if (status !== 200) return Response.json(refusal(), { status });
      const message = whole(script, body.model);
      if (body.stream !== true) return Response.json(message);
      return sseResponse(createBody([createMessageEventStream(message)]));
    },
    { ...DEPLOYED_VARS, ...vars },
  );
  const bodies = answerByScript(
    (body) => {
      if (status !== 200) return Response.json(refusal(), { status });
      if (agentNameOf(body) !== 'boss') return script;
      return toolResultsOf(body).size > 0 ? textAnswer('Done.') : callsAnswer(createTask('toolu_1', 'maps'));
    },
    {
      vars: vars as Record<string, string>,
      before: async ({ headers, body }) => {
        const text = await new Response(body as BodyInit).clone().text();
        ups.push({ body: JSON.parse(text) as JsonObject, betas: new Headers(headers).get('anthropic-beta') });
      },
    },
  );
  const tell = async (method: string, path: string, who: Who, body?: unknown) => {
    const sent = { ...(body !== undefined && { body: JSON.stringify(body) }) };
    const response = await app.fetch(path, {
      method,
      headers: { 'content-type': 'application/json', ...who },
      ...sent,
    });
    const text = await response.text();
    await app.waitUntilSettled();
    said.push(text, JSON.stringify([...response.headers]));
    return { status: response.status, text, error: (readObject(text).error as JsonObject | undefined)?.message };
  };
  const root = await authorizationFor('root', 'admin');
  const bob = await authorizationFor('bob', 'messages');
  const put = await tell('PUT', '/agents/maps', root, agent);
  return { app, ups, said, bodies, tell, root, bob, put };
}

const refusal = () => ({
  type: 'error',
  error: { type: 'invalid_request_error', message: `mcp_servers.0: ${SECRET} was refused` },
});

function readObject(text: string): JsonObject {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return {};
  }
}

/** Of an agent’s request that went up. */
function expectAll({ body, betas }: Up | undefined = { body: {}, betas: null }, counts = false): void {
  expect(body.mcp_servers).toEqual([{ ...MAPS, authorization_token: SECRET }, OPEN]);
  expect(body.tools).toMatchObject(AGENT.tools);
  expect(body.container).toEqual(counts ? undefined : SKILLS);
  expect(body.fallbacks).toEqual(counts ? undefined : FALLBACKS);
  expect(body.betas).toBeUndefined();
  expect(betas?.split(',')).toEqual(expect.arrayContaining(BETAS));
}

describe('an agent with MCP servers, skills, fallbacks and betas', () => {
  test('sends them in a conversation with the caller’s betas, each once, and hides its secret', async () => {
    const { app, ups, tell, root, bob, said } = await edgeWith();
    const headers = { ...bob, 'anthropic-beta': `files-api-2025-04-14, ${BETAS[0]}` };
    for (const asked of [SENT, { ...SENT, agent: undefined, stream: true }]) {
      const { status, text } = await tell('POST', '/v1/messages', headers, asked);
      expect([status, text]).toEqual([200, expect.stringContaining('In Switzerland.')]);
    }
    expect(ups).toHaveLength(2);
    for (const up of ups) {
      expectAll(up);
      expect(up.betas).toBe(`files-api-2025-04-14,${BETAS.join(',')}`);
    }
    for (const [method, path, who] of [
      ['GET', '/conversations/c1', bob],
      ['GET', '/conversations/c1/messages', bob],
      ['GET', '/conversations/c1/messages?view=shown', bob],
      ['GET', '/conversations/c1/export', bob],
      ['GET', '/accounts/bob/conversations/c1/backup', root],
      ['GET', '/accounts/bob/backup', root],
      ['GET', '/usage/requests?account=bob', root],
      ['GET', '/agents/maps', bob],
      ['GET', '/agents/maps', root],
    ] as const) {
      expect((await tell(method, path, who)).status, path).toBe(200);
    }
    expect(said.join('\n')).toContain('[secret]');
    expect([...said, JSON.stringify(app.log)].filter((text) => text.includes(SECRET))).toEqual([]);
  });

  test.each([false, true])('sends them without a conversation and hides its secret, stream %s', async (stream) => {
    const { app, ups, tell, bob, said } = await edgeWith();
    const { conversation: _, ...sent } = { ...SENT, stream };
    const { status, text } = await tell('POST', '/v1/messages?beta=true', { ...bob, 'anthropic-beta': 'x' }, sent);
    expect([status, text]).toEqual([200, expect.stringContaining('In Switzerland.')]);
    expect(text).toContain('[secret]');
    expectAll(ups[0]);
    expect(ups[0]?.betas).toBe(`x,${BETAS.join(',')}`);
    expect([...said, JSON.stringify(app.log)].filter((one) => one.includes(SECRET))).toEqual([]);
  });

  test.each(PLACES)(
    'masks its secret exactly where documented if a response contains it %s',
    async (_, content, masks) => {
      const { app, tell, bob } = await edgeWith(AGENT, { script: { content } });
      const told: Record<string, boolean> = {};
      const ask = async (name: string, path: string, body?: object) => {
        const { status, text } = await tell(body ? 'POST' : 'GET', path, bob, body);
        expect(status, text).toBe(200);
        expect(text).toMatch(/the-token-of-the-maps|\[secret\]/);
        told[name] = !text.includes(SECRET);
      };
      await ask('streamed in a conversation', '/v1/messages', { ...SENT, stream: true });
      await ask('kept in it', '/conversations/c1/messages');
      const { conversation: _c, ...alone } = SENT;
      await ask('streamed', '/v1/messages', { ...alone, stream: true });
      await ask('whole', '/v1/messages', { ...alone, stream: false });
      expect(told).toEqual(masks);
      expect(JSON.stringify(app.log)).not.toContain(SECRET);
    },
  );

  test('sends them as a subagent, and the calling agent’s requests contain neither its servers nor its betas', async () => {
    const { ups, tell, root, bob, said } = await edgeWith();
    const { mcp_servers: _, container: __, fallbacks: ___, betas: ____, ...plain } = AGENT;
    const boss = { ...plain, system: 'boss', tools: [createAgentTool('maps')] };
    expect((await tell('PUT', '/agents/boss', root, boss)).status).toBe(200);
    const { status, text } = await tell('POST', '/v1/messages', bob, { ...SENT, agent: 'boss' });
    expect([status, text]).toEqual([200, expect.stringContaining('Done.')]);
    expect(ups).toHaveLength(3);
    expectAll(ups[1]);
    for (const up of [ups[0], ups[2]]) {
      expect(up?.betas).toBeNull();
      expect(up?.body).not.toHaveProperty('mcp_servers');
    }
    expect(said.filter((one) => one.includes(SECRET))).toEqual([]);
  });

  test('shows none of them to a restricted token, which needs a conversation', async () => {
    const { ups, tell, said } = await edgeWith();
    const page = bearerHeader(await createToken('bob', ['messages'], { only: { agents: ['maps'] } }));
    said.length = 0;
    const { max_tokens: _, conversation: __, ...sent } = SENT;
    const alone = await tell('POST', '/v1/messages', page, sent);
    expect([alone.status, alone.error]).toEqual([403, expect.stringContaining('conversation: Field required')]);
    const { tools: ___, ...toolless } = AGENT;
    const storing = await authorizationFor('root', 'admin');
    for (const [name, members] of Object.entries({
      servers: { container: undefined },
      skills: { mcp_servers: undefined },
    })) {
      await tell('PUT', `/agents/${name}`, storing, { ...toolless, ...members });
      const only = { agents: [name] };
      const who = bearerHeader(await createToken('bob', ['messages'], { only }));
      expect((await tell('POST', '/v1/messages', who, { ...sent, agent: name })).status).toBe(403);
    }
    expect(ups).toEqual([]);
    said.length = 0;
    for (const stream of [false, true]) {
      const asked = { ...sent, conversation: 'c1', stream };
      const { status, text } = await tell('POST', '/v1/messages', { ...page, 'anthropic-beta': 'x' }, asked);
      expect([status, text]).toEqual([200, expect.stringContaining('In Switzerland.')]);
    }
    expect(ups).toHaveLength(2);
    for (const up of ups) {
      expectAll(up);
      expect(up.betas).toBe(BETAS.join(','));
    }
    expect((await tell('GET', '/conversations/c1/messages', page)).status).toBe(200);
    expect((await tell('GET', '/agents/maps', page)).status).toBe(403);
    for (const name of ['agent_tools', 'betas', 'mcp_servers', 'container', 'fallbacks']) {
      expect((await tell('POST', '/v1/messages', page, { ...sent, conversation: 'c2', [name]: [] })).status).toBe(403);
    }
    const hidden = [SECRET, '[secret]', 'mcp.example.com', 'skill_of_the_house', 'claude-sonnet-5-5', BETAS[0] ?? ''];
    expect(hidden.filter((one) => said.join('\n').includes(one))).toEqual([]);
  });

  test('sends its servers and betas in a token count, with and without a conversation', async () => {
    const { ups, tell, bob } = await edgeWith();
    await tell('POST', '/v1/messages', bob, SENT);
    ups.length = 0;
    for (const asked of [SENT, { agent: 'maps', messages: MESSAGES }]) {
      const { status, text } = await tell('POST', '/count-tokens', { ...bob, 'anthropic-beta': 'x' }, asked);
      expect([status, readObject(text).input_tokens]).toEqual([200, 100]);
    }
    expect(ups).toHaveLength(2);
    for (const up of ups) {
      expectAll(up, true);
      expect(up.betas).toBe(`x,${BETAS.join(',')}`);
    }
  });

  test.each([true, false])(
    'masks a secret that the API quotes in an error, with a conversation: %s',
    async (isKept) => {
      const { app, tell, bob, said } = await edgeWith(AGENT, { status: 400 });
      const { conversation, ...sent } = SENT;
      const answer = await tell('POST', '/v1/messages', bob, isKept ? { ...sent, conversation } : sent);
      expect([answer.status, answer.error]).toEqual([400, 'mcp_servers.0: [secret] was refused']);
      expect([...said, JSON.stringify(app.log)].filter((one) => one.includes(SECRET))).toEqual([]);
    },
  );
});

const literal = { ...OPEN, authorization_token: SECRET };

test.each([
  [
    { mcp_servers: [literal] },
    400,
    /mcp_servers\.0\.authorization_token: must be \{"secret": "NAME"\}.*TOOL_SECRET_NAME=host=token/,
  ],
  [
    { mcp_servers: [OPEN, { ...MAPS, authorization_token: { secret: 'NONE' } }] },
    400,
    /mcp_servers\.1\.authorization_token: this edge has no TOOL_SECRET_NONE/,
  ],
  [{ mcp_servers: [{ ...MAPS, authorization_token: { secret: 'constructor' } }] }, 400, /TOOL_SECRET_<NAME>/],
  [{ mcp_servers: [{ ...MAPS, url: 'https://evil.example.com/mcp' }] }, 400, /no TOOL_SECRET_MAPS for this host/],
  [{ mcp_servers: [{ ...MAPS, url: 'https://mcp.example.com.evil.com' }] }, 400, /for this host/],
  [{ mcp_servers: [{ ...MAPS, url: 'http://mcp.example.com/mcp' }] }, 400, /mcp_servers\.0\.url: must be an https URL/],
  [{ mcp_servers: [{ ...MAPS, url: 'https://mcp.example.com@evil.com' }] }, 400, /url: must not contain credentials/],
  [{ mcp_servers: [{ ...OPEN, name: 'edge' }] }, 400, /mcp_servers: the name "edge"/],
  [{ container: { id: 'container_1' } }, 400, /container\.skills: /],
  [{ container: { id: 'container_1', skills: [] } }, 400, /container.*names no container/],
  [{ container: 'container_1' }, 400, /container: Input should be/],
  [{ fallbacks: ['claude-sonnet-5-5'] }, 400, /fallbacks: Input should be "default"/],
  [{ betas: 'a' }, 400, /betas: /],
  [{ betas: ['a,b'] }, 400, /betas\.0: must be the name of a beta/],
  [{ betas: ['a\r\nx: y'] }, 400, /betas\.0: /],
  [{ betas: ['a'.repeat(65)] }, 400, /betas\.0: /],
  [{ betas: Array(21).fill('a') }, 400, /betas: /],
])(
  'an invalid server, container, fallback or beta is rejected when the agent is stored: %j',
  async (members, status, words) => {
    const { put, said, ups } = await edgeWith({ ...AGENT, tools: [], mcp_servers: [], ...members });
    expect([put.status, put.error]).toEqual([status, expect.stringMatching(words)]);
    expect(said.join('\n')).not.toContain(SECRET);
    expect(ups).toEqual([]);
  },
);

test('the scope `tools` is required to store or read a server with a secret, but not one without', async () => {
  const { tell, bob } = await edgeWith();
  const storing = await authorizationFor('bob', 'messages', 'prefixes');
  const trusted = await authorizationFor('bob', 'messages', 'prefixes', 'tools');
  const refused = await tell('PUT', '/agents/own', storing, AGENT);
  expect([refused.status, refused.error]).toEqual([403, expect.stringContaining('`tools`')]);
  const plain = await tell('PUT', '/agents/plain', storing, { ...AGENT, tools: [], mcp_servers: [OPEN] });
  expect([plain.status, readObject(plain.text).mcp_servers]).toEqual([200, [OPEN]]);
  const own = await tell('PUT', '/agents/own', trusted, AGENT);
  expect([own.status, readObject(own.text).mcp_servers]).toEqual([200, AGENT.mcp_servers]);
  const seen = async (name: string, who: Who) =>
    readObject((await tell('GET', `/agents/${name}`, who)).text).mcp_servers;
  expect(await seen('own', trusted)).toEqual(AGENT.mcp_servers);
  expect(await seen('own', storing)).toEqual([OPEN]);
  expect(await seen('maps', bob)).toEqual([]);
});

test('a secret is sent only to its configured host, also after the operator changed the host', async () => {
  const { tell, bob, root, ups, app } = await edgeWith();
  // The same object: what other tests of settings change is read anew with each turn.
  answerByScript(() => textAnswer('Hm.'), {
    vars: { ...VARS, TOOL_SECRET_MAPS: `other.example.com=Bearer ${SECRET}` },
  });
  const { status, error } = await tell('POST', '/v1/messages', bob, SENT);
  expect([status, error]).toEqual([500, expect.stringContaining('cannot call one of its MCP servers')]);
  expect(ups).toEqual([]);
  expect(JSON.stringify(app.log)).toContain('no TOOL_SECRET_MAPS for this host');
  // Another reader of URLs could take this for a path, or for a host.
  const url = 'https://mcp.example.com\\@evil.example.com/mcp';
  expect((await tell('PUT', '/agents/maps', root, { ...AGENT, mcp_servers: [{ ...MAPS, url }] })).status).toBe(200);
  const { conversation: _, ...alone } = SENT;
  expect((await tell('POST', '/v1/messages', bob, alone)).status).toBe(200);
  expect(ups[0]?.body.mcp_servers).toMatchObject([{ url: 'https://mcp.example.com/@evil.example.com/mcp' }]);
});

test('`agent_tools` selects servers by name, and a caller’s toolset cannot replace the agent’s', async () => {
  const { tell, bob, ups } = await edgeWith({
    ...AGENT,
    tools: [...AGENT.tools, { name: 'pick', input_schema: { type: 'object' } }],
  });
  const { conversation: _, ...sent } = SENT;
  const offered = async (agent_tools: string[]) => {
    ups.length = 0;
    expect((await tell('POST', '/v1/messages', bob, { ...sent, agent_tools })).status).toBe(200);
    const { mcp_servers: servers = [], tools = [] } = ups[0]?.body ?? {};
    return [(servers as JsonObject[]).map(({ name }) => name), (tools as JsonObject[]).length];
  };
  expect(await offered(['pick'])).toEqual([[], 1]);
  expect(await offered(['maps'])).toEqual([['maps'], 1]);
  expect(await offered(['open', 'pick'])).toEqual([['open'], 1]);
  ups.length = 0;
  const unknown = await tell('POST', '/v1/messages', bob, { ...sent, agent_tools: ['sea'] });
  expect([unknown.status, unknown.error]).toEqual([400, expect.stringContaining('Its tools are: maps, pick, open.')]);
  const approval = { ...sent, agent_tools: [{ name: 'open', approval: 'always' }] };
  expect((await tell('POST', '/v1/messages', bob, approval)).status).toBe(400);
  for (const server of ['maps', 'open']) {
    const tools = [{ type: 'mcp_toolset', mcp_server_name: server, default_config: { enabled: true } }];
    const { status, error } = await tell('POST', '/v1/messages', bob, { ...sent, tools });
    expect([status, error]).toEqual([400, expect.stringContaining('tools.0.name: the agent already has a tool')]);
  }
  expect(ups).toEqual([]);
});

test('the simulator responds to an agent with MCP servers, with and without a conversation', async () => {
  const app = createSimulatedEdge(VARS);
  installSimulator(VARS);
  const root = await authorizationFor('root', 'admin');
  const headers = { ...root, 'content-type': 'application/json' };
  const tools = [
    ...['maps', 'open'].map((name) => ({ type: 'mcp_toolset', mcp_server_name: name })),
    { type: 'code_execution_20250825', name: 'code_execution' },
  ];
  const body = JSON.stringify({ ...AGENT, tools });
  expect((await app.fetch('/agents/maps', { method: 'PUT', headers, body })).status).toBe(200);
  const { conversation, ...alone } = SENT;
  for (const sent of [alone, { ...alone, conversation }]) {
    const answer = await app.post('/v1/messages', sent, root);
    const text = await answer.text();
    expect([answer.status, text.includes(SECRET)], text).toEqual([200, false]);
  }
});

test('the hold includes the cost of MCP servers and skills, and a fallback to a forbidden model is a 404', async () => {
  const { tell, root, bob } = await edgeWith();
  const { mcp_servers: _, container: __, fallbacks: ___, tools: ____, betas: _____, ...plain } = AGENT;
  const costly = async (members: object) => {
    await tell('PUT', '/agents/maps', root, { ...plain, ...members });
    const { conversation: _, ...alone } = SENT;
    return (await tell('POST', '/v1/messages', bob, alone)).status;
  };
  await tell('PUT', '/accounts/bob/limits', root, { usd_per_day: 1, models: ['claude-opus-5-5'] });
  expect(await costly({})).toBe(200);
  expect(await costly({ mcp_servers: [OPEN] })).toBe(429);
  expect(await costly({ container: SKILLS })).toBe(429);
  expect(await costly({ fallbacks: FALLBACKS })).toBe(404);
  expect(await costly({ fallbacks: 'default' })).toBe(404);
});
