import { expect, test } from 'vitest';
import { DamagedRow, parseStored } from '#edge/conversations/history/storage/damaged-row.ts';

const TEXT = '{"role":"user"}';

test.each([TEXT.slice(0, -1), TEXT.slice(1), ''])(
  'parseStored throws a DamagedRow that names the row if its text has become %j',
  (text) => {
    expect(parseStored('message 1', TEXT)).toEqual({ role: 'user' });
    expect(() => parseStored('message 1', text)).toThrow(DamagedRow);
    expect(() => parseStored('message 1', text)).toThrow('message 1');
  },
);
