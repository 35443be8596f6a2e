import { describe, expect, test, vi } from 'vitest';
import { createTestApp } from '#test/support/app.ts';
import { installSimulator } from '#test/support/conversations.ts';
import {
  authorizationFor,
  createProse,
  createSimulatedEdge,
  type SimulatedEdge,
  storePrefix,
  type Usage,
} from '#test/support/prefixes.ts';

const MODEL = 'claude-opus-5-5';
const TOOLS = [{ name: 'look', description: createProse(40), input_schema: { type: 'object', properties: {} } }];
const question = (content: string) => ({ messages: [{ role: 'user', content }] });
const opening = (more: object = {}) => ({ model: MODEL, max_tokens: 64, ...question('Good morning'), ...more });

async function count(app: SimulatedEdge, body: object, headers: Record<string, string>): Promise<number> {
  const response = await app.post('/count-tokens', body, headers);
  const answer = (await response.json()) as { input_tokens: number };
  if (response.status !== 200) throw new Error(JSON.stringify(answer));
  return answer.input_tokens;
}

/** @returns every token of the prompt that a turn has sent, cached or not. */
async function turn(app: SimulatedEdge, body: object, headers: Record<string, string>): Promise<number> {
  const response = await app.post('/v1/messages', { conversation: 'c1', ...body }, headers);
  const { usage } = (await response.json()) as { usage: Usage };
  await app.waitUntilSettled();
  return usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
}

describe('a token count with a conversation', () => {
  test('equals the next turn’s prompt: history, system, tools and the new message', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    const first = opening({ system: createProse(50), tools: TOOLS, tool_choice: { type: 'none' } });
    // Before there is a conversation the request is all there is.
    const begun = await count(app, { conversation: 'c1', ...first }, alice);
    // What is for the edge alone is no part of a prompt, here as later.
    const forEdge = { show: 'text', background: true, retry: true, on_pending_tools: 'cancel', max_turns: 3 };
    expect(await count(app, { conversation: 'c1', ...first, ...forEdge }, alice)).toBe(begun);
    expect(await turn(app, first, alice)).toBe(begun);
    const second = { ...question('And now?'), tool_choice: { type: 'none' } };
    const counted = await count(app, { conversation: 'c1', ...second }, alice);
    expect(counted).toBeGreaterThan(begun);
    expect(await count(app, second, { ...alice, 'sluice-conversation': 'c1' })).toBe(counted);
    expect(await turn(app, second, alice)).toBe(counted);
  });

  test('includes the prefix of the conversation, or of the message that begins it', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    await storePrefix(app, 'support', { system: createProse(300), model: MODEL, max_tokens: 64 }, alice);
    const first = { prefix: 'support', ...question('Good morning') };
    const begun = await count(app, { conversation: 'c1', ...first }, alice);
    expect(begun).toBeGreaterThan(300);
    expect(await turn(app, first, alice)).toBe(begun);
    const counted = await count(app, { conversation: 'c1', ...question('And now?') }, alice);
    expect(await turn(app, question('And now?'), alice)).toBe(counted);
    const other = await app.post('/count-tokens', { conversation: 'c1', prefix: 'other', ...question('x') }, alice);
    expect(other.status).toBe(400);
  });

  test('begins no turn, and is rejected if a turn would be', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    const alice = await authorizationFor('alice');
    await turn(app, opening(), alice);
    const read = async () => (await app.fetch('/conversations/c1', { headers: alice })).json();
    const before = await read();
    await count(app, { conversation: 'c1', ...question('And now?') }, alice);
    const answers = { messages: [{ role: 'assistant', content: 'I said nothing of the kind' }] };
    expect((await app.post('/count-tokens', { conversation: 'c1', ...answers }, alice)).status).toBe(400);
    expect((await app.post('/count-tokens', { conversation: 'c 1', ...question('x') }, alice)).status).toBe(400);
    expect(await read()).toEqual(before);
  });

  test('does not include another account’s conversation with the same id', async () => {
    installSimulator();
    const app = createSimulatedEdge();
    await turn(app, opening({ system: createProse(500) }), await authorizationFor('alice'));
    const bob = await authorizationFor('bob');
    expect(await count(app, { conversation: 'c1', ...opening() }, bob)).toBe(
      await count(app, opening({ max_tokens: undefined }), bob),
    );
    const response = await app.post('/count-tokens', { conversation: 'c1', ...question('x') }, bob);
    expect(response.status).toBe(400);
  });
});

test('a token count without a response from the upstream returns 504 after 20 seconds', async () => {
  const { setTimeout: wait } = globalThis;
  const soon = (run: () => void, ms = 0) => wait(run, ms > 19_000 && ms <= 20_000 ? 1 : ms);
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(soon as never);
  const app = createTestApp(() => {
    const then = Date.now() + 20_000;
    vi.spyOn(Date, 'now').mockReturnValue(then);
    return new Promise(() => {});
  });
  const response = await app.post('/v1/messages/count_tokens', { model: MODEL, ...question('How long?') });
  expect([response.status, app.sent.length]).toEqual([504, 1]);
});
