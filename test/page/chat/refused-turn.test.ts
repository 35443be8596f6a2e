// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { expect, test } from 'vitest';
import { Session } from '#page/chat/session/session.ts';
import { Transcript } from '#page/chat/transcript.tsx';
import { installFakeEdge, renderForTest, waitForText } from '#test/support/dom.ts';

const DECLINED = 'Claude declined to answer. Your next message is sent without this turn.';

test('a turn that was refused before any text says so after its question, with its tokens and its cost', async () => {
  const row = { type: 'message', model: null, stop_reason: null, paused: null, usage: null };
  const rows = [
    { ...row, id: 'm1', role: 'user', content: 'May I?', status: 'refused', turn: 't1' },
    { ...row, id: 'm2', role: 'user', content: 'And now?', status: 'refused', turn: 't2' },
    { ...row, id: 'm3', role: 'assistant', content: [{ type: 'text', text: 'I' }], status: 'refused', turn: 't2' },
  ];
  const usage = { input_tokens: 500, cache_read_input_tokens: 50, cache_creation_input_tokens: 5, output_tokens: 800 };
  const report = { id: 't1', cost_usd: 0.0235, steps: [{ model: 'm', usage, stop_reason: 'refusal' }] };
  const asked = installFakeEdge(({ path }) => {
    if (path.includes('/messages')) return { data: rows, has_more: false };
    return path.endsWith('/turns/t1') ? report : { id: 'c1', state: 'idle', data: [], has_more: false };
  });
  const session = new Session('c1', () => Promise.resolve());
  await session.loadAndFollow();
  const root = renderForTest(h(Transcript, { session }));
  await waitForText(root, 'And now?');
  const articles = [...root.querySelectorAll('article')];
  expect(articles.map(({ ariaLabel, textContent }) => [ariaLabel, textContent?.includes(DECLINED)])).toEqual([
    ['You', false],
    ['Answer', true],
    ['You', false],
    ['Answer', true],
  ]);
  expect(articles[1]?.querySelector('.figures')?.textContent).toBe('555 in (50 from cache, 5 to cache)800 out$0.0235');
  // The answer with text has its usage and its cost in the history.
  expect(asked.filter(({ path }) => path.includes('/turns/')).map(({ path }) => path)).toEqual([
    '/conversations/c1/turns/t1',
  ]);
});
