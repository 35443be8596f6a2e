import { abortAllDurableObjects } from 'cloudflare:test';
import fc from 'fast-check';
import { afterEach, describe, expect, expectTypeOf, onTestFinished, test, vi } from 'vitest';
import * as z from 'zod';
import { createApp } from '#edge/app.ts';
import { registerSecrets } from '#edge/kit/http/secrets.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { callWorkerTool } from '#edge/plugins/runs/call-worker-tool.ts';
import type { ToolContext } from '#edge/plugins/runs/tools/worker-tools.ts';
import { findEdgeTools } from '#edge/registry/tools/edge-tools.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { listMessages, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { authorizationFor, createSimulatedEdge, storePrefix } from '#test/support/prefixes.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { answerByScript, callsAnswer, textAnswer, weatherCall } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createBody, readStream, runTurn, type StreamEvent, sendTurn } from '#test/support/turns.ts';

/** What the tool does, in each test another thing. */
const work = vi.fn<(input: { city: string; days?: number | undefined }, context: ToolContext) => unknown>();
const onceWork = vi.fn<(input: { city: string }, context: ToolContext) => unknown>();

createApp({
  tools: {
    get_weather: {
      description: 'Tells the weather.',
      schema: z.object({ city: z.string().max(20), days: z.int().optional() }),
      run: async (input, context) => {
        expectTypeOf(input).toEqualTypeOf<{ city: string; days?: number | undefined }>();
        return await work(input, context);
      },
    },
    pay: {
      description: 'Pays.',
      schema: z.object({ city: z.string() }),
      once: true,
      timeout_seconds: 1,
      run: (input, context) => onceWork(input, context),
    },
  },
});

const own = (name = 'get_weather', more: object = {}) => ({ name, run: 'worker', ...more });
const asking = (...tools: object[]) => createBody('How is the weather?', { tools });
const resultsIn = (events: readonly StreamEvent[]) =>
  events
    .filter(({ event }) => event === 'content_block_start')
    .map(({ data }) => data.content_block as { type: string; is_error?: boolean; content?: { text: string }[] })
    .filter(({ type }) => type === 'mcp_tool_result')
    .map(({ is_error, content }) => [is_error, ...(content ?? []).map(({ text }) => text)]);

afterEach(async () => {
  await resetAll();
  vi.resetAllMocks();
});

/** Has the model call a tool once and then say something. */
const callingOnce = (name = 'get_weather', input: object = { city: 'Bern' }) =>
  answerByScript((_, number) =>
    number === 1
      ? callsAnswer({ ...weatherCall('toolu_1', 'Bern', name), input })
      : textAnswer('It is as the tool says.'),
  );

describe('a tool of the Worker', () => {
  test.each([
    ['returns as text', (text: string) => text],
    ['returns in a block', (text: string) => [{ type: 'text', text }]],
    ['throws', (text: string) => Promise.reject(new Error(text))],
  ])('that %s a registered secret does not reveal it', async (_, answer) => {
    const secret = 'sk+live-of-a-tool-0123';
    registerSecrets('TOOL_SECRET_OWN', [secret]);
    onTestFinished(() => registerSecrets('TOOL_SECRET_OWN', []));
    const bodies = callingOnce();
    work.mockImplementation(() => answer(`it was ${secret.replace('+', '\\u002B')} and ${secret}`));
    const { events } = await runTurn(asking(own()));
    expect(resultsIn(events)).toEqual([[expect.any(Boolean), 'it was [secret] and [secret]']]);
    expect(JSON.stringify(bodies)).not.toContain('live-of-a-tool');
  });

  test('is described to the model, and called with its checked input and the context of the call', async () => {
    const bodies = callingOnce();
    work.mockResolvedValue('sun');
    const { events, turn } = await runTurn(asking(own()));
    expect(bodies[0]?.tools).toEqual([
      {
        name: 'get_weather',
        description: 'Tells the weather.',
        input_schema: {
          type: 'object',
          properties: { city: { type: 'string', maxLength: 20 }, days: expect.objectContaining({ type: 'integer' }) },
          required: ['city'],
        },
      },
    ]);
    expect(work.mock.calls).toEqual([
      [
        { city: 'Bern' },
        {
          account: 'alice',
          conversation: 'c1',
          turn,
          tool_use_id: 'toolu_1',
          signal: expect.any(AbortSignal),
          env: expect.objectContaining({ STORE: expect.anything() }),
        },
      ],
    ]);
    expect(resultsIn(events)).toEqual([[false, 'sun']]);
    expect(bodies[1]?.messages.at(-1)?.content).toEqual([
      { type: 'tool_result', tool_use_id: 'toolu_1', content: 'sun' },
    ]);
  });

  test('is sent to the model with the description and cache_control of the request, if present', async () => {
    const bodies = callingOnce();
    work.mockResolvedValue('sun');
    const cache_control = { type: 'ephemeral' };
    await runTurn(asking(own('get_weather', { description: 'Ask it.', cache_control }), own('pay')));
    expect(bodies[0]?.tools).toMatchObject([
      { name: 'get_weather', description: 'Ask it.', cache_control, input_schema: { required: ['city'] } },
      { name: 'pay', description: 'Pays.' },
    ]);
  });

  test.each<[string, unknown, unknown[]]>([
    ['a text', 'sun', [false, 'sun']],
    ['JSON', { sun: [1] }, [false, '{"sun":[1]}']],
    ['nothing', undefined, [false, '(no content)']],
    ['an empty list', [], [false, '[]']],
    ['half a character', '\ud83d', [false, '\ufffd']],
    [
      'blocks',
      [
        { type: 'text', text: 'See:' },
        { type: 'image', source: { type: 'base64', media_type: 'image/png', data: btoa('x'.repeat(1_500)) } },
      ],
      [false, 'See:', '[image/png, 2 kB]'],
    ],
    [
      'a block of half an image',
      [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'a' } }],
      [true],
    ],
    ['a Response', Response.json({}), [true]],
    ['a Map', new Map([[1, 2]]), [true]],
    ['a function', () => 1, [true]],
    ['a number that JSON has not', 10n, [true]],
    ['too much', 'x'.repeat(1_000_001), [true, 'The tool’s response has more than 1000000 bytes.']],
  ])('may return %s, and an invalid result becomes an error', async (_, given, [isError, ...told]) => {
    const bodies = callingOnce();
    work.mockResolvedValue(given);
    const [result = []] = resultsIn((await runTurn(asking(own()))).events);
    expect(result.slice(0, 1 + told.length)).toEqual([isError, ...told]);
    // The step behind it was accepted by the API’s rules.
    expect(bodies).toHaveLength(2);
    expect((await listMessages()).at(-1)).toMatchObject({ role: 'assistant', status: 'complete' });
  });

  test('may return any value: JSON is passed on unchanged, and other values become errors', async () => {
    const place = {
      tool_use_id: 't',
      name: 'get_weather',
      input: { city: 'Bern' },
      account: 'a',
      conversation: 'c',
      turn: 't',
    };
    const given = async (value: unknown) => {
      work.mockResolvedValue(value);
      const { signal } = new AbortController();
      return await callWorkerTool(place, { env: {} as Bindings, signal });
    };
    await tryAsyncCases(caseCount(500), fc.jsonValue({ noUnicodeString: false }), async (value) => {
      const { content, isError } = await given(value);
      expect(isError).toBe(false);
      if (typeof value === 'string') expect(content).toBe(value.trim() === '' ? '(no content)' : value.toWellFormed());
      else if (value !== null) expect(JSON.parse(String(content))).toEqual(JSON.parse(JSON.stringify(value)));
    });
    await tryAsyncCases(
      caseCount(500),
      fc.anything({ withBigInt: true, withMap: true, withDate: true, withNullPrototype: true }),
      async (value) => {
        const { content, bytes } = await given(value);
        expect(content).not.toHaveLength(0);
        expect(bytes).toBeGreaterThanOrEqual(0);
        expect(JSON.stringify(content)).not.toMatch(/\\ud[89a-f]/i);
      },
    );
  });

  test('returns images, which are sent to the upstream whole', async () => {
    const bodies = callingOnce();
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: btoa('image') } };
    work.mockResolvedValue([image]);
    await runTurn(asking(own()));
    expect(bodies[1]?.messages.at(-1)?.content).toEqual([
      { type: 'tool_result', tool_use_id: 'toolu_1', content: [image] },
    ]);
  });

  test.each<[string, unknown, string]>([
    ['an error', new Error('There is no such city.'), 'There is no such city.'],
    ['a text', 'There is no such city.', 'There is no such city.'],
    ['nothing', undefined, 'The tool failed.'],
    ['what has no text', Object.create(null), 'The tool failed.'],
  ])('that throws %s returns an error with the message, but never the stack', async (_, thrown, told) => {
    callingOnce();
    work.mockImplementation(() => {
      throw thrown;
    });
    expect(resultsIn((await runTurn(asking(own()))).events)).toEqual([[true, told]]);
  });

  test('is not called with an invalid input, and the model gets the reason', async () => {
    callingOnce('get_weather', { city: 5, days: 1.5 });
    const [[isError, told] = []] = resultsIn((await runTurn(asking(own()))).events);
    expect(isError).toBe(true);
    expect(told).toMatch(/^The input does not fit the tool\. city: .*string.*; days: /);
    expect(work).not.toHaveBeenCalled();
  });

  test('that never returns is aborted after its timeout, and its result is an error', async () => {
    callingOnce('pay');
    let signal: AbortSignal | undefined;
    onceWork.mockImplementation((_, context) => {
      ({ signal } = context);
      return new Promise(() => {});
    });
    expect(resultsIn((await runTurn(asking(own('pay')))).events)).toEqual([
      [true, 'The tool did not respond within 1 s.'],
    ]);
    expect(signal?.aborted).toBe(true);
  });

  test('is called again with the same id after a crash, unless it must run only once', async () => {
    answerByScript((_, number) =>
      number === 1
        ? callsAnswer(weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Bern', 'pay'))
        : textAnswer('Done.'),
    );
    const isLost = () => new Promise(() => {});
    work.mockImplementationOnce(isLost).mockResolvedValue('sun');
    onceWork.mockImplementation(isLost);
    const answer = await sendTurn(asking(own(), own('pay')));
    if (answer.kind !== 'stream') throw new Error('no stream');
    const listening = readStream(answer.body);
    await eventually(() => expect(onceWork).toHaveBeenCalled());
    await abortAllDurableObjects();
    const seen = (await listening).events.at(-1)?.id;
    const resumed = await stubOf().resumeTurnStream(seen);
    if (resumed.kind !== 'stream') throw new Error(resumed.kind);
    const { events } = await readStream(resumed.body as ReadableStream<Uint8Array>);
    expect(resultsIn(events)).toEqual(
      expect.arrayContaining([
        [false, 'sun'],
        [true, expect.stringContaining('unknown')],
      ]),
    );
    expect(work.mock.calls.map(([, { tool_use_id }]) => tool_use_id)).toEqual(['toolu_1', 'toolu_1']);
    expect(onceWork).toHaveBeenCalledTimes(1);
  });
});

describe('a request with a tool of the Worker', () => {
  const app = () => createTestApp(() => Response.json({ input_tokens: 5 }), DEPLOYED_VARS);
  const post = async (path: string, body: object) =>
    await app().post(path, body, bearerHeader(await createToken('alice')));

  test('needs no additional scope, and gets an error that lists the tools if the tool does not exist', async () => {
    const refused = await post('/messages', { ...asking(own('get_whether')), conversation: 'c1' });
    expect(refused.status).toBe(400);
    expect((await readError(refused)).message).toMatch(
      /^tools.0.name: this deployment has no tool of this name\. Its tools are: .*get_weather, pay\.$/,
    );
    const unknown = await post('/messages', { ...asking(own('get_weather', { run: 'Worker' })), conversation: 'c1' });
    expect(unknown.status).toBe(400);
    expect((await readError(unknown)).message).toMatch(/^tools\.0\.run: must be "worker"/);
  });

  test('is counted with the description that the model gets', async () => {
    const counting = app();
    const headers = bearerHeader(await createToken('alice'));
    const { max_tokens: _, ...body } = asking(own());
    expect((await counting.post('/count-tokens', { ...body, conversation: 'c9' }, headers)).status).toBe(200);
    expect((await counting.post('/count-tokens', body, headers)).status).toBe(200);
    for (const { text } of counting.sent) {
      expect(JSON.parse(text)).toMatchObject({ tools: [{ name: 'get_weather', description: 'Tells the weather.' }] });
      expect(text).not.toContain('"run"');
    }
    expect(counting.sent).toHaveLength(2);
  });
});

test('a tool that a deploy removed is not sent to the model any more, and its calls fail', async () => {
  const frozen = JSON.stringify([own('get_weather'), own('removed_tool')]);
  const { sent = '', runs, mark } = findEdgeTools(frozen) ?? {};
  expect(JSON.parse(sent)).toMatchObject([{ name: 'get_weather', description: 'Tells the weather.' }]);
  expect([...(runs?.keys() ?? [])]).toEqual(['get_weather', 'removed_tool']);
  const place = { tool_use_id: 't', name: 'removed_tool', input: {}, account: 'a', conversation: 'c', turn: 't' };
  const { signal } = new AbortController();
  expect(await callWorkerTool(place, { env: {} as Bindings, signal })).toMatchObject({ isError: true });
  // Its deploy changes how many tokens the prompt has.
  const described = { description: 'Was there.', schema: z.object({}), run: () => 1 };
  createApp({ tools: { removed_tool: described } });
  expect(findEdgeTools(frozen)?.mark).not.toBe(mark);
});

test("a prefix can contain a tool of the Worker by its name, and the model gets the Worker's definition", async () => {
  const edge = createSimulatedEdge();
  const alice = await authorizationFor('alice');
  await storePrefix(edge, 'support', { tools: [own()], model: 'claude-opus-5-5', max_tokens: 64 }, alice);
  const bodies = callingOnce();
  work.mockResolvedValue('sun');
  const asked = { conversation: 'c1', prefix: 'support', messages: [{ role: 'user', content: 'Is it sunny?' }] };
  const answer = await edge.post('/v1/messages', asked, bearerHeader(await createToken('alice')));
  expect(await answer.json()).toMatchObject({
    content: [{ type: 'mcp_tool_use' }, { content: [{ text: 'sun' }] }, {}],
  });
  await edge.waitUntilSettled();
  expect(bodies[0]?.tools).toMatchObject([{ name: 'get_weather', description: 'Tells the weather.' }]);
  expect(JSON.stringify(bodies)).not.toContain('"run"');
  const stored = await edge.fetch('/prefixes/support', { headers: alice });
  expect(await stored.json()).toMatchObject({ tools: [{ name: 'get_weather' }] });
});

test.each<[string, unknown]>([
  ['schema', { description: 'x', run: () => 1 }],
  ['schema', { description: 'x', schema: z.string(), run: () => 1 }],
  ['description', { schema: z.object({}), run: () => 1 }],
  ['run', { description: 'x', schema: z.object({}) }],
  ['timeout_seconds', { description: 'x', schema: z.object({}), run: () => 1, timeout_seconds: 0.5 }],
])('a tool whose %s is invalid is rejected when the Worker starts', (member, tool) => {
  expect(() => createApp({ tools: { broken: tool as never } })).toThrow(member);
});

test('a different tool of the same name is rejected', () => {
  const tool = { description: 'x', schema: z.object({}), run: () => 1 };
  createApp({ tools: { twice: tool } });
  createApp({ tools: { twice: tool } });
  expect(() => createApp({ tools: { twice: { ...tool } } })).toThrow('twice');
  expect(() => createApp({ tools: { 'a b': tool } })).toThrow('a b');
});
