import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CEILING } from '#edge/money/budget/rules.ts';
import { findCalendarWindowAt, mapPeriods, PERIODS } from '#edge/money/budget/windows.ts';
import { Lease, NO_DEMAND } from '#edge/plugins/pools/leases/lease.ts';
import { NOON } from '#test/edge/money/account/admission-requests.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

/** An account with one lease, before a pool that counts for it what it has answered last, or what the account says. */
class Leasing {
  now = NOON;
  settled = 0;
  held = 0;
  /** What the pool counts for this account: all else may be given to others. */
  counted = 0;
  readonly lease = new Lease({ kind: 'deployment' }, () =>
    mapPeriods(PERIODS, (period) => ({
      ...findCalendarWindowAt(period, this.now),
      settled: this.settled,
      held: this.held,
    })),
  );

  /** @param free what the pool can give @param reaches how far the call comes @returns what it wishes for later requests */
  call(most: number, { free = 1e6, returns = false, reaches = 'back' as 'nobody' | 'pool' | 'back' } = {}): number {
    const demand = most === 0 ? NO_DEMAND : { least: 1, most };
    const { seq, windows, wish } = this.lease.composeNextLeaseRequest(demand, this.now, returns, CEILING);
    const [first] = windows;
    if (!first || reaches === 'nobody') return wish;
    const granted = first.spent + first.kept + Math.min(first.want, free);
    this.counted = granted;
    if (reaches === 'pool') return wish;
    const grants = windows.map(({ id }) => ({ id, granted, limit: 1e9, free, left: free }));
    this.lease.applyLeaseResponse({ incarnation: 0, seq, windows: grants, slice: 1e9, told: 0 }, this.now);
    return wish;
  }

  hold(amount: number): boolean {
    if (!this.lease.coversAmount(amount, this.now)) return false;
    this.held += amount;
    this.lease.recordUse(0);
    return true;
  }

  settle(cost: number, amount: number): void {
    this.held -= amount;
    this.settled += cost;
    this.lease.recordUse(cost);
  }
}

const amount = fc.integer({ min: 1, max: 1_000 });
const step = fc.oneof(
  fc.record({
    kind: fc.constant('call' as const),
    most: fc.nat(3_000),
    free: fc.nat(3_000),
    returns: fc.boolean(),
    reaches: fc.constantFrom('nobody' as const, 'pool' as const, 'back' as const),
  }),
  fc.record({ kind: fc.constant('hold' as const), amount }),
  fc.record({ kind: fc.constant('settle' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 40_000 }) }),
);

test('an account never holds and settles more than its pool counts, whichever calls are lost', () => {
  tryCases(caseCount(3_000), fc.array(step, { maxLength: 30 }), (steps) => {
    const leasing = new Leasing();
    const holds: number[] = [];
    for (const next of steps) {
      if (next.kind === 'call') leasing.call(next.most, next);
      else if (next.kind === 'hold' && leasing.hold(next.amount)) holds.push(next.amount);
      else if (next.kind === 'settle') {
        const one = holds.shift();
        if (one !== undefined) leasing.settle(Math.floor(one * next.share), one);
      } else if (next.kind === 'pass') leasing.now += next.ms;
      expect(leasing.settled + leasing.held).toBeLessThanOrEqual(leasing.counted);
    }
  });
});

test('a lease that is used while its return is in flight stays open until the use is reported', () => {
  const leasing = new Leasing();
  const { seq } = leasing.lease.composeNextLeaseRequest(NO_DEMAND, leasing.now, true, CEILING);
  // A pool without a limit has granted everything, so this one holds and settles without a call.
  leasing.lease.recordUse(0);
  leasing.lease.recordUse(300);
  leasing.lease.applyLeaseResponse({ incarnation: 0, seq, windows: [], slice: 1e9, told: 0 }, leasing.now);
  expect(leasing.lease.isLeaseOpen).toBe(true);
  leasing.call(0, { returns: true });
  expect(leasing.lease.isLeaseOpen).toBe(false);
});

test('a lease can be used for one minute from the call that granted the lease', () => {
  const leasing = new Leasing();
  leasing.call(500);
  leasing.now += 59_999;
  expect([leasing.lease.coversAmount(500, leasing.now), leasing.lease.coversAmount(501, leasing.now)]).toEqual([
    true,
    false,
  ]);
  leasing.now += 1;
  expect(leasing.lease.coversAmount(1, leasing.now)).toBe(false);
});

test('a lease request asks for one minute of spending at the rate since the last call', () => {
  const leasing = new Leasing();
  leasing.call(1_000);
  expect(leasing.hold(1_000)).toBe(true);
  leasing.settle(600, 1_000);
  leasing.now += 30_000;
  expect(leasing.call(0)).toBe(1_000 + 1_200);
  leasing.now += 30_000;
  expect(leasing.call(0)).toBe(0);
});

test('a returned grant cannot be used any more, and the lease closes once the pool confirms the return', () => {
  const leasing = new Leasing();
  leasing.call(1_000);
  expect([leasing.lease.isLeaseOpen, leasing.lease.hasUnusedGrant]).toEqual([true, true]);
  leasing.call(0, { returns: true, reaches: 'pool' });
  expect([leasing.lease.coversAmount(1, leasing.now), leasing.lease.isLeaseOpen]).toEqual([false, true]);
  leasing.call(0, { returns: true });
  expect([leasing.lease.isLeaseOpen, leasing.counted]).toEqual([false, 0]);
});

test('a lease request asks for no more than the account can use within its own limits', () => {
  tryCases(caseCount(500), fc.array(step, { maxLength: 20 }), fc.nat(3_000), fc.nat(3_000), (steps, own, most) => {
    const leasing = new Leasing();
    for (const one of steps) {
      if (one.kind === 'call') leasing.call(one.most, { free: one.free });
      else if (one.kind === 'hold') leasing.hold(one.amount);
      else if (one.kind === 'settle') leasing.settle(Math.floor(leasing.held * one.share), leasing.held);
      else leasing.now += one.ms;
    }
    const { windows, wish } = leasing.lease.composeNextLeaseRequest({ least: 1, most }, leasing.now, false, own);
    for (const { kept, want } of windows) expect(kept - leasing.held + want + wish).toBeLessThanOrEqual(own);
  });
});
