import Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { computeCost } from '#edge/claude/pricing/cost.ts';
import { REFUSAL_TRIGGER } from '#simulator/answer/answer.ts';
import { estimateTokenCount } from '#simulator/text/tokens.ts';
import { areSummariesVerbatim, findBrokenRule } from '#test/support/api-rules.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { eventsOf, model, models, post, simulated, textOf } from '../api.ts';
import {
  type Answer,
  assistant,
  type Beta,
  type Content,
  compactor,
  type Params,
  summaryOf,
  user,
} from '../compactions.ts';

const { client, ask, compact } = compactor();
const adaptive: Params = { thinking: { type: 'adaptive' } };
const said = ({ content }: Answer): Beta => assistant(content as Content);

describe('a summary', () => {
  test('keeps each marked sentence and replaces the history in random conversations of texts and tool loops', async () => {
    const tools = [{ name: 'look', input_schema: { type: 'object' as const } }];
    const fact = fc.tuple(fc.constantFrom('Remember', 'It is IMPORTANT', 'Always', 'never'), fc.nat(9_999));
    const sentence = fc.oneof(
      fact.map(([mark, number]) => `${mark} that the code is ${number}.`),
      fc.constantFrom('The sky is blue.', 'What now?', 'We saw 3.5 ships!'),
    );
    const text = fc.array(sentence, { minLength: 1, maxLength: 6 }).map((all) => all.join(' '));
    const steps = fc.array(fc.tuple(text, fc.constantFrom('text', 'tool')), { minLength: 1, maxLength: 5 });
    await tryAsyncCases(caseCount(60), steps, fc.nat(5), fc.boolean(), async (all, cut, thinks) => {
      // More than the longest thinking: a response that ends in it cannot be sent again.
      const more: Params = { max_tokens: 8_192, tools, ...(thinks ? adaptive : {}) };
      let history: Beta[] = [];
      let stated = '';
      for (const [index, [words, kind]] of all.entries()) {
        history.push(user(kind === 'tool' ? `Use look. ${words}` : words));
        let answer = await ask(history, more);
        history.push(said(answer));
        const use = answer.content.find((block) => block.type === 'tool_use');
        if (use?.type === 'tool_use') {
          stated += `\n${words}`;
          history.push(user([{ type: 'tool_result', tool_use_id: use.id, content: `Always look at ${index}.` }]));
          stated += `\nAlways look at ${index}.`;
          answer = await ask(history, more);
          history.push(said(answer));
        } else stated += `\n${words}`;
        if (index !== cut) continue;
        const block = summaryOf(await compact(history, more));
        history = [assistant([block])];
      }
      const summary = summaryOf(await compact(history, more));
      const marked = stated.match(/[^.!?\n]*\b(remember|important|always|never)\b[^.!?\n]*[.!?]/gi) ?? [];
      for (const one of marked) expect(summary.content).toContain(one.trim());
      const next = [assistant([summary]), user('What is the code?')];
      expect(areSummariesVerbatim(next, [summary])).toBe(true);
      expect(findBrokenRule(next as never)).toBeUndefined();
      expect((await ask(next, more)).stop_reason).toBe('end_turn');
    });
  });

  test('has the same text as a summary that the user requests in a message', async () => {
    const history = [user('The code is 7. Remember: the box is red.'), assistant('I see.')];
    const { content } = summaryOf(await compact(history));
    const asked = await ask([...history, user('Summarize this conversation: keep what matters.')]);
    expect(textOf(asked)).toBe(content);
    expect(content).toContain('Remember: the box is red.');
  });

  test('is deterministic, contains no thinking, and is less than a third as long as its messages', async () => {
    const history: Beta[] = [];
    for (const about of ['rivers', 'mountains', 'seas']) {
      history.push(user(`Tell me about ${about} in 100 words.`));
      history.push(said(await ask(history, adaptive)));
    }
    const summary = summaryOf(await compact(history, adaptive));
    expect(summary).toEqual(summaryOf(await compact(history, adaptive)));
    expect(summary.content).not.toContain('what I can do is to show what thinking looks like');
    expect(summary.content).toContain('Tell me about seas in 100 words.');
    const counted = await client.beta.messages.countTokens({ model, messages: history });
    expect(estimateTokenCount(summary.content)).toBeLessThan(counted.input_tokens / 3);
  });

  test('keeps the text of an earlier summary, and responses quote from it', async () => {
    const opening = [user('Remember that the gate opens with 4711. The sky is blue.')];
    const first = summaryOf(await compact(opening));
    const second = summaryOf(await compact([assistant([first]), user('It rains. Never feed the dog.')]));
    expect(second.content).toBe('Remember that the gate opens with 4711.\nIt rains.\nNever feed the dog.');
    const answer = textOf(await ask([assistant([second]), user('How do I open the gate?')]));
    expect(answer).toContain('“Remember that the gate opens with 4711.”');
    expect(textOf(await ask([assistant([second]), user('How old are whales?')]))).toContain(
      'A summary of 13 words stands for what was said before.',
    );
  });

  test('is not empty for messages that contain only images', async () => {
    const source = { type: 'url' as const, url: 'https://example.com/a.png' };
    expect(summaryOf(await compact([user([{ type: 'image', source }])])).content).toBe('Nothing was said in words.');
  });
});

describe('the usage of a compaction', () => {
  test('has totals of zero, and one iteration with the cache reads and tokens, from which the cost is computed', async () => {
    const cache_control = { type: 'ephemeral' as const };
    const long: Beta[] = [user([{ type: 'text', text: 'river '.repeat(200).trim(), cache_control }])];
    await ask(long);
    const { usage } = await compact(long);
    const counted = await client.beta.messages.countTokens({ model, messages: long });
    expect(usage).toMatchObject({ input_tokens: 0, output_tokens: 0, cache_read_input_tokens: 0 });
    const [step, ...others] = usage.iterations ?? [];
    expect(others).toEqual([]);
    if (step?.type !== 'compaction') throw new Error('no compaction');
    expect(step.cache_read_input_tokens).toBe(counted.input_tokens);
    expect(step.cache_creation_input_tokens).toBe(0);
    const own = await compact(long, { compaction: { type: 'summarize', instructions: 'one two three' } });
    const blank = await compact(long, { compaction: { type: 'summarize', instructions: ' \n' } });
    expect(own.usage.iterations?.[0]?.input_tokens).toBe(3 + 4);
    expect(blank.usage.iterations?.[0]?.input_tokens).toBe(step.input_tokens);
    const row = MODELS.find(({ id }) => id === 'claude-opus-5-5');
    if (row === undefined) throw new Error('no row');
    const { input, output, cache_read } = row.prices;
    const dear = step.input_tokens * input + step.output_tokens * output + step.cache_read_input_tokens * cache_read;
    expect(computeCost(usage, row)).toBe(Math.round(dear * 1_000));
  });

  test('includes the hidden thinking', async () => {
    const [plain, thoughtful] = [await compact([user('Hi')]), await compact([user('Hi')], adaptive)];
    expect(plain.usage.iterations?.[0]?.output_tokens).toBe(estimateTokenCount(summaryOf(plain).content));
    expect(summaryOf(thoughtful)).toEqual(summaryOf(plain));
    expect(thoughtful.usage.iterations?.[0]?.output_tokens).toBeGreaterThan(20);
  });
});

describe('a compaction returns no summary', () => {
  const output = (answer: Answer) => answer.usage.iterations?.[0]?.output_tokens;
  const none = { content: [], usage: { output_tokens: 0 } };

  test('if the summary would exceed max_tokens, and still counts its tokens', async () => {
    const answer = await compact([user(`Always ${'on and '.repeat(100)}on.`)], { max_tokens: 50 });
    expect(answer).toMatchObject({ ...none, stop_reason: 'max_tokens' });
    expect(output(answer)).toBe(50);
  });

  test('if the prompt exceeds the context window, and counts no tokens', async () => {
    const small = { ...models[0], max_input_tokens: 60 } as (typeof models)[number];
    const answer = await compactor({ models: [small] }).compact([user('river '.repeat(40).trim())]);
    expect(answer).toMatchObject({ ...none, stop_reason: 'model_context_window_exceeded' });
    expect(answer.usage.iterations).toMatchObject([{ type: 'compaction', input_tokens: 0, output_tokens: 0 }]);
  });

  test('if the model refuses, or a fault sets the stop reason', async () => {
    const refused = await compact([user(REFUSAL_TRIGGER)]);
    expect(refused).toMatchObject({ ...none, stop_reason: 'refusal', stop_details: { type: 'refusal' } });
    const faulty = (fault: string) => compactor({}, { 'sluice-simulate': fault });
    for (const reason of ['refusal', 'max_tokens', 'end_turn']) {
      const answer = await faulty(`stop-reason=${reason}`).compact([user('Remember the whole story.')]);
      expect(answer).toMatchObject({ ...none, stop_reason: reason });
      expect(output(answer)).toBeGreaterThan(0);
    }
    expect(await faulty('answer=').compact([user('Hi')])).toMatchObject({ ...none, stop_reason: 'end_turn' });
    expect(summaryOf(await faulty('answer=Short').compact([user('Hi')])).content).toBe('Short');
    const failed = await faulty('compaction=null').compact([user('Hi')]);
    expect(failed).toMatchObject({ stop_reason: 'compaction', content: [{ type: 'compaction', content: null }] });
    expect(output(failed)).toBeGreaterThan(0);
  });

  test('while compaction is unavailable, although other requests succeed', async () => {
    const block = summaryOf(await compact([user('Hi')]));
    const busy = compactor({}, { 'sluice-simulate': 'compaction=unavailable' });
    await expect(busy.compact([user('Hi')])).rejects.toBeInstanceOf(Anthropic.CompactionUnavailableError);
    await expect(busy.ask([assistant([block]), user('Hi')])).rejects.toMatchObject({ status: 529 });
    expect((await busy.ask([user('Hi')])).stop_reason).toBe('end_turn');
  });
});

describe('a streamed summary', () => {
  const body = {
    model,
    max_tokens: 400,
    stream: true,
    compaction: { type: 'summarize' },
    messages: [user(`Remember ${'this '.repeat(200).trim()}.`)],
  };
  const betas = { 'anthropic-beta': 'compact-2026-09-04' };
  const finished = (fault: string) =>
    compactor({}, { 'sluice-simulate': fault })
      .client.beta.messages.stream({ ...body, stream: undefined, betas: ['compact-2026-09-04'] } as never)
      .finalMessage();

  test('arrives whole in content_block_start, or in a delta if requested; the SDK reads the same from both', async () => {
    const whole = await compact(body.messages, { max_tokens: 400 });
    for (const [fault, names] of [
      ['flush', ['message_start', 'content_block_start', 'content_block_stop', 'message_delta', 'message_stop']],
      [
        'compaction=delta',
        [
          'message_start',
          'content_block_start',
          'content_block_delta',
          'content_block_stop',
          'message_delta',
          'message_stop',
        ],
      ],
    ] as const) {
      const response = await simulated({ faults: true })(post(body, { ...betas, 'sluice-simulate': fault }));
      const events = eventsOf(await response.text()).filter(({ name }) => name !== 'ping');
      expect(events.map(({ name }) => name)).toEqual(names);
      expect(events.at(-2)?.data).toMatchObject({ usage: { output_tokens: 0, iterations: whole.usage.iterations } });
      const message = await finished(fault);
      expect(message.content).toEqual(whole.content);
      expect(message.usage).toMatchObject({ output_tokens: 0, iterations: whole.usage.iterations });
    }
  });

  test('arrives after the delay of a paced text, with a ping before it', async () => {
    vi.useFakeTimers();
    try {
      const response = await simulated({ tokensPerSecond: 10 })(post(body, betas));
      let all = '';
      const read = (async () => {
        const decoder = new TextDecoder();
        for await (const chunk of response.body ?? []) all += decoder.decode(chunk);
      })();
      await vi.advanceTimersByTimeAsync(15_000);
      expect(eventsOf(all).map(({ name }) => name)).toEqual(['message_start', 'ping']);
      await vi.advanceTimersByTimeAsync(15_000);
      await read;
      expect(eventsOf(all).at(-1)?.name).toBe('message_stop');
    } finally {
      vi.useRealTimers();
    }
  });

  test('can be cut before it arrives', async () => {
    await expect(finished('cut-events=1')).rejects.toThrow();
  });
});

describe('thinking behind a summary', () => {
  const strict: Params = {
    thinking: { type: 'adaptive', block_binding: { prefix_mismatch_behavior: 'error' } },
  };
  const turn = async (history: Beta[], words: string, more: Params = strict): Promise<Beta[]> => {
    const asked = [...history, user(words)];
    return [...asked, said(await ask(asked, more))];
  };
  const held = async (messages: Beta[]): Promise<unknown> => {
    try {
      return (await ask([...messages, user('And then?')], strict)).input_transformations;
    } catch (error) {
      return String(error).includes('bound to a different conversation') ? 'refused' : error;
    }
  };

  test('stays valid directly behind the summary of the messages before it, also through several summaries', async () => {
    const one = await turn([], 'First.');
    const two = await turn(one, 'Second.');
    const kept = two.slice(2);
    // The summarizer need not think.
    const block = summaryOf(await compact(one));
    const behind = [assistant([block]), ...kept];
    expect(await held(behind)).toEqual([]);
    // A reply that came while the summary was written.
    const asked = summaryOf(await compact(two.slice(0, 3)));
    expect(await held([assistant([asked]), ...two.slice(3)])).toEqual([]);
    const three = await turn(behind, 'Third.');
    const again = summaryOf(await compact(three.slice(0, 3)));
    expect(await held([assistant([again]), ...three.slice(3)])).toEqual([]);
    const earlier = summaryOf(await compact([assistant([block])]));
    expect(await held([assistant([earlier]), ...kept])).toEqual([]);
  });

  test('is rejected behind a gap, another summary, or no summary', async () => {
    const one = await turn([], 'First.');
    const two = await turn(one, 'Second.');
    const three = await turn(two, 'Third.');
    const block = summaryOf(await compact(one));
    expect(await held([assistant([block]), ...three.slice(4)])).toBe('refused');
    const behind = await turn([assistant([block])], 'Other.');
    expect(await held(behind)).toEqual([]);
    expect(await held([...one, ...behind.slice(1)])).toBe('refused');
    const other = summaryOf(await compact([user('Something else.')]));
    expect(await held([assistant([other]), ...behind.slice(1)])).toBe('refused');
    expect(await held([assistant([other]), ...two.slice(2)])).toBe('refused');
  });
});
