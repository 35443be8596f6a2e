import type Anthropic from '@anthropic-ai/sdk';
import { describe, expect, test } from 'vitest';
import { REDACTED_THINKING_TRIGGER, REFUSAL_TRIGGER } from '#simulator/answer/answer.ts';
import { clientOf, model, simulated, textOf } from '../api.ts';
import { pngOf } from '../pictures.ts';

const client = clientOf(simulated());

type Params = Partial<Anthropic.MessageCreateParamsNonStreaming>;

function ask(text: string, rest: Params = {}): Promise<Anthropic.Message> {
  return client.messages.create({ model, max_tokens: 8000, messages: [{ role: 'user', content: text }], ...rest });
}

function words(text: string): number {
  return text.split(/\s+/).length;
}

describe('a text response', () => {
  test('names the simulator, quotes the question, and explains how to get responses from Claude', async () => {
    const text = textOf(await ask('What is the capital of France?', { system: 'You are a geographer.' }));
    expect(text).toContain('simulator, not Claude');
    expect(text).toContain('“What is the capital of France?”');
    expect(text).toContain('system prompt of 4 words');
    expect(text).toContain('ANTHROPIC_API_KEY');
  });

  test('contains the number of the turn, the sizes of images and the page counts of documents', async () => {
    const pdf = btoa('%PDF-1.4 /Type /Page /Type /Pages /Type/Page ');
    const image = { type: 'base64' as const, media_type: 'image/png' as const, data: pngOf(640, 480) };
    const text = textOf(
      await ask('', {
        messages: [
          { role: 'user', content: 'Hello' },
          { role: 'assistant', content: 'Hello.' },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What is on these?' },
              { type: 'image', source: image },
              { type: 'document', title: 'Plan', source: { type: 'base64', media_type: 'application/pdf', data: pdf } },
            ],
          },
        ],
      }),
    );
    expect(text).toContain('In turn 2 you asked “What is on these?”');
    expect(text).toContain('1 image: PNG 640×480');
    expect(text).toContain('“Plan” (2 pages)');
  });

  test.each([20, 60, 300, 5000])('has about %i words if the prompt requests that length', async (count) => {
    const text = textOf(await ask(`Tell me about rivers in ${count} words.`));
    expect(Math.abs(words(text) - count)).toBeLessThanOrEqual(15);
  });

  test('has one word, one sentence or three paragraphs on request', async () => {
    expect(textOf(await ask('Answer in one word: is it?'))).toBe('Simulated.');
    expect(textOf(await ask('In one sentence, what are whales?')).match(/[.!?](\s|$)/g)).toHaveLength(1);
    expect(textOf(await ask('Describe it in three paragraphs')).split('\n\n')).toHaveLength(3);
    expect(words(textOf(await ask('Write a long story')))).toBeGreaterThan(500);
  });

  test('quotes the question after a prefilled assistant message', async () => {
    const messages = [
      { role: 'user' as const, content: 'Name a river.' },
      { role: 'assistant' as const, content: 'The' },
    ];
    expect(textOf(await ask('', { messages }))).toContain('Name a river.');
  });
});

describe('the stop reason', () => {
  test('is stop_sequence at the earliest of several sequences, with the text cut before it', async () => {
    const message = await ask('What about Paris?', { stop_sequences: ['Paris', 'not Claude', 'never written'] });
    expect(message).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: 'not Claude' });
    expect(textOf(message)).toMatch(/simulator, $/);
  });

  test('is max_tokens in mid-text after exactly max_tokens output tokens', async () => {
    for (const max_tokens of [1, 2, 17]) {
      const message = await ask('Tell me everything', { max_tokens });
      expect(message).toMatchObject({
        stop_reason: 'max_tokens',
        stop_sequence: null,
        usage: { output_tokens: max_tokens },
      });
    }
  });

  test('is max_tokens with no content for max_tokens 0', async () => {
    const message = await ask('Warm the cache', { max_tokens: 0 });
    expect(message).toMatchObject({ content: [], stop_reason: 'max_tokens', usage: { output_tokens: 0 } });
  });

  test('is refusal if the prompt contains the documented trigger text', async () => {
    const message = await ask(`Please: ${REFUSAL_TRIGGER}`);
    expect(message).toMatchObject({ content: [], stop_reason: 'refusal', stop_details: { type: 'refusal' } });
  });

  test('is model_context_window_exceeded if the window ends before max_tokens', async () => {
    const small = { model: 'claude-test-1', max_tokens: 1500 };
    const filler = 'word '.repeat(1900);
    const message = await ask(`${filler} write 1000 words`, small);
    expect(message.stop_reason).toBe('model_context_window_exceeded');
    expect(message.usage.input_tokens + message.usage.output_tokens).toBe(2000);
    await expect(ask('word '.repeat(3000), small)).rejects.toMatchObject({
      status: 400,
      message: expect.stringMatching(/prompt is too long: \d+ tokens > 2000 maximum/),
    });
  });
});

describe('thinking', () => {
  const enabled = { type: 'enabled', budget_tokens: 1024 } as const;

  test('is the first block, has a signature, and counts as output tokens', async () => {
    for (const thinking of [enabled, { type: 'adaptive' } as const]) {
      const message = await ask('Why is the sky blue?', { thinking });
      expect(message.content.map(({ type }) => type)).toEqual(['thinking', 'text']);
      expect(message.content[0]).toMatchObject({
        thinking: expect.stringContaining('sky blue'),
        signature: expect.stringMatching(/.{20}/),
      });
      const { output_tokens, output_tokens_details } = message.usage;
      expect(output_tokens_details?.thinking_tokens).toBeGreaterThan(10);
      expect(output_tokens).toBeGreaterThan(output_tokens_details?.thinking_tokens ?? 0);
    }
  });

  test('is absent if it is disabled', async () => {
    const message = await ask('Why?', { thinking: { type: 'disabled' } });
    expect(message.content.map(({ type }) => type)).toEqual(['text']);
    expect(message.usage.output_tokens_details?.thinking_tokens).toBe(0);
  });

  test('is empty, signed and counted if its display is omitted, and is accepted unchanged in the next request', async () => {
    const thinking = { type: 'adaptive', display: 'omitted' } as const;
    const message = await ask('Why?', { thinking });
    expect(message.content[0]).toMatchObject({
      type: 'thinking',
      thinking: '',
      signature: expect.stringMatching(/.{20}/),
    });
    expect(message.usage.output_tokens_details?.thinking_tokens).toBeGreaterThan(10);
    const messages = [
      { role: 'user' as const, content: 'Why?' },
      { role: 'assistant' as const, content: message.content },
      { role: 'user' as const, content: 'And?' },
    ];
    expect((await ask('', { messages, thinking })).stop_reason).toBe('end_turn');
  });

  test('has a signature with more characters than the thinking has tokens', async () => {
    const { content, usage } = await ask('Why?', { thinking: { type: 'adaptive' } });
    const [block] = content;
    const thought = usage.output_tokens_details?.thinking_tokens ?? 0;
    expect(thought).toBeGreaterThan(1_000);
    expect(block?.type === 'thinking' && block.signature.length).toBeGreaterThan(thought);
  });

  test('is redacted for the documented trigger text', async () => {
    const message = await ask(REDACTED_THINKING_TRIGGER, { thinking: enabled, max_tokens: 3000 });
    expect(message.content[0]).toMatchObject({ type: 'redacted_thinking', data: expect.any(String) });
  });

  test('is rejected with an altered signature, and accepted unaltered by any simulator with the same seed', async () => {
    const original = await ask('Why?', { thinking: enabled });
    const redacted = await ask(REDACTED_THINKING_TRIGGER, { thinking: enabled });
    const again = async (change: (block: Anthropic.ContentBlock) => object, message = original): Promise<unknown> => {
      const [first, ...rest] = message.content;
      if (first === undefined) throw new Error('no thinking');
      const content = [change(first), ...rest] as Anthropic.ContentBlockParam[];
      return clientOf(simulated())
        .messages.create({
          model,
          max_tokens: 2000,
          messages: [
            { role: 'user', content: 'Why?' },
            { role: 'assistant', content },
            { role: 'user', content: 'And?' },
          ],
        })
        .then(
          (answer) => answer.stop_reason,
          (error: Error) => error.message,
        );
    };
    expect(await again((block) => block)).toBe('end_turn');
    expect(await again((block) => block, redacted)).toBe('end_turn');
    const wording = 'messages.1.content.0: Invalid `signature` in `thinking` block';
    expect(await again((block) => ({ ...block, thinking: 'Another summary.' }))).toBe('end_turn');
    expect(await again((block) => ({ ...block, signature: 'AAAA' }))).toContain(wording);
    expect(await again((block) => ({ ...block, data: 'AAAA' }), redacted)).toContain(
      'Invalid `data` in `redacted_thinking` block',
    );
  });
});

describe('web search', () => {
  const tools: Anthropic.ToolUnion[] = [{ type: 'web_search_20250305', name: 'web_search' }];

  test('runs if the prompt asks to search', async () => {
    const message = await ask('Search the web for tulips', { tools });
    expect(message.content.map(({ type }) => type)).toEqual([
      'text',
      'server_tool_use',
      'web_search_tool_result',
      'text',
      'text',
    ]);
    expect(message.usage.server_tool_use).toEqual({ web_search_requests: 1, web_fetch_requests: 0 });
    expect(message.stop_reason).toBe('end_turn');
    const next = await ask('', {
      tools,
      messages: [
        { role: 'user', content: 'Search' },
        { role: 'assistant', content: message.content },
        { role: 'user', content: 'Thanks' },
      ],
    });
    expect(next.usage.server_tool_use).toBeNull();
  });

  const weather = { name: 'get_weather', input_schema: { type: 'object' as const } };

  test.each([
    ['Search the web for tulips', tools],
    // What was paused is done before another tool is called.
    ['Search the web for the weather', [...tools, weather]],
  ])('pauses, and continues when the paused turn is sent back: %s', async (content, offered) => {
    const paused = await clientOf(simulated({ faults: true }), {
      'sluice-simulate': 'stop-reason=pause_turn',
    }).messages.create({
      model,
      max_tokens: 500,
      tools: offered,
      messages: [{ role: 'user', content }],
    });
    expect(paused.stop_reason).toBe('pause_turn');
    expect(paused.content.at(-1)?.type).toBe('server_tool_use');
    const messages = [
      { role: 'user' as const, content },
      { role: 'assistant' as const, content: paused.content },
    ];
    const resumed = await ask('', { tools: offered, messages });
    expect(resumed.content[0]).toMatchObject({
      type: 'web_search_tool_result',
      tool_use_id: (paused.content.at(-1) as { id: string }).id,
    });
  });
});
