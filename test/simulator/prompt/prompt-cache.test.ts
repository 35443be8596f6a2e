import type Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { asking, clientOf, model, post, simulated, start } from '../api.ts';

type Body = Omit<Anthropic.MessageCreateParamsNonStreaming, 'max_tokens' | 'model'> & { model?: string };

const ephemeral = { type: 'ephemeral' as const };
const hour = { type: 'ephemeral' as const, ttl: '1h' as const };
/** A text that is long enough to be cached: 64 tokens are the minimum of the model. */
const long = (about: string): string => `${about} `.repeat(100).trim();
const text = (content: string, cache_control?: Anthropic.CacheControlEphemeral): Anthropic.TextBlockParam =>
  cache_control ? { type: 'text', text: content, cache_control } : { type: 'text', text: content };

/** A simulator with a clock that can be moved, and what it counted, shortly written. */
function cacheOf(): {
  ask: (body: Body, key?: string) => Promise<{ read: number; w5: number; w1: number; rest: number }>;
  wait: (seconds: number) => void;
} {
  let now = start;
  const simulator = simulated({ now: () => now });
  return {
    wait: (seconds) => {
      now += seconds * 1000;
    },
    ask: async (body, key = 'test-key') => {
      const { usage } = await clientOf(simulator, { authorization: `Bearer ${key}` }).messages.create({
        model,
        max_tokens: 1,
        ...body,
      });
      const w5 = usage.cache_creation?.ephemeral_5m_input_tokens ?? 0;
      const w1 = usage.cache_creation?.ephemeral_1h_input_tokens ?? 0;
      expect(usage.cache_creation_input_tokens).toBe(w5 + w1);
      return { read: usage.cache_read_input_tokens ?? 0, w5, w1, rest: usage.input_tokens };
    },
  };
}

const question = (content: string): Anthropic.MessageParam[] => [{ role: 'user', content }];

describe('the prompt cache', () => {
  test('is written once, and read until it expires', async () => {
    const { ask, wait } = cacheOf();
    const body = { system: [text(long('rules'), ephemeral)], messages: question('hi') };
    const first = await ask(body);
    expect(first).toMatchObject({ read: 0, w5: 100 + 3, w1: 0 });
    expect(await ask(body)).toEqual({ ...first, w5: 0, read: first.w5 });
    wait(299);
    expect((await ask(body)).read).toBe(first.w5);
    wait(299);
    expect((await ask(body)).read).toBe(first.w5);
    wait(300);
    expect(await ask(body)).toEqual(first);
  });

  test('lives for an hour on request, with a separate token count', async () => {
    const { ask, wait } = cacheOf();
    const body = {
      system: [text(long('rules'), hour)],
      messages: [{ role: 'user' as const, content: [text(long('question'), ephemeral)] }],
    };
    const first = await ask(body);
    expect(first.w1).toBeGreaterThan(90);
    expect(first.w5).toBeGreaterThan(90);
    wait(3599);
    expect(await ask(body)).toEqual({ read: first.w1, w5: first.w5, w1: 0, rest: first.rest });
  });

  test('is read up to the longest known prefix in the order tools, system, messages', async () => {
    const { ask } = cacheOf();
    const tools = [{ name: 'look', input_schema: { type: 'object' as const }, cache_control: ephemeral }];
    const system = [text(long('rules'), ephemeral)];
    await ask({ tools, system, messages: question('one') });
    const other = await ask({ tools, system: [text(long('other'), ephemeral)], messages: question('one') });
    expect(other.read).toBeGreaterThan(300);
    expect(other.w5).toBe(100);
    expect(
      (await ask({ tools: [{ ...tools[0], name: 'see' } as Anthropic.Tool], system, messages: question('one') })).read,
    ).toBe(0);
  });

  test('follows a conversation with a moving breakpoint, automatic or explicit', async () => {
    for (const automatic of [true, false]) {
      const { ask } = cacheOf();
      const messages: Anthropic.MessageParam[] = [];
      let cached = 0;
      for (let turn = 0; turn < 4; turn++) {
        const content = `${long(`turn${turn}`)}`;
        const body = automatic
          ? { cache_control: ephemeral, messages: [...messages, { role: 'user' as const, content }] }
          : { messages: [...messages, { role: 'user' as const, content: [text(content, ephemeral)] }] };
        const { read, w5, rest } = await ask(body);
        expect(read).toBe(cached);
        expect(rest).toBe(0);
        cached += w5;
        messages.push({ role: 'user', content }, { role: 'assistant', content: 'Yes.' });
      }
    }
  });

  test('looks back at most twenty blocks from a breakpoint', async () => {
    for (const [between, isFound] of [
      [19, true],
      [20, false],
    ] as const) {
      const { ask } = cacheOf();
      await ask({ messages: [{ role: 'user', content: [text(long('start'), ephemeral)] }] });
      const blocks = Array.from({ length: between }, (_, index) => text(`block ${index}`));
      const content = [text(long('start')), ...blocks.slice(0, -1), text('the end', ephemeral)];
      expect((await ask({ messages: [{ role: 'user', content }] })).read > 0).toBe(isFound);
    }
  });

  test('is separate for each key and model', async () => {
    const { ask } = cacheOf();
    // Long enough to be cached by both models.
    const body = { system: [text('rule '.repeat(1_100), ephemeral)], messages: question('hi') };
    await ask(body, 'mine');
    expect((await ask(body, 'yours')).read).toBe(0);
    const other = { ...body, model: 'claude-test-1' };
    const { read, w5 } = await ask(other, 'mine');
    expect(read).toBe(0);
    expect(w5).toBeGreaterThan(1_000);
    expect((await ask(body, 'mine')).read).toBeGreaterThan(0);
    expect((await ask(other, 'mine')).read).toBe(w5);
  });

  test('ignores prefixes that are too short for the model, without an error', async () => {
    const { ask } = cacheOf();
    expect(await ask({ system: [text('short', ephemeral)], messages: question('hi') })).toMatchObject({
      read: 0,
      w5: 0,
      w1: 0,
    });
    const small = { model: 'claude-test-1', system: [text(long('rules'), ephemeral)], messages: question('hi') };
    expect(await ask(small)).toMatchObject({ read: 0, w5: 0 });
  });

  test('is written by a request with max_tokens 0, with the same token count as by any other', async () => {
    const { ask } = cacheOf();
    const simulator = simulated();
    const system = [text(long('rules'), ephemeral)];
    const warmed = await (await simulator(post(asking('hi', { system, max_tokens: 0 })))).json<Anthropic.Message>();
    expect(warmed.usage).toMatchObject({ cache_creation_input_tokens: 103, output_tokens: 0 });
    expect((await ask({ system, messages: question('hi') })).w5).toBe(103);
  });

  test('is readable only after a response has begun', async () => {
    const simulator = simulated({ ttftMs: 0 });
    const body = asking('hi', { system: [text(long('rules'), ephemeral)], stream: true });
    const read = async (): Promise<number> => {
      const answer = await (await simulator(post({ ...body, stream: false, max_tokens: 0 }))).json<Anthropic.Message>();
      return answer.usage.cache_read_input_tokens ?? 0;
    };
    const never = await simulator(post(body));
    await never.body?.cancel();
    const begun = await simulator(post({ ...body, system: [text(long('others'), ephemeral)] }));
    expect(await read()).toBe(0);
    const reader = begun.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    expect(await read()).toBe(103);
  });

  test('counts every token exactly once: as read, written or uncached', async () => {
    const simulator = simulated();
    const client = clientOf(simulator);
    const block = fc
      .tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 1, max: 90 }))
      .map(([word, times]) => Array(times).fill(word).join(' '));
    const bodies = fc.record({
      system: fc.array(block, { maxLength: 2 }),
      messages: fc.array(fc.array(block, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 5 }),
      marks: fc.array(fc.nat(12), { maxLength: 3 }),
      automatic: fc.boolean(),
    });
    await tryAsyncCases(150, bodies, async ({ system, messages, marks, automatic }) => {
      let index = 0;
      const marked = (content: string): Anthropic.TextBlockParam =>
        text(content, marks.includes(index++) ? ephemeral : undefined);
      const prompt = {
        model,
        system: system.map(marked),
        messages: messages.map((blocks, turn) => ({
          role: turn % 2 === 0 ? ('user' as const) : ('assistant' as const),
          content: blocks.map(marked),
        })),
        ...(automatic ? { cache_control: ephemeral } : {}),
      };
      const { input_tokens } = await client.messages.countTokens(prompt);
      const { usage } = await client.messages.create({ ...prompt, max_tokens: 1 });
      const written = usage.cache_creation_input_tokens ?? 0;
      expect(usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + written).toBe(input_tokens);
      const again = (await client.messages.create({ ...prompt, max_tokens: 1 })).usage;
      expect(again.cache_creation_input_tokens).toBe(0);
      expect(again.cache_read_input_tokens).toBe((usage.cache_read_input_tokens ?? 0) + written);
    });
  });
});
