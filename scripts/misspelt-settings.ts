/** Finds settings whose names are misspelt: they would be ignored without a word. */
import { isUpstreamKey, settingsShape } from '../src/edge/config/settings.ts';
import { isToolSecret } from '../src/edge/config/tool-secrets.ts';
import './all-plugins.mjs';
import { findNearestName } from './nearest-name.ts';

/** @param names of variables and secrets @returns a sentence for each that is probably meant to be a setting */
export function findMisspeltSettings(names: Iterable<string>): string[] {
  const known = Object.keys(settingsShape());
  return [...names].flatMap((name) => {
    const meant = isUpstreamKey(name) || isToolSecret(name) ? undefined : findNearestName(name, known);
    return meant === undefined ? [] : [`${name} is no setting. Did you mean ${meant}?`];
  });
}
