import { expect, test } from 'vitest';
import { settingsShape } from '#edge/config/settings.ts';
import { findMisspeltSettings } from '../../scripts/misspelt-settings.ts';

test('findMisspeltSettings suggests the correct name of a misspelt setting', () => {
  expect(findMisspeltSettings(['ANTHROPIC_API_KEYS', 'SINGING_SECRET', 'MY_OWN_VARIABLE', 'UPSTREAM_ONE_KEY'])).toEqual(
    [
      'ANTHROPIC_API_KEYS is not a setting. Did you mean ANTHROPIC_API_KEY?',
      'SINGING_SECRET is not a setting. Did you mean SIGNING_SECRET?',
    ],
  );
});

test('findMisspeltSettings does not report valid settings', () => {
  expect(findMisspeltSettings(Object.keys(settingsShape()))).toEqual([]);
});
