/** Half of a character (a lone surrogate) in JSON. JavaScript and JSON can contain one, but UTF-8 and the Claude API cannot. */

import { isObject } from './object.ts';

/** An escape in a JSON text: a pair of surrogates, half of one, or any other. */
const ESCAPE = /\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)/g;
const LONE_ESCAPE_CHARACTERS = 6;
const REPLACEMENT = '\\ufffd';

/**
 * Replaces each lone surrogate in a JSON text by U+FFFD.
 *
 * @returns the same text if it has none
 */
export function replaceLoneSurrogates(text: string): string {
  const isEscaped = text.includes('\\ud') || text.includes('\\uD');
  if (!isEscaped) return text.toWellFormed();
  const isLoneEscape = (one: string) => one.length === LONE_ESCAPE_CHARACTERS;
  return text.replace(ESCAPE, (one) => (isLoneEscape(one) ? REPLACEMENT : one)).toWellFormed();
}

/** @returns the path of the first string or key with a lone surrogate, such as `tools.0.description`; undefined if there is none */
export function findLoneSurrogatePath(root: unknown): string | undefined {
  const open: { value: unknown; path: string }[] = [{ value: root, path: '' }];
  for (let next = open.pop(); next; next = open.pop()) {
    const { value, path } = next;
    const joinPath = (key: string | number) => (path === '' ? String(key) : `${path}.${key}`);
    if (typeof value === 'string' && !value.isWellFormed()) return path;
    if (Array.isArray(value)) {
      for (let index = value.length - 1; index >= 0; index -= 1)
        open.push({ value: value[index], path: joinPath(index) });
    } else if (isObject(value)) {
      const entries = Object.entries(value);
      if (entries.some(([key]) => !key.isWellFormed())) return path;
      for (const [key, member] of entries.toReversed()) open.push({ value: member, path: joinPath(key) });
    }
  }
  return undefined;
}
