// In workerd: requests, answers and objects are the runtime's.
import { env } from 'cloudflare:workers';
import { expect, onTestFinished, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { computeCost } from '#edge/claude/pricing/cost.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { createBody, createTestApp } from '#test/support/app.ts';
import { stopClock } from '#test/support/calendar.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { contentBlock, messageEnd, messageStart, sseEvent, sseResponse } from '#test/support/wire.ts';

const MODEL = 'claude-opus-5-5';
const { row: MODEL_ROW } = new ModelTable().findPriceRow(MODEL);
const object = (id: string) => getAccountStub(env as unknown as Bindings, {}, id);
/** One question at a time, and so much money that nothing is counted. */
const LIMITS = JSON.stringify({ usd_per_day: 1_000, concurrent_requests: 1 });

const asked = (tokens: number, isCached: boolean) => ({
  model: MODEL,
  max_tokens: 4_096,
  stream: true,
  messages: [{ role: 'user', content: 'word '.repeat(tokens) }],
  ...(isCached && { cache_control: { type: 'ephemeral' } }),
});
const usageOf = (tokens: number, isCached: boolean) => ({
  ...(isCached ? { input_tokens: 10, cache_read_input_tokens: tokens } : { input_tokens: tokens }),
  output_tokens: 1,
});
/** What the API writes until it notices that its connection is closed: a quarter of a second at 100 tokens a second. */
const UNSEEN = 25;
const billOf = (tokens: number, isCached: boolean) =>
  computeCost({ ...usageOf(tokens, isCached), output_tokens: UNSEEN }, MODEL_ROW) / 1e9;

/** An upstream whose first answer begins when it is told to, and goes on for ever. Further ones come at once. */
function late(usage: object) {
  let hasBegun = false;
  let calls = 0;
  const answer = async () => {
    calls += 1;
    if (calls > 1) {
      const whole =
        messageStart({ model: MODEL, usage: { input_tokens: 5 } }) + contentBlock({ type: 'text', text: 'Hi' }, []);
      return sseResponse(whole + messageEnd({ output_tokens: 2 }));
    }
    // Whoever asks makes the answer: another object may not touch it.
    await waitForCondition(() => hasBegun);
    return sseResponse(createBody([messageStart({ model: MODEL, usage }), sseEvent('ping')], 'silence'));
  };
  const begin = () => {
    hasBegun = true;
  };
  // A test that fails must not leave it waiting.
  onTestFinished(begin);
  return { answer, begin, isUp: () => waitForCondition(() => calls > 0) };
}

const CASES = [
  [20_000, false],
  [20_000, true],
  [150_000, false],
  [150_000, true],
] as const;

test.each(CASES)(
  'settles a stream with %i prompt tokens (cached: %s) at 1 to 1.5 times its cost if left before its first event',
  async (tokens, isCached) => {
    stopClock();
    const id = `left-${tokens}-${isCached}`;
    const upstream = late(usageOf(tokens, isCached));
    const app = createTestApp(upstream.answer, { ...DEPLOYED_VARS, DEFAULT_LIMITS: LIMITS });
    const headers = { 'content-type': 'application/json', ...bearerHeader(await createToken(id)) };
    const ask = (signal?: AbortSignal) =>
      app.fetch('/v1/messages', {
        method: 'POST',
        headers,
        body: JSON.stringify(asked(tokens, isCached)),
        ...(signal && { signal }),
      });
    const leaving = new AbortController();
    const left = Promise.resolve(ask(leaving.signal)).catch(() => undefined);
    await upstream.isUp();
    leaving.abort();
    await left;
    expect(await (await ask()).text()).toContain('message_stop');
    upstream.begin();
    await app.waitUntilSettled();
    const { data } = await object(id).listRequests({ limit: 10 });
    const row = data.find(({ status }) => status === 'client_gone');
    const bill = billOf(tokens, isCached);
    expect(row?.cost_usd).toBeGreaterThanOrEqual(bill);
    expect(row?.cost_usd).toBeLessThanOrEqual(1.5 * bill);
  },
);

test.each(CASES)(
  'settles a turn with %i prompt tokens (cached: %s) at 1 to 1.5 times its cost if stopped before its first event',
  async (tokens, isCached) => {
    stopClock();
    const upstream = late(usageOf(tokens, isCached));
    installSimulator({ UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-test', DEFAULT_LIMITS: LIMITS });
    setConversationUpstream(upstream.answer);
    const app = createTestApp(upstream.answer, { DEFAULT_LIMITS: LIMITS });
    const conversation = `stopped-${tokens}-${isCached}`;
    const ask = () => app.post('/v1/messages', { ...asked(tokens, isCached), conversation });
    const first = ask();
    await upstream.isUp();
    expect((await app.fetch(`/conversations/${conversation}/stop`, { method: 'POST' })).status).toBe(200);
    await (await first).text();
    const second = await app.post('/v1/messages', { ...asked(3, false), conversation });
    expect(second.status).toBe(200);
    expect(await second.text()).toContain('message_stop');
    upstream.begin();
    const rows = async () =>
      ((await (await app.fetch('/usage/requests')).json()) as { data: { cost_usd: number; status: string }[] }).data;
    await eventually(async () =>
      expect((await rows()).map(({ status }) => status).toSorted()).toEqual(['complete', 'cut']),
    );
    const row = (await rows()).find(({ status }) => status === 'cut');
    const bill = billOf(tokens, isCached);
    expect(row?.cost_usd).toBeGreaterThanOrEqual(bill);
    expect(row?.cost_usd).toBeLessThanOrEqual(1.5 * bill);
  },
);

test('deletes a conversation immediately, and settles its abandoned turn when the response is read', async () => {
  stopClock();
  const upstream = late(usageOf(1_000, false));
  installSimulator({ UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-test', DEFAULT_LIMITS: LIMITS });
  setConversationUpstream(upstream.answer);
  const app = createTestApp(upstream.answer, { DEFAULT_LIMITS: LIMITS });
  const first = app.post('/v1/messages', { ...asked(1_000, false), conversation: 'deleted' });
  await upstream.isUp();
  await app.fetch('/conversations/deleted/stop', { method: 'POST' });
  await (await first).text();
  const second = await app.post('/v1/messages', { ...asked(3, false), conversation: 'deleted' });
  await second.text();
  expect((await app.fetch('/conversations/deleted', { method: 'DELETE' })).ok).toBe(true);
  expect((await app.fetch('/conversations/deleted')).status).toBe(404);
  upstream.begin();
  await eventually(async () => {
    const { data } = (await (await app.fetch('/usage/requests')).json()) as {
      data: { cost_usd: number; status: string }[];
    };
    const row = data.find(({ status }) => status === 'cut');
    expect(row?.cost_usd).toBeGreaterThanOrEqual(billOf(1_000, false));
    expect(row?.cost_usd).toBeLessThanOrEqual(2 * billOf(1_000, false));
  });
});
