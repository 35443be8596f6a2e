// In workerd: requests, answers and objects are the runtime's.
import { expect, test } from 'vitest';
import { createBody, createTestApp, type SentRequest, type TestApp } from '#test/support/app.ts';
import { stopClock } from '#test/support/calendar.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { createEndlessBody } from '#test/support/foreign-gateway/endless-answer.ts';
import { blockEnd, messageEnd, messageStart, sseResponse, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';

const MODEL = 'claude-opus-5-5';
/** Its hold is more than $0.05. */
const ASK = { model: MODEL, max_tokens: 4_096, messages: [{ role: 'user', content: 'What do you know about Paris?' }] };
const LIMITED = { DEFAULT_LIMITS: '{"usd_per_day":1000000}', UPSTREAM_MAX_RETRIES: '0' };
const SAID = messageStart() + TEXT_BLOCK_START + textDelta('Hello there. ');
const LONG_LINE = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"';

interface Row {
  status: string;
  cost_usd: number;
  estimated: boolean;
  usage: { input_tokens: number };
}

async function rowOf(app: TestApp): Promise<Row | undefined> {
  await app.waitUntilSettled();
  return ((await (await app.fetch('/usage/requests')).json()) as { data: Row[] }).data[0];
}

test.each([
  ['a whole answer', {}, '{"type":"message","content":[{"type":"text","text":"', 'application/json'],
  ['a whole answer that rides', {}, SAID + LONG_LINE, 'text/event-stream'],
  ['a turn', { stream: true, conversation: 'endless' }, SAID + LONG_LINE, 'text/event-stream'],
  ['a turn that does not stream', { conversation: 'endless' }, '{"type":"message","content":[{"te', 'application/json'],
])('%s is cut at 16 MB with an error, and settled by the received part', async (_, more, begun, type) => {
  // What is not seen costs by the clock.
  stopClock();
  const endless = createEndlessBody(begun);
  let signal: SentRequest['signal'];
  const answer = ({ signal: given }: { signal?: AbortSignal | null | undefined }) => {
    signal = given ?? undefined;
    return new Response(endless.body, { headers: { 'content-type': type } });
  };
  const app = createTestApp(answer, LIMITED);
  installSimulator();
  setConversationUpstream(async (_, init) => answer(init));
  const response = await app.post('/v1/messages', { ...ASK, ...more });
  const streams = 'stream' in more;
  expect(response.status).toBe(streams ? 200 : 500);
  const text = await response.text();
  expect(text).toContain('longer than 16 MB');
  if (streams) expect(text).toContain('Hello there. ');
  expect(endless.takenMegabytes()).toBeGreaterThanOrEqual(16);
  expect(endless.takenMegabytes()).toBeLessThan(22);
  expect(signal?.aborted).toBe(true);
  const row = await rowOf(app);
  expect(row?.estimated).toBe(true);
  if (type === 'application/json') return;
  expect(row?.usage.input_tokens).toBe(100);
  expect(row?.cost_usd).toBeLessThan(0.03);
});

test('a relayed stream with a line of 3 MB is not cut, and the usage after the line is settled', async () => {
  const line = `${LONG_LINE}${'y'.repeat(3_000_000)}"}}\n\n`;
  const whole = SAID + line + textDelta('Bye. ') + blockEnd() + messageEnd({ output_tokens: 10 });
  const app = createTestApp(() => sseResponse(createBody(whole.match(/.{1,200000}/gs) ?? [])), LIMITED);
  const response = await app.post('/v1/messages', { ...ASK, stream: true });
  expect(await response.text()).toBe(whole);
  expect(await rowOf(app)).toMatchObject({ status: 'complete', estimated: false, usage: { input_tokens: 100 } });
  const broken = createTestApp(() => sseResponse(createEndlessBody(SAID + LONG_LINE, 3).body), LIMITED);
  const text = await (await broken.post('/v1/messages', { ...ASK, stream: true })).text();
  expect(text.length).toBeGreaterThan(3_000_000);
  expect(text.slice(-400)).toContain('event: error\ndata: {"type":"error"');
  expect(await rowOf(broken)).toMatchObject({ estimated: true, usage: { input_tokens: 100 } });
});
