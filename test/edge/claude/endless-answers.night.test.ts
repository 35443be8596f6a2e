// Beside `endless-answers.test.ts`: its bytes go down for many seconds.
import { expect, test } from 'vitest';
import { createTestApp } from '#test/support/app.ts';
import { createEndlessBody } from '#test/support/foreign-gateway/endless-answer.ts';
import { messageStart, sseResponse, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';

const ASK = { model: 'claude-opus-5-5', max_tokens: 4_096, messages: [{ role: 'user', content: 'Hi' }] };
const MB = 1_048_576;

test('relays a stream of more than 32 MB completely', async () => {
  const line = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"';
  const app = createTestApp(() =>
    sseResponse(createEndlessBody(messageStart() + TEXT_BLOCK_START + textDelta('Hi') + line, 40).body),
  );
  const text = await (await app.post('/v1/messages', { ...ASK, stream: true })).text();
  expect(text.length).toBeGreaterThan(40 * MB);
  expect(text.slice(-400)).toContain('event: error');
});
