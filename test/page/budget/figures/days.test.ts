import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { customDays, describeSelectedDays, getSelectedDayRange, listedRange } from '#page/budget/figures/days.ts';

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 2, 1, 0, 30), toFake: ['Date'] });
});
afterEach(() => {
  vi.useRealTimers();
  listedRange.value = 'week';
});

test.each([
  ['today', '2026-03-01', '2026-03-02'],
  ['yesterday', '2026-02-28', '2026-03-01'],
  ['week', '2026-02-23', '2026-03-02'],
  ['thisMonth', '2026-03-01', '2026-03-02'],
  ['month', '2026-01-31', '2026-03-02'],
] as const)('%s spans from its first day in UTC to the day after its last, exclusive', (name, from, to) => {
  listedRange.value = name;
  expect(getSelectedDayRange()).toEqual({ from, to });
});

test('a custom range includes its first and its last day', () => {
  listedRange.value = 'own';
  customDays.value = { first: '2026-02-27', last: '2026-02-28' };
  expect([getSelectedDayRange(), describeSelectedDays()]).toEqual([
    { from: '2026-02-27', to: '2026-03-01' },
    'from 2026-02-27 to 2026-02-28',
  ]);
  customDays.value = { first: '2026-02-27', last: '2026-02-27' };
  expect(describeSelectedDays()).toBe('on 2026-02-27');
});
