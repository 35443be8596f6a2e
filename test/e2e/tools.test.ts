import { execFile, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { codeBlocksOf, readGuide } from '#test/support/guides.ts';
import { findFreePort } from '#test/support/processes.ts';
import { root } from '#test/support/root.ts';

const guide = await readGuide('runs');
const [start = '', ask = ''] = codeBlocksOf(guide, 'sh');

let edge: Edge;
let port: string;
const stops: (() => unknown)[] = [];

beforeAll(async () => {
  port = String(await findFreePort());
  const own = start.replaceAll('localhost:3000', `localhost:${port}`);
  const secret = await promisify(execFile)('bash', ['-c', `${own.split('\n')[0]}; echo -n $TOOL_SIGNING_SECRET`]);
  const env = { ...process.env, TOOL_SIGNING_SECRET: secret.stdout, PORT: port };
  const [, server = ''] = /^node (\S+) &$/m.exec(own) ?? [];
  const child = spawn(process.execPath, [join(root, server)], { env, stdio: 'inherit' });
  stops.push(() => child.kill());
  const [, args = ''] = /^npm start -- (.*)$/m.exec(own) ?? [];
  const pairs = args.replace('$TOOL_SIGNING_SECRET', secret.stdout).matchAll(/--var ([A-Z_]+):(\S+)/g);
  const variables = Object.fromEntries([...pairs].map(([, name = '', value = '']) => [name, value]));
  edge = await startSimulatingEdge({ ...variables, SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0' });
  stops.push(() => edge.stop());
  await eventually(async () => void (await fetch(`http://localhost:${port}`)));
});

afterAll(async () => {
  for (const stop of stops) await stop();
});

/** Asks as the guide does. @returns the blocks of the answer */
async function asked(content: string, conversation: string): Promise<JsonObject[]> {
  const command = ask
    .replace('http://localhost:8787', edge.url)
    .replaceAll('localhost:3000', `localhost:${port}`)
    .replace('What is the weather in Bern?', content)
    .replace('"trip"', `"${conversation}"`);
  const { stdout } = await promisify(execFile)('bash', ['-c', command]);
  return (JSON.parse(stdout) as { content: JsonObject[] }).content.filter(({ type }) => type !== 'thinking');
}

test('the guide shows the example unchanged', async () => {
  expect(codeBlocksOf(guide, 'javascript')).toEqual([await readFile(join(root, 'examples/tools/server.mjs'), 'utf8')]);
});

test("calls the example's tool with a signature, and returns its result or its error to the model", async () => {
  expect(await asked('What is the weather in Bern?', 'trip')).toMatchObject([
    { type: 'text' },
    { type: 'mcp_tool_use', name: 'get_weather', input: { city: 'Bern' }, server_name: 'edge' },
    { type: 'mcp_tool_result', is_error: false, content: [{ text: '{"sky":"clear"}' }] },
    { type: 'text', text: expect.stringContaining('clear') },
  ]);
  expect(await asked('What is the weather in Lima?', 'other')).toMatchObject([
    {},
    { input: { city: 'Lima' } },
    { is_error: true, content: [{ text: 'No weather of Lima is known.' }] },
    {},
  ]);
  const forged = await fetch(`http://localhost:${port}`, { method: 'POST', body: '{"input":{"city":"Bern"}}' });
  expect(forged.status).toBe(401);
});
