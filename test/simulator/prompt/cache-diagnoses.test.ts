import { expect, test } from 'vitest';
import { asking, post, simulated } from '../api.ts';

const long = 'A rule of the house. '.repeat(200);
const system = [{ type: 'text', text: long, cache_control: { type: 'ephemeral' } }];
const tools = [{ name: 'weather', input_schema: { type: 'object' } }];
const first = { ...asking('Hello'), system, tools };
const followUp = {
  ...first,
  messages: [
    { role: 'user', content: 'Hello' },
    { role: 'assistant', content: 'Good day.' },
    { role: 'user', content: 'Go on.' },
  ],
};

interface Answer {
  id: string;
  diagnostics: { cache_miss_reason: { type: string; cache_missed_input_tokens?: number } } | null;
}

const simulator = simulated();

async function ask(body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  return (await simulator(post(body, headers))).json<Answer>();
}

const naming = (previous_message_id: string | null) => ({ diagnostics: { previous_message_id } });

test('diagnostics are null for a first message, and for a request that only continues the prompt', async () => {
  const { id, diagnostics } = await ask({ ...first, ...naming(null) });
  expect(diagnostics).toBeNull();
  expect((await ask({ ...followUp, ...naming(id) })).diagnostics).toBeNull();
});

test.each([
  ['model_changed', { model: 'claude-test-1', system: 'Short.', max_tokens: 1_000 }],
  ['system_changed', { system: [{ ...system[0], text: `${long}!` }] }],
  ['tools_changed', { tools: [] }],
  ['messages_changed', { messages: [{ role: 'user', content: 'Hello!' }] }],
  ['unavailable', { tool_choice: { type: 'any' } }],
])('diagnostics report %s as the reason of a cache miss', async (type, change) => {
  const { id } = await ask({ ...first, ...naming(null) });
  const { diagnostics } = await ask({ ...followUp, ...change, ...naming(id) });
  expect(diagnostics?.cache_miss_reason.type).toBe(type);
  const tokens = diagnostics?.cache_miss_reason.cache_missed_input_tokens ?? 0;
  expect(tokens > 500).toBe(type !== 'unavailable');
});

test('diagnostics do not find a previous message whose request did not enable diagnostics', async () => {
  const { id } = await ask(first);
  const { diagnostics } = await ask({ ...first, ...naming(id) });
  expect(diagnostics).toEqual({ cache_miss_reason: { type: 'previous_message_not_found' } });
});

test('diagnostics do not find a previous message of another account', async () => {
  const { id } = await ask({ ...first, ...naming(null) });
  const other = await ask({ ...first, ...naming(id) }, { 'x-api-key': 'another-key' });
  expect(other.diagnostics).toEqual({ cache_miss_reason: { type: 'previous_message_not_found' } });
});

test('a stream contains the reason of a cache miss', async () => {
  const response = await simulator(post({ ...first, stream: true, ...naming('msg_nobody') }));
  expect(await response.text()).toContain('"diagnostics":{"cache_miss_reason":{"type":"previous_message_not_found"}}');
});
