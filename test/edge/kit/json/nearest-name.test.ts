import { describe, expect, test } from 'vitest';
import { findNearestName } from '#edge/kit/json/nearest-name.ts';

const KNOWN = ['usd_per_day', 'usd_per_week', 'models', 'id'];

describe('findNearestName', () => {
  test.each([
    ['usd_per_dya', 'usd_per_day'],
    ['USD_per_day', 'usd_per_day'],
    ['usd_perday', 'usd_per_day'],
    ['model', 'models'],
    ['ids', 'id'],
  ])('finds the name that %s is closest to', (name, meant) => {
    expect(findNearestName(name, KNOWN)).toBe(meant);
  });

  test.each(['colour', '', 'x'.repeat(1_000_000)])('returns undefined if no name is similar', (name) => {
    expect(findNearestName(name, KNOWN)).toBeUndefined();
  });

  test('returns undefined without known names', () => {
    expect(findNearestName('model', [])).toBeUndefined();
  });
});
