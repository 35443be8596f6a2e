import { expect, test } from 'vitest';
import { createBody, createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { messageEnd, messageStart, sseEvent, sseResponse, textBlock } from '#test/support/wire.ts';

const MODEL = 'claude-haiku-4-5';
const USAGE = { input_tokens: 100, output_tokens: 50 };
/** What these tokens cost. */
const COST = 100 * 1e-6 + 50 * 5e-6;
const streamed = (text: string) => () => sseResponse(createBody([text]));
const WHOLE =
  messageStart({ model: MODEL, usage: { input_tokens: 100, output_tokens: 1 } }) + textBlock(['a']) + messageEnd(USAGE);

async function costOf(app: TestApp): Promise<number | undefined> {
  await app.waitUntilSettled();
  const { data } = (await (await app.fetch('/usage/requests')).json()) as { data: { cost_usd: number }[] };
  return data[0]?.cost_usd;
}

test.each<[string, () => Response, (cost: number) => void]>([
  ['a stream', streamed(WHOLE), (cost) => expect(cost).toBeCloseTo(COST, 9)],
  ['the beginning of a stream', streamed(WHOLE.slice(0, 400)), (cost) => expect(cost).toBeGreaterThan(0)],
  [
    'another JSON that tells usage',
    () => Response.json({ object: 'completion', model: MODEL, text: 'a', usage: USAGE }),
    (cost) => expect(cost).toBeGreaterThanOrEqual(100 * 1e-6),
  ],
  [
    'a page',
    () => new Response('<html>', { headers: { 'content-type': 'text/html' } }),
    (cost) => expect(cost).toBe(0),
  ],
])(
  'charges the possible cost of a classification whose 200 response is not a message but %s',
  async (_, answer, check) => {
    const app = createTestApp(answer, { UPSTREAM_MAX_RETRIES: '0' });
    const response = await app.post('/classify', { model: MODEL, input: 'a', labels: [{ name: 'a' }, { name: 'b' }] });
    expect(response.status).toBe(500);
    expect((await readError(response)).message).toMatch(/is not the Claude API|broke before/);
    check((await costOf(app)) ?? Number.NaN);
  },
);

test.each<[string, object]>([
  ['a message', {}],
  ['a message of a conversation', { conversation: 'c' }],
])('charges the reported usage of %s whose 200 response is another JSON', async (_, more) => {
  const answer = () => Response.json({ object: 'completion', model: MODEL, text: 'a', usage: USAGE });
  installSimulator({ UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-test' });
  setConversationUpstream(async () => answer());
  const app = createTestApp(answer, { UPSTREAM_MAX_RETRIES: '0' });
  const body = { model: MODEL, max_tokens: 100, messages: [{ role: 'user', content: 'a' }], ...more };
  const response = await app.post('/messages', { stream: false, ...body });
  expect(response.status).toBe(500);
  expect((await readError(response)).message).toContain('is not the Claude API');
  expect(await costOf(app)).toBeGreaterThanOrEqual(COST);
});

test('reports a stream in response to a token count as not the Claude API’s, or as the error that it contains', async () => {
  let answer = streamed(WHOLE);
  const app = createTestApp(() => answer(), { UPSTREAM_MAX_RETRIES: '0' });
  const count = () =>
    app.post('/v1/messages/count_tokens', { model: MODEL, messages: [{ role: 'user', content: 'Hi' }] });
  const strange = await count();
  expect((await readError(strange)).message).toContain('is not the Claude API');
  await app.waitUntilSettled();
  expect(app.log.at(-1)).toMatchObject({ error_type: 'upstream_no_answer' });
  answer = streamed(sseEvent('error', { error: { type: 'overloaded_error', message: 'Overloaded' } }));
  expect((await count()).status).toBe(529);
});
