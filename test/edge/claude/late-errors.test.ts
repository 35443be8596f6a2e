// In workerd: requests, answers and objects are the runtime's.
import 'cloudflare:workers';

import { expect, test } from 'vitest';
import { createBody, createTestApp, type TestApp } from '#test/support/app.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { namelessErrorStream, TOO_LONG_MESSAGE } from '#test/support/foreign-gateway/errors.ts';
import { messageStart, PING, sseResponse, TEXT_BLOCK_START, textDelta } from '#test/support/wire.ts';

/** Errors of a gateway that have no name, and come when the stream has begun to go down: no client reads them. */
const ASKED = { model: 'claude-opus-5-5', max_tokens: 10, messages: [{ role: 'user', content: 'Hi' }] };
const BEGUN = messageStart({ model: 'claude-opus-5-5' }) + TEXT_BLOCK_START + textDelta('Hello');

function edge(pieces: readonly string[]): TestApp {
  const vars = { UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-test', UPSTREAM_MAX_RETRIES: '0' };
  installSimulator(vars);
  const answer = () => sseResponse(createBody(pieces));
  setConversationUpstream(() => Promise.resolve(answer()));
  return createTestApp(answer, vars);
}

const WAYS = [
  ['a relayed stream', {}],
  ['a turn', { conversation: 'late' }],
] as const;

test.each(
  WAYS.flatMap(([way, more]) => [
    {
      way,
      more,
      when: 'behind a ping',
      before: PING,
      body: { error: { message: TOO_LONG_MESSAGE } },
      says: TOO_LONG_MESSAGE,
    },
    { way, more, when: 'behind an answer', before: BEGUN, body: { error: TOO_LONG_MESSAGE }, says: TOO_LONG_MESSAGE },
    {
      way,
      more,
      when: 'of the operator behind an answer',
      before: BEGUN,
      body: { error: { message: 'Budget of key 1 is spent', code: 400 } },
      says: 'The upstream responded with 400 without',
    },
    {
      way,
      more,
      when: 'in the form of the API behind an answer',
      before: BEGUN,
      body: { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } },
      says: 'Overloaded',
    },
  ]),
)('converts an unnamed error in $way, $when, to a named error event', async ({ more, before, body, says }) => {
  for (const last of [namelessErrorStream(body), namelessErrorStream(body).trimEnd()]) {
    const app = edge([before, last]);
    const named = 'conversation' in more ? { conversation: `late-${crypto.randomUUID()}` } : {};
    const response = await app.post('/messages', { ...ASKED, ...named });
    const text = await response.text();
    const told = text.slice(text.lastIndexOf(response.status === 200 ? 'event: error\ndata: ' : '{'));
    expect(told).toContain(says);
    expect(told).not.toContain('Send the request again');
    expect(told).not.toContain('Budget');
    await app.waitUntilSettled();
    const { data } = (await (await app.fetch('/usage/requests?limit=1')).json()) as { data: { cost_usd: number }[] };
    if (before === PING) expect(data[0]?.cost_usd).toBe(0);
    else expect(data[0]?.cost_usd).toBeGreaterThan(0);
  }
});

test.each(WAYS)('charges a response that ends with an error before it reports usage: %s', async (_way, more) => {
  const begun = BEGUN.replace(/,?"usage":\{[^}]*\}/, '');
  expect(begun).not.toContain('usage');
  const app = edge([begun, namelessErrorStream({ error: TOO_LONG_MESSAGE })]);
  await (await app.post('/messages', { ...ASKED, ...more })).text();
  await app.waitUntilSettled();
  const { data } = (await (await app.fetch('/usage/requests?limit=1')).json()) as { data: { cost_usd: number }[] };
  expect(data[0]?.cost_usd).toBeGreaterThan(0);
});

test('stores the user message if the stream began with a ping before its error', async () => {
  const overloaded = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
  for (const [pieces, kept] of [
    [[PING, namelessErrorStream(overloaded)], 1],
    [[namelessErrorStream(overloaded)], 0],
  ] as const) {
    const app = edge(pieces);
    const conversation = `kept-${kept}`;
    const response = await app.post('/messages', { ...ASKED, conversation });
    expect(await response.text()).toContain('Overloaded');
    expect(response.status).toBe(kept === 1 ? 200 : 529);
    const rows = (await (await app.fetch(`/conversations/${conversation}/messages`)).json()) as { data?: unknown[] };
    expect((rows.data ?? []).length > 0).toBe(kept === 1);
  }
});
