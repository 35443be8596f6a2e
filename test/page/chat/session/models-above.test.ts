import { expect, test } from 'vitest';
import { markContinuedAnswers } from '#page/chat/session/models-above.ts';

const entry = (role: 'user' | 'assistant', part: string, model: string | null = null) => ({
  role,
  parts: [{ type: part }],
  row: { model },
});

type Placed = Parameters<typeof markContinuedAnswers>[0][number];

test('markContinuedAnswers sets the previous response’s model unless a question is between the two', () => {
  const entries = markContinuedAnswers<Placed>([
    entry('user', 'text'),
    entry('assistant', 'tool_use', 'haiku'),
    entry('user', 'tool_result'),
    entry('assistant', 'text', 'haiku'),
    entry('assistant', 'text', 'opus'),
    entry('user', 'text'),
    entry('assistant', 'text', 'opus'),
    { ...entry('assistant', 'text'), row: undefined },
    entry('assistant', 'text', 'opus'),
  ]);
  expect(entries.filter(({ role }) => role === 'assistant').map(({ modelAbove }) => modelAbove)).toEqual([
    undefined,
    'haiku',
    'haiku',
    undefined,
    'opus',
    undefined,
  ]);
});
