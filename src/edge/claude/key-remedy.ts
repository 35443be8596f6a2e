import { findRemedy, ONLY_UPSTREAM, parseKeyRejectionFromLog } from './explain-rejected-key.ts';
import { getUpstreamKeySettingName } from './providers/entry.ts';

/**
 * @param name the upstream's name; empty for the only one
 * @param words its error as it is logged: its status, type, code and message
 * @returns what the operator must do; undefined for an error that is not about the key
 */
export function findKeyRemedy(name: string, words: string): string | undefined {
  const called =
    name === '' ? ONLY_UPSTREAM : { name: `The upstream ${name}`, setting: getUpstreamKeySettingName(name) };
  return findRemedy({ ...parseKeyRejectionFromLog(words), ...called });
}
