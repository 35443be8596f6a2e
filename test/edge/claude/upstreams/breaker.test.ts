import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  BREAKER_OPTIONS,
  type BreakerOptions,
  type BreakerPermit,
  CircuitBreaker,
} from '#edge/claude/upstreams/breaker.ts';
import { tryCases } from '#test/support/property-cases.ts';

const OPTIONS = { ...BREAKER_OPTIONS, random: () => 0 };

/** What callers do, each after some milliseconds: ask for leave, and later say how a try of theirs has ended. */
const happening = fc.record({
  wait: fc.oneof(fc.nat(50), fc.nat(2_000), fc.nat(90_000)),
  what: fc.constantFrom('enter', 'succeed', 'fail', 'leave', 'limited'),
  which: fc.nat(5),
});

function enter(breaker: CircuitBreaker, now: number): BreakerPermit {
  const leave = breaker.acquirePermit(now);
  if (!leave) throw new Error('No leave.');
  return leave;
}

/** Fails until the breaker is open. */
function opened(now: number, options: Partial<BreakerOptions> = {}): CircuitBreaker {
  const breaker = new CircuitBreaker({ ...OPTIONS, ...options });
  for (let nth = 0; nth < OPTIONS.failures; nth += 1) breaker.recordFailure(enter(breaker, now), now);
  return breaker;
}

test('a breaker that is not closed allows at most one probe and no other request', () => {
  tryCases(100, fc.array(happening, { maxLength: 200 }), (happenings) => {
    const breaker = new CircuitBreaker({ ...OPTIONS, random: () => 0.5 });
    let running: { leave: BreakerPermit; at: number }[] = [];
    let now = 1_000_000;
    for (const { wait, what, which } of happenings) {
      now += wait;
      if (what === 'enter') {
        const before = breaker.getState(now);
        const lets = breaker.canAcquirePermit(now);
        const leave = breaker.acquirePermit(now);
        if (before === 'open') expect(leave).toBeUndefined();
        expect(leave !== undefined).toBe(lets);
        if (before === 'closed') expect(leave?.isProbe).toBe(false);
        if (before !== 'closed' && leave) {
          expect(leave.isProbe).toBe(true);
          const others = running.filter((other) => other.leave.isProbe && now - other.at < OPTIONS.probeMs);
          const deciding = others.filter((other) => other.leave.generation === leave.generation);
          expect(deciding).toEqual([]);
        }
        if (leave) running.push({ leave, at: now });
        continue;
      }
      const one = running[which % Math.max(1, running.length)];
      if (!one) continue;
      running = running.filter((other) => other !== one);
      const before = breaker.getState(now);
      if (what === 'succeed') breaker.recordSuccess(one.leave, now);
      else if (what === 'leave') breaker.releasePermitWithoutResult(one.leave);
      else breaker.recordFailure(one.leave, now, what === 'limited' ? 20_000 : undefined);
      const after = breaker.getState(now);
      // It closes by a probe that was answered, and opens by a failure: by nothing else.
      if (before !== 'closed' && after === 'closed') expect([what, one.leave.isProbe]).toEqual(['succeed', true]);
      if (before === 'closed' && after !== 'closed') expect(['fail', 'limited']).toContain(what);
    }
    // It is never open for good: after the longest wait somebody may try.
    expect(breaker.acquirePermit(now + OPTIONS.maxWaitMs + OPTIONS.probeMs)).toBeDefined();
  });
});

test('a breaker opens after the configured number of consecutive failures, and not before', () => {
  tryCases(100, fc.integer({ min: 1, max: 8 }), (failures) => {
    const breaker = new CircuitBreaker({ ...OPTIONS, failures, minTries: 1_000 });
    for (let nth = 1; nth <= failures; nth += 1) {
      expect(breaker.getState(0)).toBe('closed');
      breaker.recordFailure(enter(breaker, 0), 0);
    }
    expect(breaker.getState(0)).toBe('open');
  });
});

test('a breaker opens after possible caller errors of two accounts, or after ten in a row', () => {
  const REFUSED_MS = 30_000;
  tryCases(
    100,
    fc.array(fc.constantFrom('alice', 'bob', undefined, 'answer'), { minLength: 1, maxLength: 40 }),
    (happenings) => {
      const breaker = new CircuitBreaker(OPTIONS);
      let row: (string | undefined)[] = [];
      for (const by of happenings) {
        if (by === 'answer') breaker.recordSuccess(enter(breaker, 0), 0);
        else breaker.recordPossibleCallerFault(enter(breaker, 0), 0, by, REFUSED_MS);
        row = by === 'answer' ? [] : [...row, by];
        const accounts = new Set(row.filter((one) => one !== undefined));
        expect(breaker.getState(0)).toBe(accounts.size > 1 || row.length >= 10 ? 'open' : 'closed');
        if (breaker.getState(0) === 'closed') continue;
        expect(breaker.nextProbeAt).toBe(REFUSED_MS);
        // What still refuses when it is tried again stays alone.
        breaker.recordPossibleCallerFault(enter(breaker, REFUSED_MS), REFUSED_MS, 'alice', REFUSED_MS);
        expect(breaker.nextProbeAt).toBe(2 * REFUSED_MS);
        return;
      }
    },
  );
});

test('a breaker opens if half of the attempts in the last 30 s failed, in any order', () => {
  tryCases(100, fc.array(fc.tuple(fc.boolean(), fc.nat(4_000)), { maxLength: 80 }), (tries) => {
    const breaker = new CircuitBreaker({ ...OPTIONS, failures: 1_000 });
    const noted: { failed: boolean; at: number }[] = [];
    let now = 1_000_000_000;
    for (const [failed, wait] of tries) {
      now += wait;
      const leave = breaker.acquirePermit(now);
      if (!leave || leave.isProbe) return;
      if (failed) breaker.recordFailure(leave, now);
      else breaker.recordSuccess(leave, now);
      noted.push({ failed, at: now });
      const share = (ms: number) => {
        const since = noted.filter(({ at }) => now - at < ms);
        return { all: since.length, bad: since.filter((one) => one.failed).length };
      };
      // The window is counted in ten parts, so that its oldest part may be in or out.
      const [longer, shorter] = [share(30_000), share(27_000)];
      const isMet = ({ all, bad }: { all: number; bad: number }) => all >= OPTIONS.minTries && bad * 2 >= all;
      const state = breaker.getState(now);
      if (failed && isMet(longer) && isMet(shorter) && longer.all === shorter.all) expect(state).toBe('open');
      if (state === 'open') {
        expect(failed).toBe(true);
        expect(longer.all).toBeGreaterThanOrEqual(OPTIONS.minTries);
        return;
      }
    }
  });
});

test('each failed probe doubles the wait up to a minute, and a successful probe closes the breaker', () => {
  tryCases(100, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), fc.nat(12), (random, probes) => {
    let now = 5_000_000;
    const breaker = opened(now, { random: () => random });
    for (let nth = 0; nth <= probes; nth += 1) {
      const wait = breaker.nextProbeAt - now;
      expect(wait).toBeCloseTo(Math.min(1_000 * 2 ** nth, 60_000) * (1 - random / 4), 6);
      expect(breaker.getState(breaker.nextProbeAt - 1)).toBe('open');
      now = Math.ceil(breaker.nextProbeAt);
      expect(breaker.getState(now)).toBe('half_open');
      if (nth < probes) breaker.recordFailure(enter(breaker, now), now);
    }
    breaker.recordSuccess(enter(breaker, now), now);
    expect(breaker.getState(now)).toBe('closed');
    // It has forgotten what was: one failure does not open it again.
    breaker.recordFailure(enter(breaker, now), now);
    expect(breaker.getState(now)).toBe('closed');
  });
});

test('a breaker stays open as long as the upstream requests, but at most a minute', () => {
  tryCases(100, fc.nat(300_000), (asked) => {
    const breaker = new CircuitBreaker(OPTIONS);
    breaker.recordFailure(enter(breaker, 0), 0, asked);
    expect(breaker.nextProbeAt).toBe(Math.max(1_000, Math.min(asked, 60_000)));
  });
});

test('attempts that began before the breaker opened neither close it nor extend the wait', () => {
  const breaker = new CircuitBreaker(OPTIONS);
  const early = Array.from({ length: 20 }, () => enter(breaker, 0));
  for (const leave of early.slice(0, 5)) breaker.recordFailure(leave, 0);
  const { nextProbeAt: dueAt } = breaker;
  for (const leave of early.slice(5, 12)) breaker.recordFailure(leave, 500);
  for (const leave of early.slice(12)) breaker.recordSuccess(leave, 600);
  expect([breaker.getState(999), breaker.nextProbeAt]).toEqual(['open', dueAt]);
});

test('a released probe frees its permit immediately, and a probe without a result after a minute', () => {
  const breaker = opened(0);
  const gone = enter(breaker, 1_000);
  expect(breaker.acquirePermit(1_000)).toBeUndefined();
  breaker.releasePermitWithoutResult(gone);
  const silent = enter(breaker, 1_001);
  expect(breaker.acquirePermit(61_000)).toBeUndefined();
  const last = enter(breaker, 61_001);
  // The forgotten one comes back after all: the other decides.
  breaker.recordSuccess(silent, 61_002);
  expect(breaker.getState(61_002)).toBe('half_open');
  breaker.recordSuccess(last, 61_003);
  expect(breaker.getState(61_003)).toBe('closed');
});

test('a forced attempt does not change the breaker’s state', () => {
  const breaker = opened(0);
  const { nextProbeAt: dueAt } = breaker;
  breaker.recordFailure(breaker.forcePermit(), 10);
  breaker.recordSuccess(breaker.forcePermit(), 20);
  expect([breaker.getState(20), breaker.nextProbeAt]).toEqual(['open', dueAt]);
});

const START_MS = 1_800_000_000_000;

test('a breaker closes within a minute after an outage of any length if requests arrive', () => {
  tryCases(
    100,
    fc.integer({ min: 1, max: 6 * 3_600_000 }),
    fc.integer({ min: 10, max: 5_000 }),
    fc.double({ min: 0, max: 1, noNaN: true }),
    (outageMs, everyMs, random) => {
      const breaker = new CircuitBreaker({ random: () => random });
      let now = START_MS;
      const ask = (isWell: boolean) => {
        const leave = breaker.acquirePermit(now);
        if (!leave) return;
        if (isWell) breaker.recordSuccess(leave, now);
        else breaker.recordFailure(leave, now);
      };
      for (; now < START_MS + outageMs; now += Math.max(everyMs, outageMs / 5_000)) ask(false);
      const backAt = now;
      while (breaker.getState(now) !== 'closed') {
        now += everyMs;
        ask(true);
      }
      expect(now - backAt).toBeLessThanOrEqual(60_000 + everyMs);
    },
  );
});
