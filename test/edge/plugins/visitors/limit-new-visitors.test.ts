import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toNetworkPrefix } from '#edge/plugins/visitors/limit-new-visitors.ts';
import { tryCases } from '#test/support/property-cases.ts';

const groups = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 });

/** @returns an address in full, and as short as it can be written */
function spellings(address: readonly number[]): string[] {
  const full = address.map((group) => group.toString(16)).join(':');
  const short = new URL(`http://[${full}]/`).hostname.slice(1, -1);
  return [full, short, full.toUpperCase(), address.map((group) => group.toString(16).padStart(4, '0')).join(':')];
}

test('maps the addresses of a household to one prefix in any spelling, and other households to other prefixes', () => {
  tryCases(100, groups, groups, fc.integer({ min: 0, max: 55 }), (one, other, bit) => {
    const [first = 0, second = 0, third = 0, fourth = 0] = one;
    const sibling = [first, second, third, (fourth & 0xff00) | ((other[3] ?? 0) & 0xff), ...other.slice(4)];
    const households = new Set([...spellings(one), ...spellings(sibling)].map(toNetworkPrefix));
    expect([...households]).toEqual([expect.stringMatching(/^[0-9a-f]{14}\/56$/)]);
    const at = Math.floor(bit / 16);
    const stranger = one.map((group, index) => (index === at ? group ^ (0x8000 >> (bit % 16)) : group));
    for (const spelling of spellings(stranger)) expect(households).not.toContain(toNetworkPrefix(spelling));
  });
});

test('returns an IPv4 address unchanged', () => {
  tryCases(100, fc.ipV4(), (address) => {
    expect(toNetworkPrefix(address)).toBe(address);
  });
  expect(toNetworkPrefix('')).toBe('');
});
