import { expect, test } from 'vitest';
import { settingsShape } from '#edge/config/settings.ts';
import { findMisspeltSettings } from '../../scripts/misspelt-settings.ts';

test('a misspelt setting is named with the one that was meant', () => {
  expect(findMisspeltSettings(['ANTHROPIC_API_KEYS', 'SINGING_SECRET', 'MY_OWN_VARIABLE', 'UPSTREAM_ONE_KEY'])).toEqual(
    [
      'ANTHROPIC_API_KEYS is not a setting. Did you mean ANTHROPIC_API_KEY?',
      'SINGING_SECRET is not a setting. Did you mean SIGNING_SECRET?',
    ],
  );
});

test('no setting is taken for a misspelt one', () => {
  expect(findMisspeltSettings(Object.keys(settingsShape()))).toEqual([]);
});
