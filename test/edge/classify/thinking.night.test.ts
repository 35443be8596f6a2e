import { describe, test } from 'vitest';
import { LABEL_WAYS, labelAll } from '#test/support/label-ways.ts';

describe.each(Object.keys(LABEL_WAYS) as (keyof typeof LABEL_WAYS)[])('by %s', (way) => {
  test.each(LABEL_WAYS[way].models)(
    '%s gives a thousand texts their labels, at the price that the guide names',
    async (model) => {
      await labelAll(way, model, 1_000);
    },
  );
});
