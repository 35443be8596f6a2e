import { expect, test } from 'vitest';
import { computeRefillWaitMs, computeUnitsInBucket, takeUnitsFromBucket } from '#edge/money/budget/bucket.ts';

test('holds the units of a minute and refills continuously', () => {
  let fullAt = takeUnitsFromBucket(0, 60, 1_000_000, 60);
  expect(computeUnitsInBucket(fullAt, 60, 1_000_000)).toBe(0);
  expect(computeUnitsInBucket(fullAt, 60, 1_000_999)).toBe(0);
  expect(computeUnitsInBucket(fullAt, 60, 1_001_000)).toBe(1);
  expect(computeUnitsInBucket(fullAt, 60, 9_999_999)).toBe(60);
  expect(computeRefillWaitMs(fullAt, 60, 1_000_000, 2)).toBe(2_000);
  fullAt = takeUnitsFromBucket(fullAt, 60, 1_000_000, 60);
  expect(computeUnitsInBucket(fullAt, 60, 1_000_000)).toBe(-60);
});

test('admits one unit at a time with a limit below one', () => {
  expect(computeUnitsInBucket(0, 0.5, 5)).toBe(1);
  const fullAt = takeUnitsFromBucket(0, 0.5, 5, 1);
  expect(computeUnitsInBucket(fullAt, 0.5, 119_000)).toBe(0);
  expect(computeUnitsInBucket(fullAt, 0.5, 120_005)).toBe(1);
});

test('admits nothing with a limit of 0, without a division by 0', () => {
  expect(computeUnitsInBucket(0, 0, 5)).toBe(0);
  expect(takeUnitsFromBucket(7, 0, 5, 3)).toBe(7);
  expect(computeRefillWaitMs(0, 0, 5, 1)).toBe(60_000);
});
