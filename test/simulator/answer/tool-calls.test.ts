import type Anthropic from '@anthropic-ai/sdk';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { clientOf, model, simulated, textOf } from '../api.ts';
import { faultsOf } from '../json-schema.ts';

const client = clientOf(simulated());

function tool(name: string, description = '', properties: Record<string, object> = {}): Anthropic.Tool {
  return { name, description, input_schema: { type: 'object', properties, required: Object.keys(properties) } };
}

const weather = tool('get_weather', 'Tells the forecast', {
  city: { type: 'string' },
  unit: { enum: ['celsius', 'kelvin'] },
});
const clock = tool('current_time', 'Tells what the clock shows in a city', { city: { type: 'string' } });

function ask(text: string, rest: Partial<Anthropic.MessageCreateParamsNonStreaming>): Promise<Anthropic.Message> {
  return client.messages.create({ model, max_tokens: 2000, messages: [{ role: 'user', content: text }], ...rest });
}

function called(message: Anthropic.Message): string[] {
  return message.content.flatMap((block) => (block.type === 'tool_use' ? [block.name] : []));
}

describe('a tool call', () => {
  test("happens if the tool's name or description shares a word with the prompt", async () => {
    expect(called(await ask('How is the weather in Oslo?', { tools: [weather, clock] }))).toEqual(['get_weather']);
    expect(called(await ask('Look at the clock', { tools: [weather, clock] }))).toEqual(['current_time']);
    const message = await ask('Tell me what this is', { tools: [weather, clock] });
    expect(called(message)).toEqual([]);
    expect(message.stop_reason).toBe('end_turn');
  });

  test('has an input that satisfies the schema and uses words of the prompt', async () => {
    const message = await ask('How is the weather in Oslo, in kelvin?', { tools: [weather] });
    expect(message.stop_reason).toBe('tool_use');
    expect(message.content.at(-1)).toMatchObject({
      input: { city: 'Oslo', unit: 'kelvin' },
      id: expect.stringMatching(/^toolu_01\w{22}$/),
    });
    expect(faultsOf((message.content.at(-1) as Anthropic.ToolUseBlock).input, weather.input_schema)).toEqual([]);
  });

  test('is one of several if the prompt names several tools, unless parallel calls are disabled; otherwise the best match is called', async () => {
    const tools = [weather, clock];
    expect(called(await ask('What are the weather and the time in that city?', { tools }))).toHaveLength(1);
    const text = 'Call get_weather and current_time for that city, not get_weather_2';
    const message = await ask(text, { tools });
    expect(called(message).toSorted()).toEqual(['current_time', 'get_weather']);
    expect(textOf(message)).toContain(
      'get_weather (you wrote “get_weather”) and current_time (you wrote “current_time”)',
    );
    expect(new Set(message.content.flatMap((block) => (block.type === 'tool_use' ? [block.id] : []))).size).toBe(2);
    expect(
      called(await ask(text, { tools, tool_choice: { type: 'auto', disable_parallel_tool_use: true } })),
    ).toHaveLength(1);
  });

  test('depends on the first sentence of a description, not on the rest', async () => {
    const manual = tool('assistant', 'Starts a helper. It may read the forecast, and work in a separate worktree.');
    expect(called(await ask('What is the forecast?', { tools: [manual] }))).toEqual([]);
    expect(called(await ask('I need a helper', { tools: [manual] }))).toEqual(['assistant']);
  });

  test('has only the required fields, at every depth', async () => {
    const address = { type: 'object', properties: { street: { type: 'string' }, floor: {} }, required: ['street'] };
    const parcel: Anthropic.Tool = {
      name: 'send_parcel',
      input_schema: {
        type: 'object',
        properties: { address, insurance: { type: 'boolean' }, isolation: { enum: ['worktree'] } },
        required: ['address'],
      },
    };
    const message = await ask('Send a parcel with insurance to that street, third floor', { tools: [parcel] });
    expect(message.content.at(-1)).toMatchObject({ input: { address: { street: expect.any(String) } } });
    const { input } = message.content.at(-1) as Anthropic.ToolUseBlock;
    expect(Object.keys(input as object)).toEqual(['address']);
    expect(Object.keys((input as { address: object }).address)).toEqual(['street']);
  });

  test('does not depend on the text in system reminders', async () => {
    const reminder = '<system-reminder>\nThe weather is in the context.\n</system-reminder>';
    const content = [reminder, `${reminder}Tell me a joke${reminder}`].map((text) => ({ type: 'text' as const, text }));
    const joke = await ask('', { tools: [weather], messages: [{ role: 'user', content }] });
    expect(called(joke)).toEqual([]);
    expect(textOf(joke)).toContain('“Tell me a joke”');
    const asked = [...content, { type: 'text' as const, text: 'And the weather, <system-reminder> aside?' }];
    expect(called(await ask('', { tools: [weather], messages: [{ role: 'user', content: asked }] }))).toEqual([
      'get_weather',
    ]);
  });

  test('has an input without the tags around a text', async () => {
    const note = tool('note', 'Takes a note', { summary: { type: 'string' } });
    const text = '<input-3e5d73ce>\nThe lamp is broken.\n</input-3e5d73ce>';
    const noted = await ask(text, { tools: [note], tool_choice: { type: 'tool', name: 'note' } });
    expect(noted.content.at(-1)).toMatchObject({ input: { summary: 'The lamp is broken.' } });
  });

  test('does not happen if the prompt names more than four tools or forbids calls', async () => {
    const tools = ['Read', 'Bash', 'Glob', 'Edit', 'Write'].map((name) => tool(name, `Does the ${name} of files`));
    expect(called(await ask('Do NOT use Read, Bash, Glob, Edit, Write: summarize these files', { tools }))).toEqual([]);
    expect(called(await ask('Use Read, Bash, Glob and Edit', { tools }))).toHaveLength(4);
    expect(called(await ask('Do NOT use Read or Bash. Do NOT call any tools.', { tools }))).toEqual([]);
  });

  test('is not repeated for its result or for a task notification', async () => {
    const agent = tool('Agent', 'Starts a helper', { prompt: { type: 'string' } });
    const question = { role: 'user' as const, content: 'Start Agent for the weather of Oslo' };
    const use = { type: 'tool_use' as const, id: 'toolu_1', name: 'Agent', input: { prompt: 'x' } };
    const result = { type: 'tool_result' as const, tool_use_id: 'toolu_1', content: 'launched' };
    const news = '<task-notification>\n<summary>Agent "x" completed</summary>\n</task-notification>';
    const told: Anthropic.MessageParam[] = [
      question,
      { role: 'assistant', content: [use] },
      { role: 'user', content: [result] },
      { role: 'assistant', content: 'It was launched.' },
      { role: 'user', content: news },
    ];
    expect(called(await ask('', { tools: [agent, weather], messages: told }))).toEqual([]);
    const again: Anthropic.MessageParam[] = [...told.slice(0, -1), { role: 'user', content: `${news}Agent, please` }];
    expect(called(await ask('', { tools: [agent], messages: again }))).toEqual(['Agent']);
  });

  test('is forced by tool_choice any or tool, without text before it, and prevented by none', async () => {
    const tools = [weather, clock];
    const forced = await ask('Hello', { tools, tool_choice: { type: 'any' } });
    expect(forced.content.map(({ type }) => type)).toEqual(['tool_use']);
    expect(called(await ask('Hello', { tools, tool_choice: { type: 'tool', name: 'current_time' } }))).toEqual([
      'current_time',
    ]);
    expect(called(await ask('The weather', { tools, tool_choice: { type: 'none' } }))).toEqual([]);
  });

  test('has an input from the prompt for the bash tool that the API defines', async () => {
    const message = await ask('Run `ls -l` in bash', { tools: [{ type: 'bash_20250124', name: 'bash' }] });
    expect(message.content.at(-1)).toMatchObject({ name: 'bash', input: { command: 'ls -l' } });
  });

  test("is followed by a text about the tool's result, not by the same call", async () => {
    const tools = [weather];
    const question = { role: 'user' as const, content: 'How is the weather in Oslo?' };
    const call = await ask('', { tools, messages: [question], thinking: { type: 'enabled', budget_tokens: 1024 } });
    const use = call.content.find((block) => block.type === 'tool_use');
    if (use === undefined) throw new Error('no call');
    const answerTo = (content: string, is_error: boolean): Promise<Anthropic.Message> =>
      ask('', {
        tools,
        thinking: { type: 'enabled', budget_tokens: 1024 },
        messages: [
          question,
          { role: 'assistant', content: call.content },
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content, is_error }] },
        ],
      });
    const answer = await answerTo('12 degrees, rain', false);
    expect(called(answer)).toEqual([]);
    expect(textOf(answer)).toContain('get_weather answered “12 degrees, rain”');
    expect(textOf(await answerTo('no such city', true))).toContain('get_weather failed with “no such city”');
  });

  test('streams its input in pieces, the first one empty', async () => {
    const body = {
      model,
      max_tokens: 900,
      tools: [weather],
      messages: [{ role: 'user' as const, content: 'The weather in Oslo' }],
    };
    const pieces: string[] = [];
    for await (const event of await client.messages.create({ ...body, stream: true })) {
      if (event.type === 'content_block_start' && event.content_block.type === 'tool_use')
        expect(event.content_block.input).toEqual({});
      if (event.type === 'content_block_delta' && event.delta.type === 'input_json_delta')
        pieces.push(event.delta.partial_json);
    }
    expect(pieces[0]).toBe('');
    expect(pieces.length).toBeGreaterThan(3);
    expect(JSON.parse(pieces.join(''))).toMatchObject({ city: 'Oslo' });
  });

  test('has an empty input if max_tokens cuts it', async () => {
    const body = {
      model,
      max_tokens: 6,
      tools: [weather],
      tool_choice: { type: 'any' as const },
      messages: [{ role: 'user' as const, content: 'Oslo' }],
    };
    const message = await client.messages.create(body);
    expect(message).toMatchObject({
      stop_reason: 'max_tokens',
      content: [{ type: 'tool_use', input: {} }],
      usage: { output_tokens: 6 },
    });
  });

  test("works with the SDK's tool runner until the final message", async () => {
    const runs: unknown[] = [];
    const final = await client.beta.messages.toolRunner({
      model,
      max_tokens: 900,
      messages: [{ role: 'user', content: 'How is the weather in Oslo?' }],
      tools: [
        {
          ...weather,
          run: (input: unknown) => {
            runs.push(input);
            return 'sunny';
          },
          parse: (input: unknown) => input,
        },
      ],
    });
    expect(runs).toEqual([{ city: 'Oslo', unit: 'celsius' }]);
    expect(textOf(final)).toContain('sunny');
  });
});

describe('structured output', () => {
  const schema = {
    type: 'object',
    properties: {
      label: { type: 'string', enum: ['billing', 'technical', 'other'] },
      score: { type: 'number', minimum: 0, maximum: 1 },
    },
    required: ['label', 'score'],
    additionalProperties: false,
  };
  const output_config = { format: { type: 'json_schema' as const, schema } };

  test('is one JSON block that satisfies the schema and selects a plausible label', async () => {
    const system = 'Labels:\n- billing: money, invoices\n- technical: crashes\n- other: the rest';
    for (const [text, label] of [
      ['Where is my money?', 'billing'],
      ['It crashed again', 'technical'],
      ['Hm.', 'other'],
    ] as const) {
      const message = await ask(text, { system, output_config });
      expect(message.content).toHaveLength(1);
      const value = JSON.parse(textOf(message));
      expect(faultsOf(value, schema)).toEqual([]);
      expect(value.label).toBe(label);
    }
  });

  test('is cut by max_tokens like any text', async () => {
    const message = await ask('money', { output_config, max_tokens: 4 });
    expect(message.stop_reason).toBe('max_tokens');
    expect(() => JSON.parse(textOf(message))).toThrow();
  });
});

describe('an agent with agents as tools', () => {
  const agent = (name: string) => ({
    name,
    description: 'Gives a task to another agent.',
    input_schema: { type: 'object', properties: { task: { type: 'string' } }, required: ['task'] },
  });

  /** Does a task as agents do that are all offered the same agents. @returns how many of them were asked */
  async function asked(text: string, tools: readonly object[], depth = 0): Promise<number> {
    expect(depth).toBeLessThanOrEqual(tools.length);
    const { content } = await ask(text, { tools: [...tools] as Anthropic.Tool[] });
    const tasks = content.flatMap((block) =>
      block.type === 'tool_use' ? [(block.input as { task: string }).task] : [],
    );
    const all = await Promise.all(tasks.map((task) => asked(task, tools, depth + 1)));
    return all.reduce((sum, more) => sum + more, tasks.length);
  }

  test('calls each named agent once, and those agents call no further agents', async () => {
    const names = ['researcher', 'writer', 'critic'];
    expect(await asked('Use researcher, writer and critic for the report', names.map(agent))).toBe(3);
    expect(await asked('researcher: what is the report about?', names.map(agent))).toBe(1);
  });

  test('ends after at most four calls for any prompt', async () => {
    const word = fc.constantFrom(
      'researcher',
      'writer',
      'agent',
      'task',
      'another',
      'Oslo',
      'reports',
      '[task for writer] ',
    );
    const text = fc.array(word, { minLength: 1, maxLength: 6 }).map((words) => words.join(' '));
    await tryAsyncCases(30, text, async (words) => {
      expect(await asked(words, ['researcher', 'writer'].map(agent))).toBeLessThanOrEqual(4);
    });
  });
});
