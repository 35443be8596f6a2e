import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { BodyMemoryShare, IsolateBodyMemory } from '#edge/kit/http/body-memory.ts';
import { eventually } from '#test/support/eventually.ts';
import { tryCases } from '#test/support/property-cases.ts';

const MB = 1024 * 1024;

test('all memory is released, and never more than 48 MB is taken, for any sequence of bodies', () => {
  const step = fc.record({
    who: fc.nat(9),
    does: fc.oneof(
      fc.constant('leaves' as const),
      fc.oneof(fc.nat(300_000), fc.nat(8 * MB), fc.nat(100 * MB)).map((bytes) => ({ bytes })),
    ),
  });
  tryCases(100, fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }), fc.array(step), (strange, steps) => {
    const memory = new IsolateBodyMemory();
    const shares = strange.map((isStrange) => new BodyMemoryShare(memory, isStrange));
    for (const [index, share] of shares.entries())
      if (index % 2 === 0)
        share.setSender({ account: `caller ${index % 3}`, token: index % 4 === 0 ? 'a' : undefined });
    for (const { who, does } of steps) {
      const share = shares[who];
      if (does === 'leaves') share?.releaseMemory();
      else {
        const before = memory.takenBytes;
        try {
          share?.reserveBytes(does.bytes);
        } catch (thrown) {
          expect(thrown).toMatchObject({ type: 'api_error', status: 503, headers: { 'retry-after': '2' } });
          expect(memory.takenBytes).toBe(before);
        }
      }
      expect(memory.takenBytes).toBeLessThanOrEqual(48 * MB);
      expect(memory.unknownSenderBytes).toBeLessThanOrEqual(Math.min(memory.takenBytes, 26 * MB));
    }
    for (const share of shares) share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });
});

test('the largest body gets memory beside short bodies, and short bodies get memory beside it', () => {
  const memory = new IsolateBodyMemory();
  for (let count = 0; count < 20; count += 1) new BodyMemoryShare(memory).reserveBytes(100_000);
  new BodyMemoryShare(memory).reserveBytes(1_000 * MB);
  expect(() => new BodyMemoryShare(memory).reserveBytes(8 * MB)).toThrow('Too many large requests');
  expect(() => new BodyMemoryShare(memory).reserveBytes(200_000)).not.toThrow();
});

test('visitors share the memory of one account, and a visitor with two bodies gets at most half of it', () => {
  const memory = new IsolateBodyMemory();
  const of = (visitor: string) => {
    const share = new BodyMemoryShare(memory);
    share.setSender({ account: `visitor:${visitor}`, group: 'visitor:' });
    return share;
  };
  const first = of('a');
  first.reserveBytes(12 * MB);
  expect(() => of('a').reserveBytes(4 * MB)).toThrow('Too many large requests');
  expect(() => of('b').reserveBytes(12 * MB)).not.toThrow();
  expect(() => of('c').reserveBytes(8 * MB)).toThrow('Too many large requests');
  first.releaseMemory();
  expect(() => of('c').reserveBytes(8 * MB)).not.toThrow();
});

test('one account with many large bodies leaves memory for other accounts', () => {
  const memory = new IsolateBodyMemory();
  const of = (caller: string) => {
    const share = new BodyMemoryShare(memory);
    share.setSender({ account: caller });
    return share;
  };
  for (const _ of [1, 2, 3, 4, 5]) of('alice').reserveBytes(6 * MB);
  expect(() => of('alice').reserveBytes(6 * MB)).toThrow('Too many large requests');
  expect(() => of('alice').reserveBytes(200_000)).not.toThrow();
  expect(() => of('bob').reserveBytes(9 * MB)).not.toThrow();
});

test('one account with many short bodies leaves memory for other accounts', () => {
  const memory = new IsolateBodyMemory();
  const of = (caller: string) => {
    const share = new BodyMemoryShare(memory);
    share.setSender({ account: caller });
    return share;
  };
  const alices = Array.from({ length: 200 }, () => of('alice'));
  for (const share of alices) {
    try {
      share.reserveBytes(262_144);
    } catch {
      // She has too much already.
    }
  }
  const bob = of('bob');
  expect(() => bob.reserveBytes(1_000)).not.toThrow();
  for (const share of [bob, ...alices]) share.releaseMemory();
  expect(memory).toEqual(new IsolateBodyMemory());
});

test('an account’s largest body gets memory if there are no other bodies, even if it grows', () => {
  const memory = new IsolateBodyMemory();
  const share = new BodyMemoryShare(memory);
  share.setSender({ account: 'alice' });
  for (const size of [1, 8, 21, 31]) share.reserveBytes(size * MB);
  share.releaseMemory();
  expect(() => share.reserveBytes(31 * MB)).not.toThrow();
});

test('unknown senders leave memory for known accounts', () => {
  const memory = new IsolateBodyMemory();
  new BodyMemoryShare(memory, true).reserveBytes(25 * MB);
  expect(() => new BodyMemoryShare(memory, true).reserveBytes(2 * MB)).toThrow('Too many large requests');
  expect(() => new BodyMemoryShare(memory).reserveBytes(12 * MB)).not.toThrow();
});

test('unknown senders share 8 MB, beside one longer body at a time', () => {
  const memory = new IsolateBodyMemory();
  const stranger = (bytes: number) => {
    const share = new BodyMemoryShare(memory, true);
    share.reserveBytes(bytes);
    return share;
  };
  for (let count = 0; count < 8; count += 1) stranger(MB);
  const long = stranger(9 * MB);
  long.reserveBytes(18 * MB);
  expect(() => stranger(MB)).toThrow('Too many large requests');
  expect(() => stranger(9 * MB)).toThrow('Too many large requests');
  long.releaseMemory();
  expect(() => stranger(18 * MB)).not.toThrow();
});

describe('tokens of one account', () => {
  const of = (memory: IsolateBodyMemory, token: string | undefined, account = 'alice') => {
    const share = new BodyMemoryShare(memory);
    share.setSender({ account, token });
    return share;
  };
  /** Announces a body of which so many bytes come each second. */
  const announce = (share: BodyMemoryShare, bytes: number, pace = 0) => {
    const body = { gaveWay: false };
    const begun = Date.now();
    share.reserveBytes(bytes);
    share.setIncomingBody({
      length: bytes,
      getReceivedBytes: () => (Date.now() - begun) * (pace / 1_000),
      evict: () => {
        body.gaveWay = true;
      },
    });
    return body;
  };

  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test('get memory beside a token that holds its maximum', () => {
    const memory = new IsolateBodyMemory();
    const page = announce(of(memory, 'page'), 30 * MB, MB);
    for (const _ of [1, 2]) expect(() => of(memory, 'server').reserveBytes(2.5 * MB)).not.toThrow();
    expect(() => of(memory, 'page').reserveBytes(2.5 * MB)).toThrow('Too many large requests');
    expect(page.gaveWay).toBe(false);
    const short = Array.from({ length: 200 }, () => of(memory, 'many'));
    expect(() => {
      for (const share of short) share.reserveBytes(200_000);
    }).toThrow('Too many large requests');
    expect(() => of(memory, undefined, 'bob').reserveBytes(200_000)).not.toThrow();
  });

  test('are not locked out after the body of another token is evicted', () => {
    const memory = new IsolateBodyMemory();
    const silent = announce(of(memory, 'page'), 30 * MB);
    vi.advanceTimersByTime(1_000);
    // What one token takes beyond its own share is its own trouble, and does not make others wait.
    of(memory, 'page').reserveBytes(2.5 * MB);
    expect(silent.gaveWay).toBe(true);
    expect(() => of(memory, 'page').reserveBytes(MB)).toThrow('Too many large requests');
    expect(memory.hasRecentContention(Date.now())).toBe(false);
    for (const token of ['server', 'phone', undefined])
      expect(() => of(memory, token).reserveBytes(2.5 * MB)).not.toThrow();
  });

  test('are locked out for a minute after the bodies of three tokens are evicted', () => {
    const memory = new IsolateBodyMemory();
    const fill = of(memory, undefined, 'fill');
    for (const [token, isOut] of [
      ['one', false],
      ['two', false],
      ['three', true],
    ] as const) {
      fill.releaseMemory();
      const silent = announce(of(memory, token), 20 * MB);
      vi.advanceTimersByTime(1_000);
      fill.reserveBytes(30 * MB);
      expect(silent.gaveWay).toBe(true);
      fill.releaseMemory();
      const other = of(memory, 'server');
      if (isOut) expect(() => other.reserveBytes(MB)).toThrow('Too many large requests');
      else expect(() => other.reserveBytes(MB)).not.toThrow();
      other.releaseMemory();
    }
    vi.advanceTimersByTime(60_000);
    expect(() => of(memory, 'server').reserveBytes(MB)).not.toThrow();
  });
});

test('releaseMemory frees the bytes given to freeBytesOnRelease', () => {
  const share = new BodyMemoryShare(new IsolateBodyMemory());
  const bytes = new Uint8Array(1_000);
  share.freeBytesOnRelease(bytes);
  share.releaseMemory();
  expect(bytes.length).toBe(0);
});

describe('a share that waits for memory', () => {
  const { signal } = new AbortController();
  /** Long enough that no test sees its end. */
  const LONG_MS = 3_600_000;
  const waiting = (memory: IsolateBodyMemory, bytes: number, { of = 'alice', object = 'one', stops = signal } = {}) => {
    const share = new BodyMemoryShare(memory);
    share.setSender({ account: of });
    const state = { has: false };
    const done = share.waitForBytes(bytes, object, LONG_MS, stops).then(() => {
      state.has = true;
    });
    return { share, state, done };
  };

  test('gets memory in the order of waiting', async () => {
    const memory = new IsolateBodyMemory();
    const first = waiting(memory, 24 * MB, { of: 'alice' });
    const second = waiting(memory, 24 * MB, { of: 'bob' });
    const third = waiting(memory, 9 * MB, { of: 'carol' });
    await first.done;
    // There would be memory for the third. But then the second might wait for ever.
    expect([second.state.has, third.state.has]).toEqual([false, false]);
    expect(memory.takenBytes).toBe(24 * MB);
    first.share.releaseMemory();
    await Promise.all([second.done, third.done]);
    expect(memory.takenBytes).toBe(33 * MB);
    for (const { share } of [second, third]) share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });

  test('lets other accounts pass if only its own account is over its limit', async () => {
    const memory = new IsolateBodyMemory();
    const first = waiting(memory, 20 * MB);
    const second = waiting(memory, 20 * MB);
    const other = waiting(memory, 15 * MB, { of: 'bob' });
    await Promise.all([first.done, other.done]);
    expect(second.state.has).toBe(false);
    for (const { share } of [first, other]) share.releaseMemory();
    await second.done;
    second.share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });

  test('lets other accounts pass if its own account holds the memory that it waits for', async () => {
    const memory = new IsolateBodyMemory();
    const own = new BodyMemoryShare(memory);
    own.setSender({ account: 'alice' });
    own.reserveBytes(12 * MB);
    const waits = waiting(memory, 36 * MB, { of: 'alice' });
    const other = waiting(memory, MB, { of: 'bob', object: 'other' });
    await eventually(() => expect(other.state.has).toBe(true));
    expect(waits.state.has).toBe(false);
    other.share.releaseMemory();
    own.releaseMemory();
    await waits.done;
    waits.share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });

  test('is not starved by bodies that arrive as soon as others are released', async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const memory = new IsolateBodyMemory();
    const sends = (of: string) => {
      const share = new BodyMemoryShare(memory);
      share.setSender({ account: of });
      share.reserveBytes(MB);
      return share;
    };
    const bodies = Array.from({ length: 40 }, (_, n) => sends(`caller ${n % 4}`));
    const waits = waiting(memory, 2 * MB);
    for (let n = 0; n < 1_000 && !waits.state.has; n += 1) {
      bodies.shift()?.releaseMemory();
      await vi.advanceTimersByTimeAsync(500);
      try {
        bodies.push(sends(`caller ${n % 4}`));
      } catch {
        // It is told to come again.
      }
    }
    expect(waits.state.has).toBe(true);
    for (const share of [waits.share, ...bodies]) share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });

  test('gets a small amount without waiting behind a share that waits for a large one', async () => {
    const memory = new IsolateBodyMemory();
    const much = waiting(memory, 30 * MB);
    await much.done;
    const more = waiting(memory, 20 * MB, { of: 'bob' });
    const little = waiting(memory, 262_144, { of: 'carol' });
    await eventually(() => expect(little.state.has).toBe(true));
    expect(more.state.has).toBe(false);
    for (const { share } of [little, much]) share.releaseMemory();
    await more.done;
    more.share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });

  test('polls on average less than 15 times a second when 200 shares wait', async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const memory = new IsolateBodyMemory();
    const first = waiting(memory, 30 * MB);
    await vi.advanceTimersByTimeAsync(100);
    const stop = new AbortController();
    const others = Array.from({ length: 200 }, () => waiting(memory, MB, { stops: stop.signal }));
    const ends = Promise.allSettled(others.map(({ done }) => done));
    const looks = vi.spyOn(globalThis, 'setTimeout');
    await vi.advanceTimersByTimeAsync(1_000);
    const { length } = looks.mock.calls;
    // What is watched is a fake: restored after it, as at the end of a file, it would come back.
    vi.restoreAllMocks();
    expect(length).toBeLessThan(3_000);
    stop.abort(new Error('stopped'));
    await ends;
    first.share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });

  test('holds no memory while it waits, so that two shares that cannot grow together both finish', async () => {
    const memory = new IsolateBodyMemory();
    const both = [waiting(memory, 4 * MB), waiting(memory, 4 * MB)];
    await Promise.all(both.map(({ done }) => done));
    const ends = both.map(async ({ share }) => {
      await share.waitForBytes(28 * MB, 'alice', LONG_MS, signal);
      share.releaseMemory();
    });
    await Promise.all(ends);
    expect(memory).toEqual(new IsolateBodyMemory());
  });

  test('leaves the queue when it is aborted or times out', async () => {
    const memory = new IsolateBodyMemory();
    const first = waiting(memory, 28 * MB);
    await first.done;
    const stop = new AbortController();
    const stopped = waiting(memory, 28 * MB, { stops: stop.signal });
    const late = new BodyMemoryShare(memory);
    late.setSender({ account: 'alice' });
    stop.abort(new Error('stopped'));
    await expect(stopped.done).rejects.toThrow('stopped');
    await expect(late.waitForBytes(28 * MB, 'alice', 0, signal)).rejects.toMatchObject({ status: 503 });
    await expect(late.waitForBytes(1, 'alice', 0, stop.signal)).rejects.toThrow('stopped');
    first.share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });

  test('is rejected when its object dies, and the object’s memory is released', async () => {
    const memory = new IsolateBodyMemory();
    const dead = waiting(memory, 28 * MB, { object: 'dead' });
    const waits = waiting(memory, 28 * MB, { object: 'dead' });
    const lives = waiting(memory, 28 * MB, { object: 'lives' });
    await dead.done;
    memory.releaseMemoryOfObject('dead');
    await Promise.all([lives.done, expect(waits.done).rejects.toMatchObject({ status: 503 })]);
    expect(memory.takenBytes).toBe(28 * MB);
    lives.share.releaseMemory();
    expect(memory).toEqual(new IsolateBodyMemory());
  });
});

describe('a phone that sends 4 MB at 70 kB a second', () => {
  const KB = 1_000;
  const LENGTH = 4_000 * KB;
  /** Who announces how many bytes, and sends how many in a millisecond. A stranger's have come before it stays silent. */
  const ATTACKERS = [
    ...['shared/page', 'shared/other', 'mallory/1', 'mallory/2', 'eve/1', 'eve/2', 'eve/3'].map((from) => ({
      from,
      length: 30_000 * KB,
      rate: 5,
    })),
    { from: 'trent/1', length: 9_000 * KB, rate: 60 },
    { from: 'visitor:a', length: 20_900 * KB, rate: 20 },
    { from: 'visitor:b', length: 8_000 * KB, rate: 5 },
    { from: 'stranger', length: 24_500 * KB, rate: 0 },
    { from: 'stranger', length: 900 * KB, rate: 0 },
    { from: 'stranger', length: 200 * KB, rate: 0 },
  ];

  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test.each([50, 300, 700, 900])(
    'keeps its memory while other senders trickle, if it sends in bursts every %i ms',
    (burst) => {
      const memory = new IsolateBodyMemory();
      const shareOf = (from: string) => {
        const share = new BodyMemoryShare(memory, from === 'stranger');
        const [account = '', token] = from.split('/');
        if (from.startsWith('visitor:')) share.setSender({ account, group: 'visitor:' });
        else if (from !== 'stranger') share.setSender({ account, token });
        return share;
      };
      const begun = Date.now();
      const passed = (since: number) => Date.now() - since;
      let hasGivenWay = false;
      const phone = shareOf('phone/1');
      phone.reserveBytes(LENGTH);
      phone.setIncomingBody({
        length: LENGTH,
        getReceivedBytes: () => Math.floor(passed(begun) / burst) * burst * 70,
        evict: () => {
          hasGivenWay = true;
        },
      });
      const held = new Map<number, BodyMemoryShare>();
      const announce = (nth: number, { from, length, rate }: (typeof ATTACKERS)[number]) => {
        const share = shareOf(from);
        const since = Date.now();
        const come = () => (from === 'stranger' ? length : passed(since) * rate);
        const body = { length, getReceivedBytes: come, evict: () => void held.delete(nth) };
        try {
          if (from === 'stranger') {
            share.setIncomingBody(body);
            for (let bytes = 100 * KB; bytes <= length; bytes += 100 * KB) share.reserveBytes(bytes);
          } else {
            share.reserveBytes(length);
            share.setIncomingBody(body);
          }
          held.set(nth, share);
        } catch {
          share.releaseMemory();
        }
      };
      const begin = (from: string, bytes: number) => {
        const share = shareOf(from);
        share.reserveBytes(bytes);
        share.releaseMemory();
      };
      for (let times = 1; passed(begun) < LENGTH / 70; times += 1) {
        vi.advanceTimersByTime(100);
        if (times % 10 === 0) {
          begin('honest/1', 300 * KB);
          begin('shared/server', 2_500 * KB);
        }
        for (const [nth, attacker] of ATTACKERS.entries()) if (!held.has(nth)) announce(nth, attacker);
        expect(hasGivenWay).toBe(false);
      }
      for (const share of [phone, ...held.values()]) share.releaseMemory();
      expect(memory).toEqual(new IsolateBodyMemory());
    },
  );
});
