// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from 'vitest';
import { Session } from '#page/chat/session/session.ts';

/** What the edge has: the conversation's messages, and what it was asked. */
const edge = vi.hoisted(() => ({ rows: [] as object[], asked: [] as unknown[] }));

// The page's client needs a browser.
vi.mock('#page/edge/client.ts', () => ({
  getClient: () => ({
    conversations: {
      get: () => Promise.resolve({ id: 'c1', state: 'idle' }),
      messages: () => Promise.resolve({ data: [...edge.rows], has_more: false }),
    },
    messages: {
      stream: ({ messages }: { messages: { content: unknown }[] }) => {
        edge.asked.push(messages[0]?.content);
        throw new Error('The connection is lost.');
      },
    },
  }),
}));
vi.mock('#page/edge/account.ts', () => ({ refreshSpentToday: () => Promise.resolve() }));
vi.mock('#page/edge/models.ts', () => ({ currentModel: { value: { id: 'm' } } }));
vi.mock('#page/chat/session/options.ts', () => ({
  maxTokens: { value: 10 },
  thinkingChoice: { value: 'model' },
}));
vi.mock('#page/chat/session/tools.ts', () => ({
  listToolsForNextQuestion: () => [],
  runPageTools: () => [],
  hasOnlyPageToolCalls: () => false,
}));

const row = (id: string, role: string, content: unknown) => ({ id, role, content, status: 'complete' });

beforeEach(() => {
  edge.rows = [];
  edge.asked = [];
});

test('Retry sends a failed question again, unless the conversation already contains it', async () => {
  const session = new Session('c1', () => Promise.resolve());
  await session.loadAndFollow();
  session.showFailure(new Error('The connection is lost.'), 'What is a weir?');
  await session.retryFailedQuestion().catch(() => {});
  expect(edge.asked).toEqual(['What is a weir?']);

  session.showFailure(new Error('The connection is lost.'), 'And a dam?');
  edge.rows = [row('msg_1', 'user', 'And a dam?'), row('msg_2', 'assistant', [{ type: 'text', text: 'A wall.' }])];
  await session.retryFailedQuestion();
  expect(edge.asked).toEqual(['What is a weir?']);
  expect([session.failure.value, session.rows.value.length]).toEqual([undefined, 2]);
});

test('the history is shown even if the report of a turn without a response cannot be read', async () => {
  edge.rows = [{ id: 'm1', role: 'user', content: 'Why?', status: 'complete', turn: 't1' }];
  const session = new Session('c1', () => Promise.resolve());
  await session.loadAndFollow();
  expect(session.rows.value).toHaveLength(1);
  expect(session.failure.value).toBeUndefined();
});
