import { describe, expect, test } from 'vitest';
import { asking, post, refusal, simulated } from '../api.ts';

const api = simulated();

async function judged(messages: unknown[], rest: Record<string, unknown> = {}): Promise<string> {
  const answer = await api(post(asking('', { messages, ...rest })));
  return answer.ok ? 'accepted' : (await refusal(answer)).message;
}

const user = (...content: unknown[]): object => ({ role: 'user', content });
const assistant = (...content: unknown[]): object => ({ role: 'assistant', content });
const text = (value = 'x'): object => ({ type: 'text', text: value });
const use = (id: string): object => ({ type: 'tool_use', id, name: 'look', input: {} });
const result = (id: string): object => ({ type: 'tool_result', tool_use_id: id, content: 'seen' });

describe('a conversation', () => {
  test.each<[string, object[]]>([
    [
      'with consecutive messages of one role',
      [user(text()), user(text()), assistant(text()), assistant(text()), user(text())],
    ],
    [
      'with a system message in its middle',
      [user(text()), { role: 'system', content: 'Be kind.' }, assistant(text()), user(text())],
    ],
    ['that ends with an empty assistant message', [user(text()), assistant()]],
    ['that ends with the beginning of an answer', [user(text()), assistant(text('The'))]],
    [
      'with tool calls and all their results, in one message or several',
      [user(text()), assistant(use('a'), use('b')), user(result('b')), user(result('a'), text())],
    ],
  ])('is accepted %s', async (_, messages) => {
    expect(await judged(messages)).toBe('accepted');
  });

  const betas = { 'anthropic-beta': 'compact-2026-01-12,mid-conversation-output-config-2026-07-01' };
  const underBeta = async (...messages: object[]) => {
    const answer = await api(post(asking('', { messages }), betas));
    return answer.ok ? 'accepted' : (await refusal(answer)).message;
  };

  test('may have a system message that only sets output_config, as Claude Code sends after /compact', async () => {
    const output_config = { effort: 'high' };
    expect(await underBeta(user(text()), { role: 'system', content: [], output_config })).toBe('accepted');
    expect(await underBeta(user(text()), { role: 'system', output_config })).toBe('accepted');
    expect(await underBeta(user(text()), { role: 'system', content: 'x', output_config: {} })).toBe('accepted');
    const empty =
      'messages.1: all messages must have non-empty content except for the optional final assistant message';
    expect(await underBeta(user(text()), { role: 'system', content: [], output_config: {} })).toBe(empty);
    expect(await underBeta(user(text()), { role: 'system', content: '' })).toBe(empty);
    expect(await underBeta(user(text()), { role: 'system' })).toBe('messages.1.content: Field required');
    const effort = "messages.1.output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'";
    expect(await underBeta(user(text()), { role: 'system', output_config: { effort: 'some' } })).toBe(effort);
  });

  test('may begin with a compaction block', async () => {
    const compaction = { type: 'compaction', content: 'We spoke of rivers.', encrypted_content: null };
    expect(await underBeta(assistant(compaction), user(text()))).toBe('accepted');
    expect(await underBeta(assistant(text(), compaction), user(text()))).toContain('first message must use');
  });

  const lonely = 'Each `tool_use` block must have a corresponding `tool_result` block in the next message.';
  test.each<[string, object[], string]>([
    [
      'that begins with the assistant',
      [assistant(text()), user(text())],
      'messages: first message must use the "user" role',
    ],
    [
      'with an empty message',
      [user(text()), assistant(), user(text())],
      'messages.1: all messages must have non-empty content except for the optional final assistant message',
    ],
    [
      'with an empty last user message',
      [user()],
      'messages.0: all messages must have non-empty content except for the optional final assistant message',
    ],
    [
      'that ends with white space of the assistant',
      [user(text()), assistant(text('The '))],
      'messages: final assistant content cannot end with trailing whitespace',
    ],
    [
      'with a call that has no result',
      [user(text()), assistant(use('a'), use('b')), user(result('a'))],
      `messages.1: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: b. ${lonely}`,
    ],
    [
      'that ends with a call',
      [user(text()), assistant(use('a'))],
      `messages.1: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: a. ${lonely}`,
    ],
    [
      'with a result too late',
      [user(text()), assistant(use('a')), user(text()), assistant(text()), user(result('a'))],
      `messages.1: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: a. ${lonely}`,
    ],
    [
      'with a result of no call',
      [user(text(), result('z'))],
      'messages.0.content.1: unexpected `tool_use_id` found in `tool_result` blocks: z. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.',
    ],
    [
      'with two results of one call',
      [user(text()), assistant(use('a')), user(result('a'), result('a'))],
      'messages.2.content.1: each tool_use must have a single result. Found multiple `tool_result` blocks with id: a',
    ],
    [
      'with two calls of one id',
      [user(text()), assistant(use('a')), user(result('a')), assistant(use('a')), user(result('a'))],
      'messages: `tool_use` ids must be unique',
    ],
    [
      'with a call of the user',
      [user(use('a'))],
      'messages.0.content.0: `tool_use` blocks can only be in `assistant` messages',
    ],
    [
      'with a result of the assistant',
      [user(text()), assistant(result('a'))],
      'messages.1.content.0: `tool_result` blocks can only be in `user` messages',
    ],
    [
      'with an image of the assistant',
      [user(text()), assistant({ type: 'image', source: { type: 'url', url: 'https://a.test/a' } })],
      'messages.1.content.0: `image` blocks can only be in `user` messages',
    ],
    [
      'with thinking at the end of a message',
      [user(text()), assistant({ type: 'thinking', thinking: 'x', signature: 'x' }), user(text())],
      'messages.1: The final block in an assistant message cannot be `thinking`.',
    ],
    [
      'with thinking that nobody signed',
      [user(text()), assistant({ type: 'thinking', thinking: 'x', signature: 'x' }, text()), user(text())],
      'messages.1.content.0: Invalid `signature` in `thinking` block',
    ],
    [
      'with a search and no result of it',
      [
        user(text()),
        assistant({ type: 'server_tool_use', id: 's', name: 'web_search', input: {} }, text()),
        user(text()),
      ],
      '`web_search` tool use with id `s` was found without a corresponding `web_search_tool_result` block',
    ],
    [
      'with a result of no search',
      [user(text()), assistant({ type: 'web_search_tool_result', tool_use_id: 's', content: [] }), user(text())],
      'messages.1.content.0: unexpected `tool_use_id` found in `web_search_tool_result` blocks: s. Each `web_search_tool_result` block must have a corresponding `server_tool_use` block before it.',
    ],
  ])('is rejected %s', async (_, messages, message) => {
    expect(await judged(messages)).toBe(message);
  });

  test('gets no thinking in mode `enabled`, but does in `adaptive`, if its tool loop has lost its thinking', async () => {
    const lost = [user(text()), assistant(text(), use('a')), user(result('a'))];
    const whole = [user(text()), assistant(text()), user(text())];
    const thinks = async (messages: unknown[], thinking: object) => {
      const answer = await api(post(asking('', { max_tokens: 2_048, messages, thinking })));
      const { content }: { content: { type: string }[] } = await answer.json();
      return content.some(({ type }) => type === 'thinking');
    };
    const enabled = { type: 'enabled', budget_tokens: 1024 };
    expect(await thinks(lost, enabled)).toBe(false);
    expect(await thinks(whole, enabled)).toBe(true);
    expect(await thinks(lost, { type: 'adaptive' })).toBe(true);
  });
});
