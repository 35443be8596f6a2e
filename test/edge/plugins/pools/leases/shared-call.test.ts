import { expect, test } from 'vitest';
import { CoalescedCall } from '#edge/plugins/pools/leases/shared-call.ts';

test('callers that request a call while another call is running share the next call', async () => {
  const ends: (() => void)[] = [];
  let begun = 0;
  const shared = new CoalescedCall(async () => {
    begun += 1;
    await new Promise<void>((end) => ends.push(end));
  });
  const first = shared.requestCall();
  const later = [shared.requestCall(), shared.requestCall(), shared.requestCall()];
  expect(begun).toBe(1);
  expect(shared.isRunning).toBe(true);
  ends[0]?.();
  await first;
  await expect.poll(() => begun).toBe(2);
  ends[1]?.();
  await Promise.all(later);
  expect(begun).toBe(2);
  expect(shared.isRunning).toBe(false);
});

test('a failed call rejects only for the callers that share it', async () => {
  const calls = [() => Promise.reject(new Error('lost')), () => Promise.resolve()];
  const shared = new CoalescedCall(() => calls.shift()?.() ?? Promise.resolve());
  const [first, next] = await Promise.allSettled([shared.requestCall(), shared.requestCall()]);
  expect([first.status, next.status]).toEqual(['rejected', 'fulfilled']);
});
