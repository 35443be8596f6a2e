import { describe, test } from 'vitest';
import { LABELLING_METHODS, labelAndCheck } from '#test/support/labelling-methods.ts';

describe.each(Object.keys(LABELLING_METHODS) as (keyof typeof LABELLING_METHODS)[])('by %s', (way) => {
  test.each(LABELLING_METHODS[way].models)(
    '%s gives a thousand texts their labels, at the price that the guide names',
    async (model) => {
      await labelAndCheck(way, model, 1_000);
    },
  );
});
