import { describe, expect, test } from 'vitest';
import { REDACTED_THINKING_TRIGGER } from '#simulator/answer/answer.ts';
import { model, models, post, refusal, simulated } from '../api.ts';

const other = { ...models[0], id: 'claude-test-3', aliases: [] } as (typeof models)[number];
const earlier = { ...other, id: 'claude-test-0', checks_thinking: 'new_accounts' as const };
const api = simulated({ models: [...models, other, earlier] });
const adaptive = { type: 'adaptive' };
const dropping = { ...adaptive, block_binding: { prefix_mismatch_behavior: 'drop_block' } };
const betas = { 'anthropic-beta': 'thinking-binding-controls-2026-08-01' };

interface Message {
  role: string;
  content: string | Record<string, unknown>[];
}
interface Answer {
  content: Record<string, unknown>[];
  usage: { input_tokens: number };
  input_transformations?: unknown;
}

const asked = (messages: Message[], more: object) => ({
  model,
  max_tokens: 2000,
  thinking: adaptive,
  messages,
  ...more,
});
async function answerTo(messages: Message[], more: object = {}, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await api(post(asked(messages, more), headers));
  expect(response.status, await response.clone().text()).toBe(200);
  return (await response.json()) as Answer;
}
async function refusalOf(messages: Message[], more: object = {}): Promise<string> {
  return (await refusal(await api(post(asked(messages, more))))).message;
}

const question: Message = { role: 'user', content: 'Why is the sky blue?' };
const next: Message = { role: 'user', content: 'And at night?' };
const answered = async (more: object = {}, asking = question): Promise<Message> => {
  const { content } = await answerTo([asking], more);
  expect(String(content[0]?.type)).toMatch(/thinking$/);
  return { role: 'assistant', content };
};
const withoutThinking = ({ role, content }: Message): Message => ({
  role,
  content: typeof content === 'string' ? content : content.filter(({ type }) => type !== 'thinking'),
});
const dropped = (reason: string, path = 'messages.1.content.0') => ({ type: 'thinking_dropped', path, reason });

describe('thinking', () => {
  test('is accepted after the same messages in an equivalent form', async () => {
    const first = await answered();
    const second = { role: 'assistant', content: (await answerTo([question, first, next])).content };
    const block = { type: 'text', text: ' Why is the sky blue?', cache_control: { type: 'ephemeral' } };
    const pairs: [Message, Message][] = [
      [question, first],
      [{ role: 'user', content: [block] }, withoutThinking(first)],
    ];
    for (const [one, two] of pairs) {
      const { input_transformations } = await answerTo([one, two, next, second, next], {}, betas);
      expect(input_transformations).toEqual([]);
    }
  });

  test('is rejected after other messages, or dropped and reported if the request allows it', async () => {
    const first = await answered();
    const moved = [{ role: 'user', content: 'Why is the sea blue?' }, first, next];
    const words =
      'messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation.';
    expect(await refusalOf(moved)).toContain(words);
    const told = await answerTo(moved, { thinking: dropping }, betas);
    expect(told.input_transformations).toEqual([dropped('prefix_binding_mismatch')]);
    const shorter = moved.map(withoutThinking);
    expect(told.usage.input_tokens).toBe((await answerTo(shorter)).usage.input_tokens);
    const streamed = await api(post(asked(moved, { thinking: dropping, stream: true }), betas));
    expect(await streamed.text()).toContain('"input_transformations":[{"type":"thinking_dropped"');
    // Without its beta the API does not know the member.
    expect(await refusalOf(moved, { thinking: dropping })).toContain('block_binding: Extra inputs are not permitted');
    expect((await api(post(asked(moved, { thinking: { type: 'disabled' } })))).status).toBe(200);
    const { max_tokens: _, ...counted } = asked(moved, {});
    expect((await api(post(counted, {}, '/v1/messages/count_tokens'))).status).toBe(400);
  });

  test('is kept after other messages if the model does not check it, unless the request asks for an error', async () => {
    const more = { model: earlier.id };
    const moved = [{ role: 'user', content: 'Why is the sea blue?' }, await answered(more), next];
    const told = await answerTo(moved, more, betas);
    const allowed = { ...dropped('prefix_binding_mismatch'), type: 'thinking_mismatch_allowed' };
    expect(told.input_transformations).toEqual([allowed]);
    expect(told.usage.input_tokens).toBeGreaterThan(
      (await answerTo(moved.map(withoutThinking), more)).usage.input_tokens,
    );
    const error = { ...adaptive, block_binding: { prefix_mismatch_behavior: 'error' } };
    const refused = await api(post(asked(moved, { ...more, thinking: error }), betas));
    expect(refused.status).toBe(400);
  });

  test('of another model or end user is dropped without an error, and reported with the beta', async () => {
    const alice = { user_profile_id: 'uprof_alice' };
    const first = await answered(alice);
    const again = async (more: object, headers = betas) =>
      (await answerTo([question, first, next], more, headers)).input_transformations;
    expect(await again(alice)).toEqual([]);
    expect(await again({ ...alice, model: other.id })).toEqual([dropped('model_binding_mismatch')]);
    expect(await again({ user_profile_id: 'uprof_bob', model: other.id })).toEqual([
      dropped('end_user_binding_mismatch'),
    ]);
    expect(await again({}, { ...betas, 'anthropic-user-profile-id': 'uprof_bob' } as typeof betas)).toEqual([
      dropped('end_user_binding_mismatch'),
    ]);
  });

  test('is also bound to its conversation if it is redacted', async () => {
    const asking = { role: 'user', content: `Why? ${REDACTED_THINKING_TRIGGER}` };
    const first = await answered({}, asking);
    expect((await answerTo([asking, first, next], {}, betas)).input_transformations).toEqual([]);
    expect(await refusalOf([question, asking, first, next])).toContain('`redacted_thinking` block. The block is bound');
  });
});
