/** MCP servers that people install from npm, as they are published. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { findFreePort } from '#test/support/processes.ts';

interface PublishedServer {
  package: string;
  /** Its program, and how it is told to serve HTTP at a port. */
  command(port: string): string[];
}

const SERVERS: Readonly<Record<string, PublishedServer>> = {
  everything: {
    package: '@modelcontextprotocol/server-everything@2026.8.31',
    command: () => ['@modelcontextprotocol/server-everything/dist/index.js', 'streamableHttp'],
  },
  playwright: {
    package: '@playwright/mcp@0.0.83',
    command: (port) => [
      '@playwright/mcp/cli.js',
      '--headless',
      '--allowed-hosts',
      '*',
      '--host',
      '127.0.0.1',
      '--port',
      port,
    ],
  },
  // Without a key it lists its tools, and Notion would reject their calls.
  notion: {
    package: '@notionhq/notion-mcp-server@2.5.2',
    command: (port) => [
      ...['@notionhq/notion-mcp-server/bin/cli.mjs', '--transport', 'http', '--port', port],
      '--unsafe-disable-auth',
    ],
  },
};

let folder: string;
let edge: Edge;
const urls = new Map<string, string>();
const processes: ChildProcess[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-mcp-packages-'));
  await writeFile(join(folder, 'package.json'), '{ "private": true }');
  const packages = Object.values(SERVERS).map((server) => server.package);
  const options = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'];
  await promisify(execFile)('npm', ['install', ...options, ...packages], { cwd: folder });
  for (const [name, { command }] of Object.entries(SERVERS)) {
    const port = String(await findFreePort());
    const [program = '', ...args] = command(port);
    const env = { ...process.env, PORT: port };
    processes.push(spawn(process.execPath, [join(folder, 'node_modules', program), ...args], { env, stdio: 'ignore' }));
    urls.set(name, `http://127.0.0.1:${port}/mcp`);
  }
  for (const url of urls.values()) await eventually(async () => void (await fetch(url)).body?.cancel());
  const hosts = [...urls.values()].map((url) => new URL(url).host).join(',');
  edge = await startSimulatingEdge({ TOOL_HOSTS: hosts, SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0' });
}, 600_000);

afterAll(async () => {
  for (const one of processes) one.kill();
  await edge?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Lists the tools of a server by the protocol's own client. */
async function listByOfficialClient(url: string): Promise<string[]> {
  const client = new Client({ name: 'test', version: '1.0.0' });
  const transport = new StreamableHTTPClientTransport(new URL(url));
  // The SDK's own types do not agree with `exactOptionalPropertyTypes`.
  await client.connect(transport as Parameters<Client['connect']>[0]);
  const { tools, nextCursor } = await client.listTools();
  expect(nextCursor).toBeUndefined();
  await client.close();
  return tools.map(({ name }) => name);
}

async function send(method: string, path: string, body: object): Promise<{ status: number; body: JsonObject }> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(edge.url + path, { method, headers, body: JSON.stringify(body) });
  return { status: response.status, body: (await response.json()) as JsonObject };
}

const MODEL = { model: 'claude-haiku-5-5', max_tokens: 4_000 };

test.each(Object.keys(SERVERS))(
  'each tool of the server %s is either stored or named in a warning that it is left out',
  async (name) => {
    const url = urls.get(name) ?? '';
    const listed = await listByOfficialClient(url);
    const { status, body } = await send('PUT', `/agents/${name}`, {
      ...MODEL,
      tools: [{ name: 's', run: { mcp: url } }],
    });
    expect([status, body.error]).toEqual([200, undefined]);
    const stored = (body.tools as { run: { tool: string } }[]).map(({ run }) => run.tool);
    const leftOut = (body.warnings as string[]).flatMap((one) => /The tool (\S+) is left out/.exec(one)?.[1] ?? []);
    expect([...stored, ...leftOut].toSorted()).toEqual(listed.toSorted());
    // These can only be called as tasks.
    expect(leftOut).toEqual(name === 'everything' ? ['simulate-research-query'] : []);
  },
);

test('calls a tool of the MCP server “everything”, and includes its result in the response', async () => {
  const tools = [{ name: 's', run: { mcp: urls.get('everything'), tools: ['echo'] } }];
  expect((await send('PUT', '/agents/echo', { ...MODEL, tools })).status).toBe(200);
  const messages = [{ role: 'user', content: 'Call s_echo.' }];
  const { body } = await send('POST', '/v1/messages', { agent: 'echo', conversation: 'c1', stream: false, messages });
  const result = (body.content as JsonObject[]).find(({ type }) => type === 'mcp_tool_result');
  expect(result).toMatchObject({ is_error: false, content: [{ text: expect.stringContaining('Echo') }] });
});
