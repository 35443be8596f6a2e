/** Finds settings whose names are misspelt: they would be ignored without a word. */
import { isUpstreamKey, settingsShape } from '../src/edge/config/settings.ts';
import { isToolSecret } from '../src/edge/config/tool-secrets.ts';
import { findNearestName } from '../src/edge/kit/json/nearest-name.ts';
import './all-plugins.mjs';

/** @param names of variables and secrets @returns a sentence for each that is probably meant to be a setting */
export function findMisspeltSettings(names: Iterable<string>): string[] {
  const known = Object.keys(settingsShape());
  return [...names].flatMap((name) => {
    const meant = isUpstreamKey(name) || isToolSecret(name) ? undefined : findNearestName(name, known);
    return meant === undefined ? [] : [`${name} is not a setting. Did you mean ${meant}?`];
  });
}
