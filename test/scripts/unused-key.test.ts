import { expect, test } from 'vitest';
import { unusedKey } from '../../scripts/unused-key.ts';

const shell = { ANTHROPIC_API_KEY: 'sk-of-the-shell' };

test.each([
  [{}, 'Put the line ANTHROPIC_API_KEY=… into .dev.vars, and start again.'],
  [{ ANTHROPIC_API_KEY: 'sk-other' }, 'the one in .dev.vars, --env-file or --var is.'],
  [{ ANTHROPIC_API_KEY: 'sk-of-the-shell', UPSTREAMS: '[…]' }, 'each of UPSTREAMS has a key of its own.'],
])('a key of the shell is named as not used, beside %j, and never shown', (given, instead) => {
  const said = unusedKey(shell, given);
  expect(said).toContain(`is not used: `);
  expect(said).toContain(instead);
  expect(said).not.toContain('sk-');
});

test('nothing is said of a key that is used, or of none', () => {
  expect(unusedKey(shell, shell)).toBeUndefined();
  expect(unusedKey({}, {})).toBeUndefined();
  expect(unusedKey({ ANTHROPIC_API_KEY: '' }, {})).toBeUndefined();
});
