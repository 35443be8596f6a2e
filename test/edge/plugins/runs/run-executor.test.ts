import { abortAllDurableObjects } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import type { RpcText } from '#edge/conversations/object/contract.ts';
import { readRpcText } from '#edge/conversations/object/rpc-response.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { verifyStandard } from '#edge/kit/delivery/standard-webhooks.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { Account } from '#edge/money/account/account.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { advanceClock } from '#test/support/calendar.ts';
import {
  bindings,
  listMessages,
  readConversation,
  readStoredLog,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  TOOL_SECRET,
  TOOL_URL,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, readStream, runTurn, type StreamEvent, sendTurn, textOfDeltas } from '#test/support/turns.ts';
import { sseResponse, messageStart as startOf } from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

/** Longer than it takes to find that there is no connection. */
const WORKED_ON_MS = 200;

const blocksOf = (events: readonly StreamEvent[]) =>
  events.filter(({ event }) => event === 'content_block_start').map(({ data }) => data.content_block);
const asked = (more: object = {}) => createBody('How is the weather?', { tools: [weatherTool()], ...more });

describe('a run', () => {
  test('calls the tools of a response, sends their results, and is one message to its client', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1
        ? {
            ...callsAnswer(
              { type: 'text', text: 'I look. ' },
              weatherCall('toolu_1', 'Bern'),
              weatherCall('toolu_2', 'Oslo'),
            ),
          }
        : textAnswer('Sun in Bern, rain in Oslo.'),
    );
    const tools = answerTools(
      ({ body }) => new Response((body.input as { city: string }).city === 'Bern' ? 'sun' : 'rain'),
    );
    const { events, text, isWhole: whole, turn } = await runTurn(asked());

    expect(whole).toBe(true);
    expect(events.map(({ event }) => event).filter((name) => name.startsWith('message'))).toEqual([
      'message_start',
      'message_delta',
      'message_stop',
    ]);
    expect(blocksOf(events)).toEqual([
      { type: 'text', text: '' },
      { type: 'mcp_tool_use', id: 'toolu_1', name: 'get_weather', input: { city: 'Bern' }, server_name: 'edge' },
      { type: 'mcp_tool_use', id: 'toolu_2', name: 'get_weather', input: { city: 'Oslo' }, server_name: 'edge' },
      { type: 'mcp_tool_result', tool_use_id: 'toolu_1', is_error: false, content: [{ type: 'text', text: 'sun' }] },
      { type: 'mcp_tool_result', tool_use_id: 'toolu_2', is_error: false, content: [{ type: 'text', text: 'rain' }] },
      { type: 'text', text: '' },
    ]);
    expect(textOfDeltas(events)).toBe('I look. Sun in Bern, rain in Oslo.');
    const indices = events.filter(({ event }) => event === 'content_block_start').map(({ data }) => data.index);
    expect(indices).toEqual([0, 1, 2, 3, 4, 5]);
    for (const { event, data } of events) {
      if (event === 'content_block_delta') expect([0, 5]).toContain(data.index);
    }
    expect(events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'end_turn' },
      usage: { input_tokens: 200, output_tokens: 20, iterations: [{ input_tokens: 100 }, { input_tokens: 100 }] },
    });
    expect(events.map(({ id }) => id)).toEqual(events.map((_, number) => `${turn}-${number + 1}`));
    expect(text).toMatch(/: sluice-cost-usd=0\.0012\n$/);

    expect(tools.map(({ body }) => body)).toEqual([
      {
        tool_use_id: 'toolu_1',
        name: 'get_weather',
        input: { city: 'Bern' },
        account: 'alice',
        conversation: 'c1',
        turn,
      },
      expect.objectContaining({ tool_use_id: 'toolu_2' }),
    ]);
    for (const { headers, text: sent, url, body } of tools) {
      expect(url).toBe(TOOL_URL);
      expect(headers.get('webhook-id')).toBe(`${turn}_${body.tool_use_id}`);
      const bytes = new TextEncoder().encode(sent);
      expect(await verifyStandard.verify({ headers, bytes, now: Date.now() }, [TOOL_SECRET])).toBe('valid');
    }

    expect(bodies).toHaveLength(2);
    expect(bodies[0]?.tools).toEqual([{ ...weatherTool(), run: undefined }]);
    expect(bodies[1]?.messages).toEqual([
      { role: 'user', content: 'How is the weather?' },
      {
        role: 'assistant',
        content: [{ type: 'text', text: 'I look. ' }, weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Oslo')],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'toolu_1', content: 'sun' },
          { type: 'tool_result', tool_use_id: 'toolu_2', content: 'rain' },
        ],
      },
    ]);
    const account = await stubOf().readTurnReport(turn);
    if (!account.ok) throw new Error(account.error.message);
    const told = await new Response(account.value as string).json();
    const own = { ms: expect.any(Number), is_error: false, name: 'get_weather' };
    expect(told).toMatchObject({
      id: turn,
      status: 'complete',
      paused: null,
      cost_usd: 0.0012,
      steps: [
        {
          cost_usd: 0.0006,
          calls: [
            { ...own, id: 'toolu_1', bytes: 3 },
            { ...own, id: 'toolu_2', bytes: 4 },
          ],
        },
        { cost_usd: 0.0006, calls: [], stop_reason: 'end_turn' },
      ],
    });
    expect(await stubOf().readTurnReport(`${turn}_1`)).toMatchObject({ ok: false, error: { status: 404 } });
    const rows = await listMessages();
    expect(rows.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
    expect(await readConversation()).toMatchObject({ state: 'idle', turns: 1, messages: 4, cost_usd: 0.0012 });
    await waitUntilAtRest();
    const { data } = await getAccountStub(bindings, {}, 'alice').listRequests({ limit: 10 });
    expect(data.map(({ cost_usd, status }) => [cost_usd, status])).toEqual([
      [0.0006, 'complete'],
      [0.0006, 'complete'],
    ]);
  });

  test('returns the whole message to a non-streaming caller', async () => {
    answerByScript((_, number) => (number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.')));
    answerTools(() => new Response('sun'));
    const answer = await sendTurn(asked(), { stream: false });
    if (answer.kind !== 'response') throw new Error(JSON.stringify(answer));
    expect(JSON.parse(answer.body)).toMatchObject({
      id: 'msg_1',
      stop_reason: 'end_turn',
      content: [
        { type: 'mcp_tool_use', input: { city: 'Bern' } },
        { type: 'mcp_tool_result', content: [{ type: 'text', text: 'sun' }] },
        { type: 'text', text: 'Sun.' },
      ],
      usage: { input_tokens: 200, output_tokens: 20 },
    });
  });

  test('without a tool call is stored and streamed like any other turn', async () => {
    answerByScript(() => textAnswer('Fine.'));
    const { events } = await runTurn(asked());
    expect(events.find(({ event }) => event === 'message_delta')?.data).toEqual({
      type: 'message_delta',
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { input_tokens: 100, output_tokens: 10 },
    });
    expect(await listMessages()).toHaveLength(2);
  });

  test('leaves client tools to the client, and sends all results in one message in call order', async () => {
    const own = { name: 'ask_user', input_schema: { type: 'object' } };
    const bodies = answerByScript((_, number) =>
      number === 1
        ? callsAnswer(
            weatherCall('toolu_1', 'Bern'),
            weatherCall('toolu_2', 'x', 'ask_user'),
            weatherCall('toolu_3', 'Oslo'),
          )
        : textAnswer('Done.'),
    );
    answerTools(() => new Response('sun'));
    const first = await runTurn(asked({ tools: [weatherTool(), own] }));
    expect(first.events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'tool_use' },
    });
    expect(blocksOf(first.events).map((block) => (block as { type: string }).type)).toEqual([
      'mcp_tool_use',
      'tool_use',
      'mcp_tool_use',
      'mcp_tool_result',
      'mcp_tool_result',
    ]);
    await runTurn(
      createBody(
        [
          { type: 'tool_result', tool_use_id: 'toolu_2', content: 'yes' },
          { type: 'text', text: 'Go on' },
        ],
        { tools: [weatherTool(), own] },
      ),
    );
    expect(bodies[1]?.messages.at(-1)?.content).toEqual([
      { type: 'tool_result', tool_use_id: 'toolu_1', content: 'sun' },
      { type: 'tool_result', tool_use_id: 'toolu_2', content: 'yes' },
      { type: 'tool_result', tool_use_id: 'toolu_3', content: 'sun' },
      { type: 'text', text: 'Go on' },
    ]);
    expect(findBrokenRule((await listMessages()) as never)).toBeUndefined();
  });

  test('sends the error of a failed tool to the model, and continues', async () => {
    const bodies = answerByScript((_, number) =>
      number <= 3 ? callsAnswer(weatherCall(`toolu_${number}`, `city ${number}`)) : textAnswer('Sorry.'),
    );
    answerTools((_, number) => {
      if (number === 1) return new Response('no such city', { status: 404 });
      if (number === 2) return new Response(null, { status: 302, headers: { location: 'https://elsewhere.example' } });
      throw new TypeError('network: https://user:secret@host');
    });
    const { isWhole: whole } = await runTurn(asked());
    expect(whole).toBe(true);
    expect(bodies.slice(1).map(({ messages }) => [...(messages.at(-1)?.content ?? [])][0])).toEqual([
      { type: 'tool_result', tool_use_id: 'toolu_1', content: 'no such city', is_error: true },
      expect.objectContaining({ content: expect.stringContaining('redirect'), is_error: true }),
      expect.objectContaining({ content: 'The tool could not be reached.', is_error: true }),
    ]);
  });

  test('retries a later step with the same body when the API is overloaded', async () => {
    const overloaded = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
    const script = (_: unknown, number: number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      return number === 2 ? Response.json(overloaded, { status: 529 }) : textAnswer('Sun.');
    };
    const bodies = answerByScript(script, { vars: { UPSTREAM_MAX_RETRIES: '2' } });
    answerTools(() => new Response('sun'));
    const { events, text } = await runTurn(asked());
    expect(events.at(-1)?.event).toBe('message_stop');
    expect(text).not.toContain('Overloaded');
    expect(bodies[2]).toEqual(bodies[1]);
    expect(await listMessages()).toHaveLength(4);
    await waitUntilAtRest();
    const { data } = await getAccountStub(bindings, {}, 'alice').listRequests({ limit: 10 });
    expect(data.map(({ cost_usd }) => cost_usd)).toEqual([0.0006, 0.0006]);
  });

  test('sends a forced tool choice only with its first step', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.'),
    );
    answerTools(() => new Response('sun'));
    const tool_choice = { type: 'tool', name: 'get_weather', disable_parallel_tool_use: true };
    await runTurn(asked({ tool_choice }));
    expect(bodies.map((body) => body.tool_choice)).toEqual([
      tool_choice,
      { type: 'auto', disable_parallel_tool_use: true },
    ]);
  });

  test('ends when a response reaches max_tokens in a call, and the next message answers the call with an error', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? { ...callsAnswer(weatherCall('toolu_1', 'Bern')), stop_reason: 'max_tokens' } : textAnswer('Sun.'),
    );
    const tools = answerTools(() => new Response('sun'));
    const { events } = await runTurn(asked());
    expect(events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'max_tokens' },
    });
    expect(tools).toHaveLength(0);
    await runTurn(createBody('Go on.', { tools: [weatherTool()] }));
    expect(bodies[1]?.messages.at(-1)?.content).toMatchObject([
      { type: 'tool_result', tool_use_id: 'toolu_1', is_error: true },
      { type: 'text', text: 'Go on.' },
    ]);
  });

  test('is forked and rewound as a whole, and the fork can continue it', async () => {
    const bodies = answerByScript((_, number) => callsAnswer(weatherCall(`toolu_${number}`, `city ${number}`)));
    answerTools(() => new Response('sun'));
    await runTurn(asked({ max_turns: 2 }));
    const rows = await listMessages();
    const copied = await stubOf().forkConversation('c2', rows[1]?.id);
    expect(copied.ok).toBe(true);
    expect((await listMessages('c2')).map(({ content }) => content)).toEqual(rows.map(({ content }) => content));
    await runTurn(createBody('Go on.', { tools: [weatherTool()], max_turns: 1 }), { id: 'c2' });
    expect(findBrokenRule((bodies.at(-1)?.messages ?? []) as never)).toBeUndefined();
    expect(bodies.at(-1)?.messages).toHaveLength(5);
    const rewound = await stubOf().rewindConversation(rows[3]?.id ?? '');
    expect(rewound.ok).toBe(true);
    expect(await listMessages()).toHaveLength(0);
    expect(await readConversation()).toMatchObject({ turns: 0, messages: 0 });
  });

  test('that is stopped during a tool call keeps its content, stores an error result, and can continue', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('As you like.'),
    );
    const tools = answerTools(
      ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    const running = runTurn(asked());
    await eventually(() => expect(tools).toHaveLength(1));
    await stubOf().stopRunningTurn();
    const { text, events, isWhole: whole } = await running;
    expect(whole).toBe(true);
    expect(text).toContain(': sluice-stopped');
    expect(blocksOf(events).at(-1)).toMatchObject({ type: 'mcp_tool_result', is_error: true });
    await runTurn(createBody('Never mind.', { tools: [weatherTool()] }));
    expect(bodies[1]?.messages.at(-1)?.content).toEqual([
      { type: 'tool_result', tool_use_id: 'toolu_1', content: 'stopped', is_error: true },
      { type: 'text', text: 'Never mind.' },
    ]);
  });

  test('that is stopped before its first content returns a 410 that clients do not retry', async () => {
    let isBegun = false;
    answerByScript(() => {
      const pieces = [new TextEncoder().encode(startOf())];
      const pull = (to: ReadableByteStreamController) => {
        const piece = pieces.shift();
        if (piece) return to.enqueue(piece);
        isBegun = true;
        return new Promise<void>(() => {});
      };
      const body = new ReadableStream({ type: 'bytes', pull }, { highWaterMark: 0 });
      return sseResponse(body);
    });
    const answer = sendTurn(asked(), { stream: false });
    await eventually(() => expect(isBegun).toBe(true));
    await stubOf().stopRunningTurn();
    expect(await answer).toMatchObject({
      kind: 'error',
      error: { status: 410, type: 'not_found_error', headers: { 'x-should-retry': 'false' } },
    });
  });
});

describe('the limits of a run', () => {
  const endless = () =>
    answerByScript((_, number) => ({
      ...callsAnswer(weatherCall(`toolu_${number}`, `city ${number}`)),
      usage: { input_tokens: 100, output_tokens: 150 },
    }));
  const reasonOf = (text: string) => /: sluice-paused=(\w+)\n\nid: \S+\nevent: message_stop/.exec(text)?.[1];

  test.each([
    ['its own', { max_usd: 0.06 }, { by: 'run', limit: 'max_usd', resets_at: null }],
    ['none', {}, undefined],
  ])('record which limit lowered max_tokens of a response: %s', async (_, limits, lowered_by) => {
    answerByScript(() => ({
      ...textAnswer('It is'),
      stop_reason: 'max_tokens',
      usage: { input_tokens: 100, output_tokens: 150 },
    }));
    answerTools(() => new Response('sun'));
    const { events } = await runTurn(asked({ max_tokens: 4_000, ...limits }));
    expect(events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'max_tokens' },
    });
    await abortAllDurableObjects();
    for (const view of ['stored', 'shown'] as const) {
      const page = await stubOf().readMessagePage({ limit: 10, view });
      if (!page.ok) throw new Error('no page');
      const { data } = (await new Response(page.value as ReadableStream).json()) as { data: JsonObject[] };
      const { stop_reason, ...row } = data.at(-1) ?? {};
      expect(stop_reason).toBe('max_tokens');
      expect(row.lowered_by).toEqual(lowered_by);
    }
  });

  test.each([
    ['max_turns', { max_turns: 3 }, 3],
    ['max_tool_calls', { max_tool_calls: 2 }, 3],
    ['max_usd', { max_usd: 0.02, max_turns: 100 }, undefined],
  ])('pause it at %s, and the next message continues it', async (reason, limits, steps) => {
    const bodies = endless();
    answerTools(() => new Response('sun'));
    const { text, events } = await runTurn(asked(limits));
    expect(reasonOf(text)).toBe(reason);
    expect(events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'pause_turn' },
    });
    if (steps !== undefined) expect(bodies).toHaveLength(steps);
    for (const body of bodies) expect(Object.keys(body)).not.toContain(reason);
    // A step costs 0.0034. The one that would have come next could have cost at most 0.004 for its output alone.
    const { cost_usd } = (await readConversation()) ?? {};
    expect(cost_usd).toBeCloseTo(0.0034 * bodies.length, 9);
    if (reason === 'max_usd') expect(cost_usd).toBeLessThanOrEqual(0.02);
    const before = bodies.length;
    const again = await runTurn(createBody('Go on.', { tools: [weatherTool()], max_turns: 1 }));
    expect(reasonOf(again.text)).toBe('max_turns');
    expect(bodies).toHaveLength(before + 1);
    expect(bodies.at(-1)?.messages.at(-1)?.content).toMatchObject([
      { type: 'tool_result' },
      { type: 'text', text: 'Go on.' },
    ]);
  });

  test('pause it, and a client continues it by resending the paused message, alone or with the history', async () => {
    const bodies = answerByScript((_, number) =>
      number < 4
        ? callsAnswer({ type: 'text', text: 'Well. ' }, weatherCall(`toolu_${number}`, `city ${number}`))
        : textAnswer('Done.'),
    );
    answerTools(() => new Response('sun'));
    await runTurn(asked({ max_turns: 2 }));
    const shown = async () => {
      const page = await stubOf().readMessagePage({ limit: 100, view: 'shown' });
      if (!page.ok) throw new Error(page.error.message);
      const { data } = await new Response(page.value as ReadableStream).json<{
        data: { role: string; content: unknown }[];
      }>();
      return data.map(({ role, content }) => ({ role, content }));
    };
    const on = { ...createBody('', { tools: [weatherTool()], max_turns: 1 }) };
    await runTurn({ ...on, messages: (await shown()).slice(-1) });
    expect(bodies[2]?.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant', 'user']);
    await runTurn({ ...on, messages: await shown() });
    expect(bodies[3]?.messages).toHaveLength(7);
    expect((await shown()).map(({ role }) => role)).toEqual(['user', 'assistant', 'assistant', 'assistant']);
  });

  test('pause it at the third identical call', async () => {
    const bodies = answerByScript((_, number) => callsAnswer(weatherCall(`toolu_${number}`, 'Bern')));
    answerTools(() => new Response('sun'));
    const { text } = await runTurn(asked());
    expect(reasonOf(text)).toBe('repeated_call');
    expect(bodies).toHaveLength(3);
  });

  test('include the number of concurrent tool calls', async () => {
    answerByScript((_, number) =>
      number === 1
        ? callsAnswer(...Array.from({ length: 7 }, (_, n) => weatherCall(`toolu_${n}`, `city ${n}`)))
        : textAnswer('Done.'),
    );
    let open = 0;
    let most = 0;
    answerTools(async () => {
      open += 1;
      most = Math.max(most, open);
      await waitForCondition(() => most >= 3);
      // A fourth one would come now.
      await yieldToEventLoop(3);
      open -= 1;
      return new Response('sun');
    });
    await runTurn(asked({ parallel_tools: 3 }));
    expect(most).toBe(3);
  });
});

describe('a run whose object dies', () => {
  /** The conversation takes another message, and its history is what the API accepts. */
  async function goesOn(bodies: { messages: unknown[] }[]): Promise<void> {
    await runTurn(createBody('And now?', { tools: [weatherTool()] }));
    expect(findBrokenRule((bodies.at(-1)?.messages ?? []) as never)).toBeUndefined();
    await waitUntilAtRest();
    expect(await readConversation()).toMatchObject({ state: 'idle' });
  }

  /** What a client has, that follows through crashes: it resumes behind the last event that it got. */
  async function following(turn: string, body: ReadableStream<Uint8Array>): Promise<StreamEvent[]> {
    const events: StreamEvent[] = [];
    let stream: ReadableStream<Uint8Array> | undefined = body;
    while (stream) {
      const told = await readStream(stream);
      events.push(...told.events);
      if (told.isWhole) break;
      const resumed = await stubOf().resumeTurnStream(events.findLast(({ id }) => id)?.id ?? `${turn}-0`);
      stream = resumed.kind === 'stream' ? (resumed.body as ReadableStream<Uint8Array>) : undefined;
    }
    return events;
  }

  async function begun(body: object) {
    const answer = await sendTurn(body);
    if (answer.kind !== 'stream') throw new Error('no stream');
    return { listening: following(answer.turn, answer.body), turn: answer.turn };
  }

  test.each([
    [false, 2, { content: 'sun' }],
    [true, 1, { content: expect.stringContaining('unknown whether'), is_error: true }],
  ])('during a tool call continues; with once: %s the tool is called %i times', async (once, times, result) => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('I see.'),
    );
    const tools = answerTools((_, number) => (number === 1 ? new Promise(() => {}) : new Response('sun')));
    const { listening } = await begun(asked({ tools: [weatherTool({ once })] }));
    await eventually(() => expect(tools).toHaveLength(1));
    await abortAllDurableObjects();
    const events = await listening;
    expect(events.at(-1)?.event).toBe('message_stop');
    expect(blocksOf(events).map((block) => (block as { type: string }).type)).toEqual([
      'mcp_tool_use',
      'mcp_tool_result',
      'text',
    ]);
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    expect(bodies[1]?.messages.at(-1)).toMatchObject({
      content: [{ type: 'tool_result', tool_use_id: 'toolu_1', ...result }],
    });
    expect(tools).toHaveLength(times);
    expect(new Set(tools.map(({ headers }) => headers.get('webhook-id'))).size).toBe(1);
    await goesOn(bodies);
  });

  test('during a later step keeps the partial response and continues from there', async () => {
    const bodies = answerByScript((_, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      if (number === 2) return { ...textAnswer('It is sunny in Bern.'), change: endlessly };
      return textAnswer(' And warm.');
    });
    answerTools(() => new Response('sun'));
    const { listening } = await begun(asked());
    await eventually(async () => expect(await readStoredLog()).toContain('sunny'));
    await abortAllDurableObjects();
    const events = await listening;
    expect(events.at(-1)?.event).toBe('message_stop');
    expect(textOfDeltas(events)).toBe('It is sunny in Bern. And warm.');
    const ends = events.filter(({ event }) => event === 'content_block_stop').map(({ data }) => data.index);
    expect(ends).toEqual([0, 1, 2, 3]);
    expect(bodies[2]?.messages.slice(3)).toEqual([
      { role: 'assistant', content: [{ type: 'text', text: 'It is sunny in Bern.' }] },
      { role: 'user', content: expect.stringContaining('connection broke') },
    ]);
    const shown = [
      { role: 'user', content: 'How is the weather?' },
      { role: 'assistant', content: textOfDeltas(events) },
    ];
    await runTurn({ ...asked(), messages: [...shown, { role: 'user', content: 'And tomorrow?' }] });
    expect(findBrokenRule((bodies.at(-1)?.messages ?? []) as never)).toBeUndefined();
    await waitUntilAtRest();
    const rows = (await listMessages()) as { role: string; status: string; origin?: string }[];
    // Results, and that the connection broke: no client has sent these.
    expect(rows.map(({ origin }) => origin)).toEqual(
      Array.from({ length: 8 }, (_, row) => (row === 2 || row === 4 ? 'edge' : undefined)),
    );
    expect(rows.map(({ role, status }) => `${role} ${status}`)).toEqual([
      'user complete',
      'assistant complete',
      'user interrupted',
      'assistant interrupted',
      'user complete',
      'assistant complete',
      'user complete',
      'assistant complete',
    ]);
    const { data } = await getAccountStub(bindings, {}, 'alice').listRequests({ limit: 10 });
    expect(data.map(({ status }) => status).sort()).toEqual(['complete', 'complete', 'complete', 'interrupted']);
  });

  test('before its first content repeats the first step within its limits', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? { ...textAnswer(''), change: () => new ReadableStream({ type: 'bytes' }) } : textAnswer('Here.'),
    );
    const body = asked({ system: 'You are kind.', max_usd: 0.05 });
    const answering = sendTurn(body, { key: 'one' }).catch(() => undefined);
    await eventually(() => expect(bodies).toHaveLength(1));
    await abortAllDurableObjects();
    await answering;
    const { events, isWhole: whole } = await runTurn(body, { key: 'one' });
    expect(whole).toBe(true);
    expect(events.filter(({ event }) => event !== 'ping').map(({ event }) => event)).toEqual([
      'message_start',
      'content_block_start',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    expect(bodies).toHaveLength(2);
    expect(bodies[1]).toMatchObject({ messages: bodies[0]?.messages, system: 'You are kind.' });
    await waitUntilAtRest();
    expect(
      (await listMessages()).map(
        ({ role, content }) => `${role} ${typeof content === 'string' ? content : (content as JsonObject[])[0]?.text}`,
      ),
    ).toEqual(['user How is the weather?', 'assistant Here.']);
    expect(await readConversation()).toMatchObject({ state: 'idle', turns: 1, messages: 2 });
    const { data } = await getAccountStub(bindings, {}, 'alice').listRequests({ limit: 10 });
    expect(data).toHaveLength(2);
    // What the lost answer can have cost at most is paid, and is part of what the run may cost.
    const costs = data.map(({ cost_usd }) => cost_usd ?? 0);
    expect(Math.min(...costs)).toBeGreaterThan(0);
    expect(costs.reduce((sum, cost) => sum + cost, 0)).toBeLessThanOrEqual(0.05);
    expect((await readConversation())?.cost_usd).toBeCloseTo(
      costs.reduce((sum, cost) => sum + cost, 0),
      9,
    );
  });

  test('while a step is retried includes the hold of the lost attempt in the run’s cost', async () => {
    let asks = 0;
    let ups = 0;
    const bodies = answerByScript(
      (_, number) => {
        if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
        if (number === 2) throw new TypeError('The connection was lost.');
        return textAnswer('Here.');
      },
      {
        vars: { UPSTREAM_MAX_RETRIES: '2' },
        // What fails so late may have been worked on: another try is admitted by itself.
        after: async () => {
          ups += 1;
          if (ups === 2) advanceClock(WORKED_ON_MS);
        },
      },
    );
    answerTools(() => new Response('sun'));
    const { admitJson } = Account.prototype;
    vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...of) {
      const answer = await admitJson.apply(this, of);
      asks += 1;
      // The account has set it aside, and nobody is told.
      if (asks === 3) await new Promise(() => {});
      return answer;
    });
    const { listening } = await begun(asked({ max_usd: 0.05 }));
    await eventually(() => expect(asks).toBe(3));
    await abortAllDurableObjects();
    const events = await listening;
    expect(events.at(-1)?.event).toBe('message_stop');
    expect(bodies).toHaveLength(3);
    await waitUntilAtRest();
    const account = getAccountStub(bindings, {}, 'alice');
    const { data } = await account.listRequests({ limit: 10 });
    expect(data).toHaveLength(4);
    const booked = data.reduce((sum, { cost_usd }) => sum + (cost_usd ?? 0), 0);
    expect(booked).toBeLessThanOrEqual(0.05);
    await eventually(async () => expect((await readConversation())?.cost_usd).toBeCloseTo(booked, 9));
    const told = await stubOf().readTurnReport(String(events.find(({ id }) => id)?.id?.replace(/-\d+$/, '')));
    if (!told.ok) throw new Error('no such turn');
    const { cost_usd } = JSON.parse(await readRpcText(told.value as RpcText)) as { cost_usd: number };
    expect(cost_usd).toBeCloseTo(booked, 9);
  });

  test('several times includes the hold of each lost attempt in the run’s cost', async () => {
    const bodies = answerByScript((_, number) =>
      number < 3 ? callsAnswer(weatherCall(`toolu_${number}`, `${number}`)) : textAnswer('Here.'),
    );
    answerTools(() => new Response('sun'));
    const { admitJson } = Account.prototype;
    const dying = new Set([2, 3, 5]);
    let asks = 0;
    vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...of) {
      const answer = await admitJson.apply(this, of);
      asks += 1;
      if (dying.has(asks)) await new Promise(() => {});
      return answer;
    });
    const { listening } = await begun(asked({ max_usd: 1 }));
    for (const death of dying) {
      await eventually(() => expect(asks).toBe(death));
      await abortAllDurableObjects();
    }
    const events = await listening;
    expect(events.at(-1)?.event).toBe('message_stop');
    expect(bodies).toHaveLength(3);
    await waitUntilAtRest();
    const { data } = await getAccountStub(bindings, {}, 'alice').listRequests({ limit: 10 });
    expect(new Set(data.map(({ request_id }) => request_id)).size).toBe(6);
    const booked = data.reduce((sum, { cost_usd }) => sum + (cost_usd ?? 0), 0);
    const told = await stubOf().readTurnReport(String(events.find(({ id }) => id)?.id?.replace(/-\d+$/, '')));
    if (!told.ok) throw new Error('no such turn');
    const { cost_usd } = JSON.parse(await readRpcText(told.value as RpcText)) as { cost_usd: number };
    expect(cost_usd).toBeCloseTo(booked, 9);
    await eventually(async () => expect((await readConversation())?.cost_usd).toBeCloseTo(booked, 9));
  });
});

/** A stream that says all but its end, and stays open. */
function endlessly(text: string): ReadableStream<Uint8Array> {
  const said = text.slice(0, text.indexOf('event: content_block_stop'));
  return new ReadableStream({
    type: 'bytes',
    start: (controller) => controller.enqueue(new TextEncoder().encode(said)),
  });
}

describe('a client that resends the history', () => {
  test('may include a run of another conversation, which becomes calls and results again', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1
        ? callsAnswer(
            { type: 'text', text: 'I look. ' },
            weatherCall('toolu_1', 'Bern'),
            weatherCall('toolu_2', 'Oslo'),
          )
        : textAnswer('Sun.'),
    );
    answerTools(() => new Response('sun'));
    const answer = await sendTurn(asked(), { stream: false });
    if (answer.kind !== 'response') throw new Error(answer.kind);
    const { content } = JSON.parse(answer.body) as { content: { type: string; tool_use_id?: string }[] };
    // Of the second call nothing has come back.
    const kept = content.filter(({ type, tool_use_id }) => type !== 'mcp_tool_result' || tool_use_id === 'toolu_1');
    const [question] = asked().messages;
    const messages = [question, { role: 'assistant', content: kept }, { role: 'user', content: 'And tomorrow?' }];
    await runTurn({ ...createBody(''), messages }, { id: 'c2' });
    expect(bodies.at(-1)?.messages).toEqual([
      question,
      {
        role: 'assistant',
        content: [{ type: 'text', text: 'I look. ' }, weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Oslo')],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'toolu_1', content: [{ type: 'text', text: 'sun' }] },
          { type: 'tool_result', tool_use_id: 'toolu_2', content: expect.any(String), is_error: true },
        ],
      },
      { role: 'assistant', content: [{ type: 'text', text: 'Sun.' }] },
      { role: 'user', content: 'And tomorrow?' },
    ]);
  });

  test('sends one message for all steps of a run, and only the new messages are stored', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1
        ? callsAnswer({ type: 'text', text: 'I look. ' }, weatherCall('toolu_1', 'Bern'))
        : textAnswer('Sun.'),
    );
    answerTools(() => new Response('sun'));
    await runTurn(asked());
    const shown = [
      { role: 'user', content: 'How is the weather?' },
      { role: 'assistant', content: 'I look. Sun.' },
    ];
    await runTurn({ ...asked(), messages: [...shown, { role: 'user', content: 'And tomorrow?' }] });
    expect(await listMessages()).toHaveLength(6);
    expect(bodies.at(-1)?.messages).toHaveLength(5);
  });
});

describe('unanswered calls of the client’s own tools', () => {
  const own = { name: 'ask_user', input_schema: { type: 'object' } };

  test.each([
    ['in a run', [weatherTool(), own]],
    ['in any conversation', [own]],
  ])('are cancelled by `on_pending_tools: cancel` %s', async (_, tools) => {
    const isRun = tools.length > 1;
    const bodies = answerByScript((_, number) =>
      number === 1
        ? callsAnswer(...(isRun ? [weatherCall('toolu_1', 'Bern')] : []), weatherCall('toolu_2', 'Oslo', 'ask_user'))
        : textAnswer('As you like.'),
    );
    answerTools(() => new Response('sun'));
    await runTurn(createBody('Hi', { tools }));
    const next = createBody('Never mind.', { tools });
    const refused = await sendTurn(next);
    expect(refused).toMatchObject({ kind: 'error', error: { type: 'invalid_request_error' } });
    expect(await sendTurn({ ...next, on_pending_tools: 'perhaps' })).toMatchObject({
      kind: 'error',
      error: { type: 'invalid_request_error' },
    });
    expect(bodies).toHaveLength(1);
    await runTurn({ ...next, on_pending_tools: 'cancel' });
    expect(bodies[1]).not.toHaveProperty('on_pending_tools');
    const cancelled = { tool_use_id: 'toolu_2', is_error: true, content: expect.stringContaining('cancelled') };
    expect(bodies[1]?.messages.at(-1)).toMatchObject({
      role: 'user',
      content: [...(isRun ? [{ tool_use_id: 'toolu_1', content: 'sun' }] : []), cancelled, { text: 'Never mind.' }],
    });

    // A client that resends everything knows nothing of the result that was given for it.
    const asked = { type: 'tool_use', id: 'toolu_2', name: 'ask_user', input: { city: 'Oslo' } };
    const history = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: [asked] },
      { role: 'user', content: 'Never mind.' },
      { role: 'assistant', content: 'As you like.' },
    ];
    const before = (await listMessages()).length;
    await runTurn({ ...next, messages: [...history, { role: 'user', content: 'Thanks.' }] });
    expect((await listMessages()).length).toBe(before + 2);
  });

  test('are cancelled by `on_pending_tools: cancel` when the request has results for other calls', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1
        ? callsAnswer(weatherCall('toolu_1', 'Bern', 'ask_user'), weatherCall('toolu_2', 'Oslo', 'ask_user'))
        : textAnswer('As you like.'),
    );
    await runTurn(createBody('Hi', { tools: [own] }));
    const content = [{ type: 'tool_result', tool_use_id: 'toolu_2', content: 'yes' }];
    await runTurn(createBody(content, { tools: [own], on_pending_tools: 'cancel' }));
    expect(bodies[1]?.messages.at(-1)?.content).toMatchObject([
      { tool_use_id: 'toolu_1', is_error: true },
      { tool_use_id: 'toolu_2', content: 'yes' },
    ]);
  });
});

test('a call whose input does not match the schema is not made and gives the model an error', async () => {
  const wrong = { type: 'tool_use', id: 'toolu_1', name: 'get_weather', input: { city: 7 } };
  const bodies = answerByScript((_, number) => (number === 1 ? callsAnswer(wrong) : textAnswer('Done.')));
  const called = answerTools(() => new Response('sun'));
  await runTurn(createBody('Hi', { tools: [weatherTool()] }));
  expect(called).toEqual([]);
  expect(bodies[1]?.messages.at(-1)?.content).toMatchObject([
    { tool_use_id: 'toolu_1', is_error: true, content: expect.stringContaining('input.city') as string },
  ]);
});
