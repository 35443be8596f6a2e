import { describe, test } from 'vitest';
import { LABELLING_METHODS, labelAndCheck } from '#test/support/labelling-methods.ts';

describe.each(Object.keys(LABELLING_METHODS) as (keyof typeof LABELLING_METHODS)[])('labelling by %s', (way) => {
  test.each(LABELLING_METHODS[way].models)(
    '%s labels a thousand texts correctly at the price in the guide',
    async (model) => {
      await labelAndCheck(way, model, 1_000);
    },
  );
});
