import { afterEach, expect, test, vi } from 'vitest';
import { AdmissionQueue, type QueuedRequest, type QueuedRequestsAhead } from '#edge/money/account/admission-queue.ts';
import { createLimitRejection } from '#edge/money/budget/refusals.ts';

afterEach(() => {
  vi.useRealTimers();
});

test('counts only earlier requests as ahead of a request whose last decision waits for a pool', async () => {
  vi.useFakeTimers();
  const line = new AdmissionQueue(() => 10);
  const rejected: QueuedRequest['rejected'] = {
    outcome: 'refused',
    refusal: createLimitRejection('held', 'usd_per_day', 0, 2_000, 9, 0, false),
    quota: {},
    unlisted: false,
  };
  const purse = { by: 'account', name: 'usd_per_day', limit: 3_200, settled: 0, held: 0, end: 1e9 } as const;
  const join = (id: string, until: number, decide: QueuedRequest['decideAgain']) =>
    line.waitInQueue({
      id,
      until,
      decideAgain: decide,
      rejected,
      payers: ['account'],
      by: 'account',
      minHold: 1,
      needed: 9,
      budgetWindows: () => [purse],
      extendPoolLeases: () => Promise.resolve(),
    });
  const held = { outcome: 'held', by: 'account', needed: 9 } as const;
  const pool = Promise.withResolvers<void>();
  const seen: (QueuedRequestsAhead | undefined)[] = [];
  void join('first', 20, () => held);
  const second = join('second', 10, async (_isLast, ahead) => {
    seen.push(ahead());
    ahead()?.recordOvertaking('small', 150);
    await pool.promise;
    seen.push(ahead());
    ahead()?.recordOvertaking('other', 20);
    seen.push(ahead());
    return rejected;
  });
  void join('third', 20, () => ({ ...held, needed: 3_170 }));
  line.admitReadyRequests();
  pool.resolve();
  expect(await second).toEqual(rejected);
  // A sixteenth, less what others have taken meanwhile; and not the 30 that the third leaves.
  expect(seen.map((one) => one?.maxOvertakingHold)).toEqual([200, 50, 30]);
  line.removeFromQueue('first');
  line.removeFromQueue('third');
});

test('returns the first decision again to a late call of a request that has left the queue', async () => {
  vi.useFakeTimers();
  const queue = new AdmissionQueue(() => 10);
  const rejected: QueuedRequest['rejected'] = {
    outcome: 'refused',
    refusal: createLimitRejection('held', 'usd_per_day', 0, 2_000, 9, 0, false),
    quota: {},
    unlisted: false,
  };
  const first = queue.waitInQueue({
    ...{ id: 'left', until: 20, rejected, payers: ['account'], by: 'account', minHold: 1, needed: 9 },
    decideAgain: () => ({ outcome: 'held', by: 'account', needed: 9 }),
    budgetWindows: () => [],
    extendPoolLeases: () => Promise.resolve(),
  });
  expect(queue.removeFromQueue('left')).toBe(true);
  expect(await first).toEqual(rejected);
  expect(await queue.findQueuedDecision('left')).toEqual(rejected);
  expect(queue.findQueuedDecision('other')).toBeUndefined();
});
