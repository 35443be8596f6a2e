import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readTokenRestrictionsFromClaims } from '#edge/auth/only-claim.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { tryCases } from '#test/support/property-cases.ts';

const OTHERWISE = { agents: ['guest'] };
const CLAIM = { JWT_ONLY_CLAIM: 'agents' };
const BOTH = { ...CLAIM, JWT_ONLY: JSON.stringify(OTHERWISE) };

/** @returns what a provider's token may ask, or the status of the refusal */
function outcome(claims: Record<string, unknown>, vars: Record<string, string>): unknown {
  try {
    return readTokenRestrictionsFromClaims(claims, 'provider', parseSettings({ ...vars }, true));
  } catch (thrown) {
    if (!(thrown instanceof ApiError)) throw thrown;
    expect(thrown.message).toContain('`agents`');
    return thrown.status;
  }
}

test('restricts an identity provider’s token to the agents in its claim, or else to those in JWT_ONLY', () => {
  expect(outcome({ agents: ['sky', 'own:cloud'] }, CLAIM)).toEqual({ agents: ['sky', 'own:cloud'] });
  expect(outcome({ agents: 'sky  cloud' }, BOTH)).toEqual({ agents: ['sky', 'cloud'] });
  expect(outcome({}, BOTH)).toEqual(OTHERWISE);
  expect(outcome({ agents: 'sky' }, { JWT_ONLY: BOTH.JWT_ONLY })).toEqual(OTHERWISE);
  expect(outcome({ agents: 'sky', only: OTHERWISE }, {})).toBeUndefined();
});

test('never accepts a token as unrestricted if its claim is absent or unreadable', () => {
  expect(outcome({}, CLAIM)).toBe(401);
  expect(outcome({ _claim_names: { agents: 'elsewhere' } }, BOTH)).toBe(401);
  tryCases(100, fc.oneof(fc.anything(), fc.array(fc.string()), fc.string()), (claim) => {
    const only = outcome({ agents: claim }, BOTH);
    if (claim === undefined) expect(only).toEqual(OTHERWISE);
    else if (only !== 401) expect((only as typeof OTHERWISE).agents.length).toBeGreaterThan(0);
  });
});
