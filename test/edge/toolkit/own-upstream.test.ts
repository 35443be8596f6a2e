import { expect, test, vi } from 'vitest';
import { createApp } from '#edge/app.ts';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { parseSettings, parseSettingsOnce, type Settings } from '#edge/config/settings.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { createTestApp, readError } from '#test/support/app.ts';

const KEY = { ANTHROPIC_API_KEY: 'any', UPSTREAM: 'anthropic', UPSTREAM_MAX_RETRIES: '0' };
const ASK = { model: 'claude-haiku-5-5', max_tokens: 10, stream: false, messages: [{ role: 'user', content: 'Hi' }] };
const MESSAGE = {
  type: 'message',
  model: 'claude-haiku-5-5',
  content: [],
  usage: { input_tokens: 1, output_tokens: 1 },
};

const pricesOf = (env: Record<string, unknown>, model = 'claude-haiku-5-5') =>
  parseSettingsOnce(env).models.findRow(model)?.prices;

test('`prices` of the Worker override the table, and the PRICES setting overrides both', () => {
  const env = {};
  const published = pricesOf(env);
  expect(() => createApp({ prices: { 'claude-haiku-5-5': { prices: { input: -1 } } } })).toThrow(/prices.*input/s);
  expect(pricesOf(env)).toEqual(published);
  const prices = { 'claude-haiku-5-5': { prices: { input: 7 } }, mine: { prices: { output: 9 } } };
  createApp({ prices });
  expect(pricesOf(env)).toEqual({ ...published, input: 7 });
  expect(pricesOf(env, 'mine')?.output).toBe(9);
  const set = { ...env, PRICES: JSON.stringify({ 'claude-haiku-5-5': { prices: { output: 3 } } }) };
  expect(pricesOf(set)).toEqual({ ...published, output: 3 });
  expect(pricesOf(set, 'mine')?.output).toBe(9);
  // Another app of the same Worker has the same accounts.
  createApp();
  createApp({ prices: structuredClone(prices) });
  expect(() => createApp({ prices: { mine: { prices: { output: 10 } } } })).toThrow(/different `prices`/);
  expect(pricesOf({ ...env }, 'mine')?.output).toBe(9);
});

test('each app calls the upstream with its own fetch, also if two apps have the same settings', async () => {
  const settings = parseSettings(KEY);
  const one = vi.fn(async () => Response.json({ from: 'one' }));
  const two = vi.fn(async () => Response.json({ from: 'two' }));
  for (const fetch of [one, two, one]) await getUpstreamBySettings(settings, fetch).fetch('https://x.test', {});
  expect([one.mock.calls.length, two.mock.calls.length]).toEqual([2, 1]);
});

test('a custom fetch may return a JavaScript stream or ignore an abort', async () => {
  const text = 'event: ping\ndata: {"type":"ping"}\n\n';
  const settings = parseSettings(KEY);
  const stream = () =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        controller.close();
      },
    });
  const answered = await getUpstreamBySettings(settings, async () => new Response(stream())).fetch(
    'https://x.test',
    {},
  );
  const reader = answered.body?.getReader({ mode: 'byob' });
  expect(new TextDecoder().decode((await reader?.read(new Uint8Array(100)))?.value)).toBe(text);
  const controller = new AbortController();
  const deaf = getUpstreamBySettings(settings, () => new Promise(() => {}));
  const waiting = deaf.fetch('https://x.test', { signal: controller.signal });
  controller.abort(new Error('time is up'));
  await expect(waiting).rejects.toThrow('time is up');
  await expect(deaf.fetch('https://x.test', { signal: controller.signal })).rejects.toThrow('time is up');
});

test('apps with different fetch functions relay messages, but reject conversations without storing a turn', async () => {
  const settings = parseSettings(KEY);
  const spy = vi.spyOn(Conversation.prototype as unknown as { settings(): Settings }, 'settings');
  spy.mockReturnValue(settings);
  const [app, other] = [createTestApp(() => Response.json(MESSAGE)), createTestApp(() => Response.json(MESSAGE))];
  for (const each of [app, other]) expect((await each.post('/messages', ASK)).status).toBe(200);
  for (const _ of ['once', 'again']) {
    const refused = await app.post('/messages', { ...ASK, conversation: 'c1' });
    expect([refused.status, refused.headers.get('x-should-retry')]).toEqual([500, 'false']);
    expect((await readError(refused)).message).toContain('different `fetch`');
  }
  expect((await app.fetch('/conversations/c1')).status).toBe(404);
  await app.waitUntilSettled();
  await other.waitUntilSettled();
  spy.mockRestore();
});
