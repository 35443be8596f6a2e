/** MCP servers beside a kill: `test/edge/plugins/runs/mcp/call-mcp.test.ts` loses no power. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { type McpTestServer, startMcpServer } from '#test/support/mcp-server.ts';

let server: McpTestServer;
let edge: Edge;
let state: string;

const started = () =>
  startSimulatingEdge({ TOOL_HOSTS: server.host, SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0' }, state);

beforeAll(async () => {
  server = await startMcpServer({ hasSessions: true, isJson: false });
  state = await mkdtemp(join(tmpdir(), 'sluice-mcp-'));
  edge = await started();
});

afterAll(async () => {
  await edge?.stop();
  await server?.close();
  await rm(state, { recursive: true, force: true });
});

const sent = (method: string, path: string, body: object) =>
  fetch(edge.url + path, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

/** Stores what has these tools of the server. */
async function store(path: string, tools: string[], more: object = {}) {
  const tool = { name: 'w', run: { mcp: server.url, tools, timeout_seconds: 60 } };
  const answer = await sent('PUT', path, { tools: [tool], model: 'claude-haiku-5-5', max_tokens: 4_000, ...more });
  expect(answer.status, await answer.clone().text()).toBe(200);
  return (await answer.json()) as JsonObject;
}

const question = (content: string, conversation: string) => ({
  conversation,
  stream: false,
  messages: [{ role: 'user', content }],
});

test.each(['prefix', 'agent'])(
  'calls the MCP tools of a stored %s, and ends the session with the run',
  async (kind) => {
    await store(kind === 'agent' ? '/agents/trips' : '/prefixes/trips', ['get.weather']);
    const answer = await sent('POST', '/v1/messages', { [kind]: 'trips', ...question('Weather in Bern?', kind) });
    const { content } = (await answer.json()) as { content: JsonObject[] };
    expect(content.filter(({ type }) => type !== 'thinking')).toMatchObject([
      { type: 'text' },
      { type: 'mcp_tool_use', name: 'w_get_weather', server_name: 'edge' },
      { type: 'mcp_tool_result', is_error: false, content: [{ text: expect.stringContaining('sun in') }] },
      { type: 'text' },
    ]);
    await eventually(() => expect(server.sessions.size).toBe(0));
    const told = await (await fetch(`${edge.url}/conversations/${kind}/export`)).text();
    expect(told).toContain('w_get_weather');
    expect(told).not.toContain(server.host);
  },
);

test('a killed run repeats only MCP calls that may be repeated, with the same key', async () => {
  server.begun.length = 0;
  await store('/prefixes/waits', ['wait', 'hold']);
  const answer = async (tool: string) => {
    const body = {
      prefix: 'waits',
      ...question('Wait for it.', tool),
      tool_choice: { type: 'tool', name: `w_${tool}` },
    };
    return await sent('POST', '/v1/messages', body).catch(() => undefined);
  };
  const asked = [answer('wait'), answer('hold')];
  await eventually(() => expect(server.begun).toHaveLength(2));
  await edge.kill();
  await Promise.all(asked);
  edge = await started();
  const shown = async (id: string) => (await fetch(`${edge.url}/conversations/${id}/messages?view=shown`)).text();
  await eventually(async () => expect(await shown('wait')).toContain('It is unknown whether this call was made'));
  await eventually(async () => expect(await shown('hold')).toContain('held at last'));
  const [wait, ...holds] = [...server.begun].sort((left) => (left === 'wait' ? -1 : 1));
  expect(wait).toBe('wait');
  expect(holds).toEqual([expect.stringMatching(/^turn_\w+_toolu_\w+$/), holds[0]]);
});
