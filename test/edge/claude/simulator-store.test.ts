import { env as given } from 'cloudflare:workers';
import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { expect, test } from 'vitest';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';

const env = given as unknown as Bindings;

/** The simulator of a fresh isolate: it has nothing in memory of any before it. */
function simulated() {
  const settings = parseSettingsOnce({ ...env, UPSTREAM: 'simulator', SIMULATOR_BATCH_MS: '1' }, true);
  const { baseURL, apiKey, fetch } = getUpstreamBySettings(settings);
  return new Anthropic({ baseURL, apiKey, fetch: (url, init) => fetch(String(url), init ?? {}) });
}

test('the batches and files of the simulator outlive its isolate', async () => {
  const params = { model: 'claude-haiku-5-5', max_tokens: 10, messages: [{ role: 'user' as const, content: 'Hi' }] };
  const { id } = await simulated().messages.batches.create({ requests: [{ custom_id: 'a', params }] });
  const content = new Uint8Array(5_000_000).map((_, at) => at % 251);
  const file = await simulated().files.upload(
    { file: await toFile(content, 'a.bin') },
    { headers: { 'sluice-simulate': 'downloadable' } },
  );
  for await (const { custom_id, result } of await simulated().messages.batches.results(id)) {
    expect([custom_id, result.type]).toEqual(['a', 'succeeded']);
  }
  expect((await simulated().messages.batches.list()).data.map((batch) => batch.id)).toContain(id);
  expect((await simulated().files.list()).data).toContainEqual(file);
  const read = new Uint8Array(await (await simulated().files.download(file.id)).arrayBuffer());
  // To compare five million elements one by one takes seconds.
  expect(Buffer.compare(read, content)).toBe(0);
  await simulated().files.delete(file.id);
  await simulated().messages.batches.delete(id);
  expect((await env.STORE.list({ prefix: 'simulator:' })).keys).toEqual([]);
});

test('the simulator stores nothing outside development', () => {
  expect(parseSettingsOnce({ ...env, ANTHROPIC_API_KEY: 'key' }).simulatorStore).toBeUndefined();
});
