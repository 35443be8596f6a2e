import { expect, test } from 'vitest';
import { maxTokens } from '../../../../src/playground/chat/session/options.ts';
import { MODELS } from '../../../../src/pricing/models.ts';
import { roomForText } from '../../../../src/pricing/thinking-off.ts';

test('who chooses nothing leaves every model room for a text', () => {
  const short = MODELS.filter((row) => roomForText(row, {}) > maxTokens.value);
  expect(short.map(({ id }) => id)).toEqual([]);
});
