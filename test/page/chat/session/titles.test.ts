// @vitest-environment jsdom
import { expect, test, vi } from 'vitest';
import { createTitleFromContent } from '#page/chat/session/titles.ts';

// The page's client needs a browser.
vi.mock('#page/edge/client.ts', () => ({ getClient: () => ({}) }));

test('a title is the first message in one line, and only a very long one is shortened', () => {
  const long =
    'Which of these two gates opens first when the water in the basin is higher than in the river beside it?';
  expect(createTitleFromContent(`${long}\n\n`)).toBe(long);
  expect(createTitleFromContent('a'.repeat(1_000)).length).toBeLessThan(300);
  expect(createTitleFromContent([{ type: 'image' } as never])).toBe('Files');
});
