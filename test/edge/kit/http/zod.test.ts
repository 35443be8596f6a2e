import { describe, expect, test } from 'vitest';
import { validateBySchema } from '#edge/kit/http/validate.ts';
import * as z from '#edge/kit/http/zod.ts';

const SCHEMA = z.strictObject({
  limits: z.strictObject({ usd_per_day: z.optional(z.number()), models: z.optional(z.string()) }),
});

describe('the message about an unknown key', () => {
  test('names the known key that is most similar', () => {
    expect(() => validateBySchema(SCHEMA, { limits: { usd_per_dya: 1 } })).toThrow(
      'limits: Unrecognized key: "usd_per_dya". Did you mean "usd_per_day"?',
    );
  });

  test('lists all unknown keys, with a suggestion for the first', () => {
    expect(() => validateBySchema(SCHEMA, { limits: { model: 'a', colour: 'b' } })).toThrow(
      'limits: Unrecognized keys: "model", "colour". Did you mean "models"?',
    );
  });

  test('has no suggestion if no key is similar', () => {
    expect(() => validateBySchema(SCHEMA, { limits: {}, colour: 1 })).toThrow(/^Unrecognized key: "colour"$/);
  });
});
