import { describe, expect, test } from 'vitest';
import { validateBySchema } from '#edge/kit/http/validate.ts';
import { limitsPatch, limitsSchema, poolLimitsPatch, poolLimitsSchema } from '#edge/money/budget/limits.schema.ts';

const OF_ACCOUNTS = Object.keys(limitsSchema.shape).filter((name) => !Object.hasOwn(poolLimitsSchema.shape, name));

describe.each([
  ['PUT', limitsSchema, poolLimitsSchema],
  ['PATCH', limitsPatch, poolLimitsPatch],
] as const)('the limits of a group in a %s', (_, ofAccount, ofGroup) => {
  test('reject a limit that only accounts support, and name the route that sets it', () => {
    expect(OF_ACCOUNTS.length).toBeGreaterThan(5);
    for (const name of OF_ACCOUNTS)
      expect(() => validateBySchema(ofGroup, { usd_per_day: 1, [name]: 5 }), name).toThrow(
        new RegExp(`^${name}: supported only for accounts\\..*PATCH /accounts/:id/limits`),
      );
  });

  test('return the usual errors for other unknown or invalid limits', () => {
    for (const schema of [ofAccount, ofGroup])
      expect(() => validateBySchema(schema, { usd_per_dya: 1 })).toThrow(
        /^Unrecognized key: "usd_per_dya"\. Did you mean "usd_per_day"\?$/,
      );
    expect(() => validateBySchema(ofGroup, { usd_per_day: '1' })).toThrow(/^usd_per_day: /);
    expect(validateBySchema(ofGroup, { usd_per_day: 1 })).toEqual({ usd_per_day: 1 });
  });
});
