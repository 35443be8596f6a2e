import { expect, test } from 'vitest';
import { formatShare, formatUsd, formatWhen, sayTimes, usdColumn } from '../../../src/playground/ui/format.ts';

const NOON = new Date(2026, 10, 20, 12);
const at = (month: number, day: number, hour: number) => new Date(2026, month, day, hour).toISOString();

test.each([
  [at(10, 20, 18), 'today at 18:00'],
  [at(10, 21, 1), 'tomorrow at 01:00'],
  [at(10, 23, 1), 'on Monday at 01:00'],
  [at(11, 1, 1), 'on 1 December at 01:00'],
])('%s is said as a person says it', (time, said) => {
  expect(formatWhen(time, NOON)).toBe(said);
});

test('a sentence of the edge says its times without two prepositions', () => {
  expect(sayTimes('It resets at 2090-12-01T00:30:00Z.')).toMatch(
    /^It resets on (30 November|1 December) at \d\d:\d\d\.$/,
  );
  expect(sayTimes('Wait until 2090-12-01T00:30:00Z.')).toMatch(/^Wait until (30 November|1 December) at \d\d:\d\d\.$/);
  expect(sayTimes('No time in it.')).toBe('No time in it.');
});

test('a column of money has one precision, in which no figure is lost', () => {
  const usd = usdColumn([0, 12.5, 0.000023]);
  expect([0, 12.5, 0.000023].map(usd)).toEqual(['$0.000000', '$12.500000', '$0.000023']);
});

test('money and shares are written as in English', () => {
  expect([0, 0.000023, 7.5, 1_234.5, -0.5].map(formatUsd)).toEqual(['$0', '$0.000023', '$7.50', '$1,234.50', '−$0.50']);
  expect([0, 0.5174, 1].map(formatShare)).toEqual(['0%', '51.7%', '100%']);
});
