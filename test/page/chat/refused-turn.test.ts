// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { expect, test } from 'vitest';
import { Session } from '#page/chat/session/session.ts';
import { Transcript } from '#page/chat/transcript.tsx';
import { installFakeEdge, renderForTest, waitForText } from '#test/support/dom.ts';

const DECLINED = 'Claude declined to answer. Your next message is sent without this turn.';

test('a turn that was refused before any text says so after its question', async () => {
  const row = { type: 'message', model: null, stop_reason: null, paused: null, usage: null };
  const rows = [
    { ...row, id: 'm1', role: 'user', content: 'May I?', status: 'refused', turn: 't1' },
    { ...row, id: 'm2', role: 'user', content: 'And now?', status: 'refused', turn: 't2' },
    { ...row, id: 'm3', role: 'assistant', content: [{ type: 'text', text: 'I' }], status: 'refused', turn: 't2' },
  ];
  installFakeEdge(({ path }) =>
    path.includes('/messages')
      ? { data: rows, has_more: false }
      : { id: 'c1', state: 'idle', data: [], has_more: false },
  );
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
});
