import { expect, test } from 'vitest';
import { computeWaitMs, level, take } from '#edge/money/budget/bucket.ts';

test('a bucket holds a minute, and refills continuously', () => {
  let fullAt = take(0, 60, 1_000_000, 60);
  expect(level(fullAt, 60, 1_000_000)).toBe(0);
  expect(level(fullAt, 60, 1_000_999)).toBe(0);
  expect(level(fullAt, 60, 1_001_000)).toBe(1);
  expect(level(fullAt, 60, 9_999_999)).toBe(60);
  expect(computeWaitMs(fullAt, 60, 1_000_000, 2)).toBe(2_000);
  fullAt = take(fullAt, 60, 1_000_000, 60);
  expect(level(fullAt, 60, 1_000_000)).toBe(-60);
});

test('a limit below one lets one through at a time', () => {
  expect(level(0, 0.5, 5)).toBe(1);
  const fullAt = take(0, 0.5, 5, 1);
  expect(level(fullAt, 0.5, 119_000)).toBe(0);
  expect(level(fullAt, 0.5, 120_005)).toBe(1);
});

test('a limit of nothing lets nothing through, and never divides by it', () => {
  expect(level(0, 0, 5)).toBe(0);
  expect(take(7, 0, 5, 3)).toBe(7);
  expect(computeWaitMs(0, 0, 5, 1)).toBe(60_000);
});
