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

describe('the group of a provider’s token', () => {
  test('is the one that its claim names, alone or in a list of one', () => {
    for (const group of NAMES) {
      expect(outcome({ groups: group })).toBe(group);
      expect(outcome({ groups: [group] })).toBe(group);
      expect(outcome({ groups: [group, group] })).toBe(group);
    }
  });

  test('is not chosen from several groups: that is a 401', () => {
    tryCases(100, fc.uniqueArray(name, { minLength: 2 }), (groups) => {
      expect(outcome({ groups })).toBe(401);
    });
  });

  test('is never none where the claim is there and cannot be read: that is a 401 which names the claim', () => {
    tryCases(100, unreadable, (groups) => {
      expect(outcome({ groups })).toBe(401);
    });
    expect(outcome({ _claim_names: { groups: 'src1' } })).toBe(401);
  });

  test('is none where the claim is absent or empty', () => {
    for (const claims of [{}, { groups: null }, { groups: [] }]) expect(outcome(claims)).toBeUndefined();
  });

  test('is not asked for without JWT_GROUP_CLAIM', () => {
    tryCases(100, unreadable, (groups) => {
      expect(resolveGroupFromClaims({ groups }, 'provider', parseSettings({}))).toBeUndefined();
    });
  });
});

test('a token of this edge is refused for no claim', () => {
  tryCases(100, unreadable, (groups) => {
    expect(resolveGroupFromClaims({ groups }, 'edge', settings)).toBeUndefined();
  });
});
