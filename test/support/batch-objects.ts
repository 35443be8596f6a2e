import { runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, onTestFinished, vi } from 'vitest';
import type { Fetch, Upstream } from '#edge/claude/upstream.ts';
import { parseSettings, type Settings } from '#edge/config/settings.ts';
import { getAccountStub, getBatchStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Batch } from '#edge/plugins/batches/batch.ts';
import { TEST_KEY } from './app.ts';
import type { FakeBatchApi } from './batch-api.ts';
import { eventually } from './eventually.ts';

/** The protected methods of the object that a test may replace: they are the same for every instance, also after a crash. */
interface Inside {
  settings(): Settings;
  upstream(): Upstream;
}

/** Has every batch's object reach its upstream by this function, until the test ends; `vars` are further settings. */
export function setBatchUpstream(fetchUpstream: Fetch, vars: Record<string, string> = {}): void {
  const settings = parseSettings({
    ANTHROPIC_API_KEY: TEST_KEY,
    UPSTREAM: 'anthropic',
    UPSTREAM_MAX_RETRIES: '0',
    ...vars,
  });
  const upstream: Upstream = {
    baseURL: 'https://api.anthropic.com',
    apiKey: TEST_KEY,
    isSimulated: false,
    fetch: fetchUpstream,
  };
  const inside = Batch.prototype as unknown as Inside;
  const spies = [
    vi.spyOn(inside, 'settings').mockReturnValue(settings),
    vi.spyOn(inside, 'upstream').mockReturnValue(upstream),
  ];
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore();
  });
}

/** Has the upstream end what it has, and the batch see it. */
export async function endBatch(api: FakeBatchApi, id: string, account: string): Promise<void> {
  api.end();
  // The runtime may be at its alarm just now.
  await eventually(async () => {
    await wakeBatch(id, account);
    const { day } = await getAccountStub(env as unknown as Bindings, {}, account).getQuotaReport({});
    expect(day.held_usd).toBe(0);
  });
}

/** Has a batch's object do what is due. */
export async function wakeBatch(id: string, account = 'dev'): Promise<void> {
  await runDurableObjectAlarm(getBatchStub(env as unknown as Bindings, {}, { account, id }));
}
