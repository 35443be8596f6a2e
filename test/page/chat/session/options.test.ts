// @vitest-environment jsdom
import { expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { computeMinTokensForText } from '#edge/claude/pricing/minimal-thinking.ts';
import { maxTokens } from '#page/chat/session/options.ts';

test('the default max_tokens leaves every model tokens for text after thinking', () => {
  const short = MODELS.filter((row) => computeMinTokensForText(row, {}) > maxTokens.value);
  expect(short.map(({ id }) => id)).toEqual([]);
});
