import { expect, test } from 'vitest';
import { DamagedRow, parseStored } from '#edge/conversations/history/storage/damaged-row.ts';

const TEXT = '{"role":"user"}';

test.each([TEXT.slice(0, -1), TEXT.slice(1), ''])(
  'a stored text that has become %j is damaged, and its row is named',
  (text) => {
    expect(parseStored('message 1', TEXT)).toEqual({ role: 'user' });
    expect(() => parseStored('message 1', text)).toThrow(DamagedRow);
    expect(() => parseStored('message 1', text)).toThrow('message 1');
  },
);
