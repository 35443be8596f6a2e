import { expect, test } from 'vitest';
import { edgeToolsIn } from '../../../src/conversations/history/edge-tools.ts';

test.each(['run', '\\u0072un', 'r\\u0075n', 'ru\\u006E'])(
  'how a tool is called never goes up, however its key is written: %s',
  (key) => {
    const found = edgeToolsIn(`[{"name":"a","${key}":{"url":"https://tools.example.com/"}}]`);
    expect(found?.sent).toBe('[{"name":"a"}]');
    expect([...(found?.runs.keys() ?? [])]).toEqual(['a']);
  },
);
