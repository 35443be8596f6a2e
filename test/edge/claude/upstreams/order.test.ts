import fc from 'fast-check';
import { expect, test } from 'vitest';
import { orderUpstreams, type UpstreamCandidate } from '#edge/claude/upstreams/order.ts';
import { tryCases } from '#test/support/property-cases.ts';

const NAMES = ['a', 'b', 'c', 'd', 'e'];
const candidates = fc
  .uniqueArray(
    fc.record({
      name: fc.constantFrom(...NAMES),
      state: fc.constantFrom('closed' as const, 'open' as const, 'half_open' as const),
      dueAt: fc.nat(100),
      isFull: fc.boolean(),
      isDoubtful: fc.boolean(),
    }),
    { selector: ({ name }) => name },
  )
  .map((given): UpstreamCandidate[] => given);
const cached = fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 2 });

test('orders each upstream with capacity once, with open breakers last', () => {
  tryCases(100, candidates, cached, (given, names) => {
    const { available: well, open } = orderUpstreams(given, names);
    const all = [...well, ...open];
    expect(new Set(all)).toEqual(new Set(given.filter(({ isFull }) => !isFull)));
    expect(all.length).toBe(new Set(all).size);
    expect(well.every(({ state }) => state !== 'open')).toBe(true);
    expect(open.every(({ state }) => state === 'open')).toBe(true);
    expect(open.map(({ dueAt }) => dueAt)).toEqual(open.map(({ dueAt }) => dueAt).sort((x, y) => x - y));
  });
});

test('puts the first closed upstream with the cache first, and the others in configured order', () => {
  tryCases(100, candidates, cached, (given, names) => {
    const { available: well } = orderUpstreams(given, names);
    const home = given.find(({ name, state, isFull }) => names.includes(name) && state === 'closed' && !isFull);
    if (home) expect(well[0]).toBe(home);
    const places = well.filter((one) => one !== home).map((one) => given.indexOf(one));
    expect(places).toEqual([...places].sort((left, right) => left - right));
  });
});

test('moves doubtful upstreams behind the others only if no other attempt can follow', () => {
  tryCases(100, candidates, cached, (given, names) => {
    const { available: well } = orderUpstreams(given, names);
    const { available: once, open } = orderUpstreams(given, names, true);
    const sound = (one: UpstreamCandidate) => !one.isDoubtful;
    expect(once).toEqual([...well.filter(sound), ...well.filter((one) => one.isDoubtful)]);
    expect(open).toEqual(orderUpstreams(given, names).open);
  });
});
