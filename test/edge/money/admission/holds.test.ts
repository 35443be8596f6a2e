// In workerd: requests, answers and objects are the runtime's.
import { expect, test } from 'vitest';
import { createTestApp } from '#test/support/app.ts';
import { stopClock } from '#test/support/calendar.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { messageEnd, messageStart, messageWith, sseResponse, textBlock } from '#test/support/wire.ts';

const HELLO = { role: 'user', content: 'Hello' };
const ASK = { model: 'claude-opus-5-5', max_tokens: 1_000, messages: [HELLO] };
const DEFINED = {
  type: 'tool_addition',
  tool: { type: 'tool_definition', definition: { name: 'look', input_schema: { type: 'object' } } },
};
const WITH_TOOL = { ...ASK, messages: [HELLO, { role: 'system', content: [DEFINED] }] };
const STREAM = { stream: true };
const TURN = { conversation: '' };

let asked = 0;

// Opus 5.5: 1,000 tokens of output cost $0.022 at most. The prompts have a few hundred bytes; those of turns are cached.
test.each([
  ['a plain request', ASK, 0.025],
  ['a thread that begins', { ...ASK, thread: { type: 'create' } }, 0.025],
  ['a thread that begins, as a stream', { ...ASK, ...STREAM, thread: { type: 'create' } }, 0.025],
  ['a tool that a message defines', WITH_TOOL, 0.03],
  ['a tool that a message defines, as a stream', { ...WITH_TOOL, ...STREAM }, 0.03],
  ['a tool that a turn defines', { ...WITH_TOOL, ...TURN }, 0.035],
  ['a tool that a turn defines, as a stream', { ...WITH_TOOL, ...TURN, ...STREAM }, 0.035],
])('%s is held at its maximum cost and settled at the billed cost', async (_, body, most) => {
  stopClock();
  const usage = { input_tokens: 100, output_tokens: 10 };
  const answer = async () =>
    'stream' in body
      ? sseResponse(messageStart({ usage: { ...usage, output_tokens: 1 } }) + textBlock(['Hi']) + messageEnd())
      : Response.json(messageWith({ usage }));
  installSimulator({ UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-test' });
  setConversationUpstream(answer);
  const app = createTestApp(answer);
  const named = 'conversation' in body ? { conversation: `held-${++asked}` } : {};
  await (await app.post('/v1/messages', { ...body, ...named })).text();
  await app.waitUntilSettled();
  const { data } = (await (await app.fetch('/usage/requests')).json()) as {
    data: { hold_usd: number; cost_usd: number }[];
  };
  expect(data).toHaveLength(1);
  expect(data[0]?.cost_usd).toBe(0.0006);
  expect(data[0]?.hold_usd).toBeGreaterThanOrEqual(0.022);
  expect(data[0]?.hold_usd).toBeLessThan(most);
});
