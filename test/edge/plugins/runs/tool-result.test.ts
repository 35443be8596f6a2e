import { expect, test } from 'vitest';
import { toAcceptableResult } from '#edge/plugins/runs/tool-result.ts';

const text = { type: 'text', text: 'It broke.' };
const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } };

test('an error result keeps only its text, and names each other block in place of the block', () => {
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
