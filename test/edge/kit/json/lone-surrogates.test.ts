import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { findLoneSurrogatePath, replaceLoneSurrogates } from '#edge/kit/json/lone-surrogates.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const half = fc.constantFrom('\ud83d', '\udc4b', '\\ud83d', '\\\\ud83d', '👋', '"', '\\', 'a', '\\ud83d\\udc4b');
const text = fc.array(half, { maxLength: 8 }).map((parts) => parts.join(''));
/** Writes each character above ASCII as escapes, as other languages do. */
const escaped = (json: string) =>
  json.replace(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);

describe('replaceLoneSurrogates', () => {
  test('replaces each lone surrogate with U+FFFD, escaped or not, and keeps the rest of the value', () => {
    tryCases(caseCount(2_000), fc.array(text), fc.boolean(), (strings, isEscaped) => {
      const json = JSON.stringify(strings);
      const sent = replaceLoneSurrogates(isEscaped ? escaped(json) : json);
      expect(JSON.parse(sent)).toEqual(strings.map((one) => one.toWellFormed()));
      return undefined;
    });
  });

  test('returns a text without lone surrogates unchanged', () => {
    const json = JSON.stringify({ a: '👋 \\ud83d' });
    expect(replaceLoneSurrogates(json)).toBe(json);
  });
});

test.each<[unknown, string | undefined]>([
  [{ tools: [{ name: 'a' }, { description: 'half \ud83d' }] }, 'tools.1.description'],
  [{ system: { '\udc4b': 1 } }, 'system'],
  ['\ud83d', ''],
  [{ a: '👋' }, undefined],
])('findLoneSurrogatePath finds the path of a lone surrogate in %j', (value, path) => {
  expect(findLoneSurrogatePath(value)).toBe(path);
});
