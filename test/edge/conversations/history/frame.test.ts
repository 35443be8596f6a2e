import { expect, test } from 'vitest';
import { createPromptFrameKey } from '#edge/conversations/history/frame.ts';

const asked = {
  background: 'true',
  retry: '{"attempts":3}',
  deliver_url: '"https://example.com/done"',
  prefix: '"manual"',
  agent: '"sky"',
  show: '"text"',
};

test('createPromptFrameKey ignores Sluice’s own parameters, but not a parameter of the prompt', () => {
  const prompt: [string, string][] = [['thinking', '{"type":"disabled"}']];
  const frame = createPromptFrameKey(new Map(prompt), undefined, 'claude-opus-5-5', undefined);
  for (const member of Object.entries(asked))
    expect([
      member[0],
      createPromptFrameKey(new Map([...prompt, member]), undefined, 'claude-opus-5-5', undefined),
    ]).toEqual([member[0], frame]);
  expect(createPromptFrameKey(new Map(), undefined, 'claude-opus-5-5', undefined)).not.toBe(frame);
});
