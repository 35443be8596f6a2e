import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '#client/index.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { codeBlocksOf, readGuide } from '#test/support/guides.ts';
import { runExample } from '#test/support/run-example.ts';

const examples = codeBlocksOf(await readGuide('clients'), 'ts');

let edge: Edge;
beforeAll(async () => {
  edge = await startSimulatingEdge({
    SIMULATOR_TTFT_MS: '0',
    SIMULATOR_TOKENS_PER_SECOND: '0',
  });
});
afterAll(async () => await edge.stop());

/** Runs an example with what it takes for granted. @returns what it showed */
async function run(code: string, content: string): Promise<unknown[]> {
  const given = {
    baseURL: edge.url,
    // What stands for a credential in development.
    token: 'any',
    model: 'claude-haiku-5-5',
    max_tokens: 2_048,
    messages: [{ role: 'user', content }],
  };
  return await runExample(code, given, 'ts');
}

test('the guide has an example for each client', () => {
  expect(examples).toHaveLength(5);
});

test("the guide's example with the official SDK shows the events", async () => {
  // Node is no browser; there, the SDK only looks for one.
  const shown = await run(examples[0] ?? '', 'Hello');
  expect(JSON.stringify(shown)).toContain('text_delta');
  expect(shown.at(-1)).toMatchObject({ type: 'message_stop' });
});

test("the guide's example with sluice/client shows text and its cost", async () => {
  const shown = await run(examples[1] ?? '', 'Hello');
  expect(shown.slice(0, -1).join('')).toContain('simulator');
  expect(shown.at(-1)).toBeGreaterThan(0);
});

test("the guide's loop over tools responds with the tool result", async () => {
  const [text, costUsd, steps] = await run(examples[2] ?? '', 'What is the weather in Bern?');
  expect(text).toContain('It is sunny in Bern.');
  expect([costUsd, steps]).toEqual([
    (await createClient({ baseURL: edge.url }).conversations.get('weather')).cost_usd,
    2,
  ]);
});

test("the guide's example with an agent's tools finds them by name", async () => {
  const input_schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
  const agent = { model: 'claude-haiku-5-5', max_tokens: 2_048, tools: [{ name: 'show_map', input_schema }] };
  const headers = { 'content-type': 'application/json' };
  const stored = await fetch(`${edge.url}/agents/guide`, { method: 'PUT', headers, body: JSON.stringify(agent) });
  expect(stored.status).toBe(200);
  expect(JSON.stringify(await run(examples[3] ?? '', 'What does show_map show of Bern?'))).toContain('The page shows');
});

test("the guide's example with the useChat hook runs without an error", async () => {
  expect(await run(examples[4] ?? '', 'Hello')).toEqual([]);
});
