import { expect, test } from 'vitest';
import { checked, checksumOf, DamagedRow, withoutSum, withSum } from '../../../../src/edge/talk/storage/damaged-row.ts';

const TEXT = '{"role":"user","content":"Lock the gate"}';

test.each([
  ['a character less', TEXT.slice(0, -1)],
  ['another character', TEXT.replace('gate', 'gaze')],
  ['the same characters in another order', TEXT.replace('gate', 'agte')],
  ['nothing', ''],
])('a stored text that has become %s is damaged', (_, text) => {
  expect(checked('the message 1', TEXT, checksumOf(TEXT))).toBe(TEXT);
  expect(() => checked('the message 1', text, checksumOf(TEXT))).toThrow(DamagedRow);
});

test('a checksum is continued from that of the text before', () => {
  expect(checksumOf(TEXT, 9, TEXT.length, checksumOf(TEXT, 0, 9))).toBe(checksumOf(TEXT));
});

test('a text with its checksum is read only as what it was written as', () => {
  const stored = withSum('the profile', TEXT);
  expect(withoutSum('the profile', stored)).toBe(TEXT);
  expect(() => withoutSum('a summary', stored)).toThrow('a summary');
  expect(() => withoutSum('the profile', stored.replace('gate', 'agte'))).toThrow(DamagedRow);
  expect(() => withoutSum('the profile', TEXT)).toThrow(DamagedRow);
});
