import { runDurableObjectAlarm } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createBody, createTestApp } from '#test/support/app.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';
import { bindings } from '#test/support/conversations.ts';
import { messageEnd, messageStart, sseResponse, textBlock } from '#test/support/wire.ts';

const STREAM = messageStart() + textBlock(['a']) + messageEnd();

test.each([0, 30_000, 61_000, 119_000])(
  'keeps the hold of a stream whose second attempt is reserved after %d ms',
  async (reservedAfterMs) => {
    stopClock();
    const ticks: { renew: () => void; ms: number }[] = [];
    vi.spyOn(globalThis, 'setInterval').mockImplementation(((renew: () => void, ms: number) => {
      ticks.push({ renew, ms });
      return 0;
    }) as never);
    const ended = Promise.withResolvers<Response>();
    const secondSent = Promise.withResolvers<void>();
    let attempts = 0;
    const app = createTestApp(
      async () => {
        attempts += 1;
        if (attempts === 1) {
          advanceClock(reservedAfterMs + 100);
          return new Response('<html>', { status: 502, headers: { 'retry-after-ms': '1' } });
        }
        secondSent.resolve();
        return await ended.promise;
      },
      { UPSTREAM_MAX_RETRIES: '1' },
    );
    const messages = [{ role: 'user', content: 'Hi' }];
    const asking = app.post('/v1/messages', { model: 'claude-haiku-4-5', max_tokens: 100, stream: true, messages });
    await secondSent.promise;
    const account = getAccountStub(bindings, {}, 'dev');
    // The timer that was started last: another one watches the request's body.
    const { renew, ms } = ticks.at(-1) ?? { renew: () => {}, ms: 0 };
    let elapsedMs = reservedAfterMs + 100;
    const running: number[] = [];
    const first = Math.ceil(elapsedMs / ms);
    for (let tick = first; tick <= first + 5; tick += 1) {
      // A busy machine fires every second tick late.
      const dueMs = tick * ms + ((tick - first) % 2) * 10_000;
      advanceClock(dueMs - elapsedMs);
      elapsedMs = dueMs;
      await runDurableObjectAlarm(account);
      running.push((await account.getQuotaReport({})).running_requests);
      renew();
      await account.getQuotaReport({});
    }
    ended.resolve(sseResponse(createBody([STREAM])));
    await (await asking).text();
    await app.waitUntilSettled();
    expect(running).toEqual([1, 1, 1, 1, 1, 1]);
    const { data } = await account.listRequests({});
    expect(data.map(({ status }) => status)).toEqual(['complete', 'retried']);
  },
);
