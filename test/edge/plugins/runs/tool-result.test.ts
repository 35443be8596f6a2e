import { expect, test } from 'vitest';
import { toAcceptableResult } from '#edge/plugins/runs/tool-result.ts';

const text = { type: 'text', text: 'It broke.' };
const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } };

test('a result that is an error has text alone: another block is named in its place', () => {
  const broken = { content: [text, image], isError: true, bytes: 9 };
  expect(toAcceptableResult(broken)).toEqual({
    content: [text, { type: 'text', text: expect.stringContaining('image') }],
    isError: true,
    bytes: 9,
  });
  for (const given of [
    { ...broken, isError: false },
    { ...broken, content: 'It broke.' },
  ])
    expect(toAcceptableResult(given)).toBe(given);
});
