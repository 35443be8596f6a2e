import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { resolveGroupFromClaims } from '#edge/auth/group-claim.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { tryCases } from '#test/support/property-cases.ts';

const settings = parseSettings({ JWT_GROUP_CLAIM: 'groups' }, true);
const NAMES = ['red', 'green', 'blue'];
const name = fc.constantFrom(...NAMES, 'unknown');
const unreadable = fc.oneof(
  fc.integer(),
  fc.boolean(),
  fc.constant(''),
  fc.constant('x'.repeat(129)),
  fc.dictionary(fc.string(), fc.integer()),
  fc.array(name, { minLength: 1 }).map((all) => [...all, 7]),
  fc.array(name).map((all) => [...all, 'x'.repeat(129)]),
  fc.array(name).map((all) => [[...all]]),
);

/** @returns the group, or the status of the refusal */
function outcome(claims: Record<string, unknown>): string | number | undefined {
  try {
    return resolveGroupFromClaims(claims, 'provider', settings);
  } catch (thrown) {
    if (!(thrown instanceof ApiError)) throw thrown;
    expect(thrown.message).toContain('`groups`');
    return thrown.status;
  }
}

describe('the group of an identity provider’s token', () => {
  test('is the group in the claim, as a string or as a list with one group', () => {
    for (const group of NAMES) {
      expect(outcome({ groups: group })).toBe(group);
      expect(outcome({ groups: [group] })).toBe(group);
      expect(outcome({ groups: [group, group] })).toBe(group);
    }
  });

  test('is rejected with 401 if the claim lists several groups', () => {
    tryCases(100, fc.uniqueArray(name, { minLength: 2 }), (groups) => {
      expect(outcome({ groups })).toBe(401);
    });
  });

  test('is rejected with 401 and the claim’s name if the claim is present but unreadable', () => {
    tryCases(100, unreadable, (groups) => {
      expect(outcome({ groups })).toBe(401);
    });
    expect(outcome({ _claim_names: { groups: 'src1' } })).toBe(401);
  });

  test('is undefined if the claim is absent or empty', () => {
    for (const claims of [{}, { groups: null }, { groups: [] }]) expect(outcome(claims)).toBeUndefined();
  });

  test('is undefined without JWT_GROUP_CLAIM', () => {
    tryCases(100, unreadable, (groups) => {
      expect(resolveGroupFromClaims({ groups }, 'provider', parseSettings({}))).toBeUndefined();
    });
  });
});

test('ignores the group claim of a token that Sluice minted', () => {
  tryCases(100, unreadable, (groups) => {
    expect(resolveGroupFromClaims({ groups }, 'edge', settings)).toBeUndefined();
  });
});
