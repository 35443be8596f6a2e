import { readUIMessageStream, type UIMessage, type UIMessageChunk } from 'ai';
import { describe, expect, test } from 'vitest';
import { createChatTransport, loadMessages, toUIMessages } from '#client/ai-sdk.ts';
import type { ConversationMessage } from '#client/index.ts';
import { buildNextMessageContent } from '#client/ui-messages.ts';
import { answerOf, bytesOf, envelope, fakeEdge, framesOf, PRICE, streamed } from './fake-edge.ts';

const user = (...parts: UIMessage['parts']): UIMessage => ({ id: 'u1', role: 'user', parts });
const hello = user({ type: 'text', text: 'Hello' });

const [start, ...end] = answerOf('');
const begins = (index: number, content_block: object) => ({ type: 'content_block_start', index, content_block });
const grows = (index: number, delta: object) => ({ type: 'content_block_delta', index, delta });
const stops = (index: number) => ({ type: 'content_block_stop', index });
const everything = [
  start,
  begins(0, { type: 'thinking', thinking: '', signature: '' }),
  grows(0, { type: 'thinking_delta', thinking: 'Let me see' }),
  grows(0, { type: 'signature_delta', signature: 'c2ln' }),
  stops(0),
  begins(1, { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: {} }),
  grows(1, { type: 'input_json_delta', partial_json: '{"query":"x"}' }),
  stops(1),
  begins(2, {
    type: 'web_search_tool_result',
    tool_use_id: 'srvtoolu_1',
    content: [{ type: 'web_search_result', url: 'https://example.com', title: 'X' }],
  }),
  stops(2),
  begins(3, { type: 'text', text: '' }),
  grows(3, { type: 'text_delta', text: 'It ' }),
  grows(3, {
    type: 'citations_delta',
    citation: { type: 'web_search_result_location', url: 'https://example.com', title: 'X' },
  }),
  grows(3, { type: 'text_delta', text: 'is.' }),
  stops(3),
  begins(4, { type: 'tool_use', id: 'toolu_1', name: 'save', input: {} }),
  grows(4, { type: 'input_json_delta', partial_json: '{"a":' }),
  grows(4, { type: 'input_json_delta', partial_json: '1}' }),
  stops(4),
  { type: 'message_delta', delta: { stop_reason: 'tool_use' }, usage: { output_tokens: 5 } },
  ...end.slice(-1),
] as { type: string }[];

const sending = (messages: UIMessage[], more: object = {}) => ({
  chatId: 'c1',
  trigger: 'submit-message' as const,
  messageId: undefined,
  messages,
  abortSignal: undefined,
  ...more,
});

async function messageOf(stream: ReadableStream<UIMessageChunk>): Promise<UIMessage | undefined> {
  let last: UIMessage | undefined;
  for await (const message of readUIMessageStream({ stream })) last = message;
  return last;
}

const BUDGET = ': sluice-budget-used=0.5\n: sluice-budget-fits=true\n';

test('a response becomes parts of each type, with its turn, cost and budget status as metadata', async () => {
  const { client, sent, until } = fakeEdge(() =>
    streamed(bytesOf(framesOf('turn_a', everything).join('') + BUDGET + PRICE)),
  );
  const transport = createChatTransport({ client, request: { model: 'm', max_tokens: 5 } });
  const stream = await transport.sendMessages(sending([hello], { body: { temperature: 0 }, headers: { 'x-a': 'b' } }));
  const message = await until(messageOf(stream));
  expect(sent[0]?.body).toEqual({
    model: 'm',
    max_tokens: 5,
    temperature: 0,
    conversation: 'c1',
    messages: [{ role: 'user', content: [{ type: 'text', text: 'Hello' }] }],
  });
  expect(sent[0]?.headers.get('x-a')).toBe('b');
  expect(message).toMatchObject({
    id: 'msg_1',
    role: 'assistant',
    metadata: { turn: 'turn_a', stopReason: 'tool_use', stopped: false, costUsd: 0.000012, used: 0.5, fits: true },
    parts: [
      { type: 'step-start' },
      { type: 'reasoning', text: 'Let me see', state: 'done', providerMetadata: { anthropic: { signature: 'c2ln' } } },
      { type: 'tool-web_search', state: 'output-available', input: { query: 'x' }, providerExecuted: true },
      { type: 'text', text: 'It is.', state: 'done' },
      { type: 'source-url', url: 'https://example.com' },
      { type: 'tool-save', toolCallId: 'toolu_1', state: 'input-available', input: { a: 1 } },
    ],
  });
});

test('tool calls made by Sluice contain their results or errors, and a paused message contains the reason as metadata', async () => {
  const edge = (id: string) => ({ type: 'mcp_tool_use', id, name: 'save', input: { a: 1 }, server_name: 'edge' });
  const given = (id: string, is_error: boolean, text: string) => ({
    type: 'mcp_tool_result',
    tool_use_id: id,
    is_error,
    content: [{ type: 'text', text }],
  });
  const blocks = [edge('t1'), edge('t2'), given('t2', true, 'No room.'), given('t1', false, 'Saved.')];
  const events = [
    start,
    ...blocks.flatMap((block, index) => [begins(index, block), stops(index)]),
    { type: 'message_delta', delta: { stop_reason: 'pause_turn' }, usage: { output_tokens: 5 } },
  ] as { type: string }[];
  const frames = framesOf('turn_a', [...events, { type: 'message_stop' }]);
  const text = [...frames.slice(0, -1), ': sluice-paused=max_usd\n\n', ...frames.slice(-1)].join('') + PRICE;
  const { client, until } = fakeEdge(() => streamed(bytesOf(text)));
  const transport = createChatTransport({ client });
  const message = await until(messageOf(await transport.sendMessages(sending([hello]))));
  const parts = [
    { type: 'step-start' },
    { type: 'tool-save', state: 'output-available', input: { a: 1 }, output: 'Saved.', providerExecuted: true },
    { type: 'tool-save', state: 'output-error', input: { a: 1 }, errorText: 'No room.', providerExecuted: true },
  ];
  const metadata = { turn: 'turn_a', stopReason: 'pause_turn', paused: 'max_usd', usage: { output_tokens: 5 } };
  expect(message).toMatchObject({ metadata, parts });
  // The history tells the same, and the next message answers none of these calls.
  const { turn, ...told } = { turn: 'turn_a', stop_reason: 'pause_turn', paused: 'max_usd' };
  const read = toUIMessages([
    row('m1', 'assistant', blocks, { ...told, turn, usage: { input_tokens: 3, output_tokens: 5 } }),
  ]);
  expect(read).toMatchObject([{ metadata, parts }]);
  expect(buildNextMessageContent([...read, hello])).toEqual([{ type: 'text', text: 'Hello' }]);
});

test('a response that the API has paused continues as one message, with its last turn and the total cost', async () => {
  const call = { type: 'server_tool_use', id: 's1', name: 'web_search', input: { query: 'x' } };
  const paused = [
    start,
    begins(0, call),
    stops(0),
    { type: 'message_delta', delta: { stop_reason: 'pause_turn' }, usage: { output_tokens: 5 } },
    { type: 'message_stop' },
  ] as { type: string }[];
  const found = [start, begins(0, { type: 'web_search_tool_result', tool_use_id: 's1', content: 'Rain.' }), stops(0)];
  const parts = [paused, [...found, ...end.slice(-2)] as { type: string }[]];
  const { client, sent, until } = fakeEdge((_, count) => {
    const turn = `turn_${count}`;
    return streamed(bytesOf(framesOf(turn, parts[count - 1] ?? []).join('') + PRICE), 'end', turn);
  });
  const message = await until(messageOf(await until(createChatTransport({ client }).sendMessages(sending([hello])))));
  expect(message).toMatchObject({
    id: 'msg_1',
    parts: [{ type: 'step-start' }, { type: 'tool-web_search', state: 'output-available', output: 'Rain.' }],
    metadata: { turn: 'turn_2', stopReason: 'end_turn', costUsd: 0.000024 },
  });
  expect(message?.metadata).not.toHaveProperty('paused');
  expect(sent.map(({ body }) => body?.messages)).toMatchObject([[{ role: 'user' }], [{ role: 'assistant' }]]);
});

test('tool results precede the next message, and are sent only for a response that ended with tool calls', () => {
  const call = { type: 'tool-save' as const, toolCallId: 't1', input: {} };
  const answer = (stopReason: string, ...parts: unknown[]) =>
    ({ id: 'a1', role: 'assistant', metadata: { stopReason }, parts: [{ type: 'step-start' }, ...parts] }) as UIMessage;
  const given = answer('tool_use', { ...call, state: 'output-available', output: { ok: true } });
  expect(buildNextMessageContent([hello, given])).toEqual([
    { type: 'tool_result', tool_use_id: 't1', content: '{"ok":true}' },
  ]);
  const failed = answer('tool_use', { ...call, state: 'output-error', errorText: 'no' });
  expect(buildNextMessageContent([hello, failed, hello])).toEqual([
    { type: 'tool_result', tool_use_id: 't1', content: 'no', is_error: true },
    { type: 'text', text: 'Hello' },
  ]);
  const ignored = answer('tool_use', { ...call, state: 'input-available' });
  expect(buildNextMessageContent([ignored, hello])[0]).toMatchObject({ tool_use_id: 't1', is_error: true });
  expect(buildNextMessageContent([answer('end_turn', { ...call, state: 'input-available' }), hello])).toEqual([
    { type: 'text', text: 'Hello' },
  ]);
  const sent = answer(
    'tool_use',
    { ...call, state: 'output-available', output: 1 },
    { type: 'step-start' },
    {
      ...call,
      toolCallId: 't2',
      state: 'output-available',
      output: 'two',
    },
  );
  expect(buildNextMessageContent([sent])).toEqual([{ type: 'tool_result', tool_use_id: 't2', content: 'two' }]);
});

test('files become images and documents, and an unsupported type throws an error', () => {
  const file = (mediaType: string, url: string) =>
    buildNextMessageContent([user({ type: 'file', mediaType, url, filename: 'f' })])[0];
  expect(file('image/png', 'data:image/png;base64,AAAA')).toEqual({
    type: 'image',
    source: { type: 'base64', media_type: 'image/png', data: 'AAAA' },
  });
  expect(file('image', 'https://example.com/a.png')).toMatchObject({ source: { type: 'url' } });
  expect(file('application/pdf', 'data:application/pdf;base64,AAAA')).toMatchObject({
    type: 'document',
    title: 'f',
    source: { type: 'base64' },
  });
  expect(file('text/plain', `data:text/plain;charset=utf-8;base64,${btoa('\u00c3\u00a9')}`)).toMatchObject({
    source: { data: 'é' },
  });
  expect(file('text/csv', 'data:text/csv,a%2Cb')).toMatchObject({ source: { type: 'text', data: 'a,b' } });
  expect(() => file('video/mp4', 'data:video/mp4;base64,AAAA')).toThrow('video/mp4');
});

const row = (id: string, role: 'user' | 'assistant', content: ConversationMessage['content'], more = {}) =>
  ({
    type: 'message',
    id,
    role,
    content,
    usage: null,
    cost_usd: null,
    created_at: '',
    status: 'complete',
    ...more,
  }) as ConversationMessage;

describe.each([0, 1_000, 600_000])('if streams are resumed for %d ms', (resumeMs) => {
  test.each<[string, () => Response | Promise<Response>]>([
    ['is rejected', () => Response.json(envelope('permission_error'), { status: 403 })],
    ['is not found', () => Response.json(envelope('not_found_error'), { status: 404 })],
    ['cannot be reached', () => Promise.reject(new TypeError('fetch failed'))],
    ['fails', () => Response.json(envelope('api_error'), { status: 500 })],
    ['is silent', () => streamed(bytesOf(''), 'silence')],
  ])('shows the stored response if the rest of its stream %s', async (_, fail) => {
    const text = 'The river is long and wide.';
    const frames = framesOf('turn_a', answerOf(text)).slice(0, 4).join('');
    const answer = row('msg_1', 'assistant', [{ type: 'text', text }], { turn: 'turn_a', stop_reason: 'end_turn' });
    const { client, until } = fakeEdge(
      ({ path }, count) => {
        if (count === 1) return streamed(bytesOf(frames), 'break');
        return path.includes('/messages?') ? Response.json({ data: [answer], has_more: false, last_id: null }) : fail();
      },
      { patience: { silenceMs: 45_000, beginMs: 60_000, resumeMs } },
    );
    const stream = await createChatTransport({ client }).sendMessages(sending([hello]));
    expect(await until(messageOf(stream))).toMatchObject({
      metadata: { turn: 'turn_a', stopReason: 'end_turn' },
      parts: [{ type: 'step-start' }, { type: 'text', text, state: 'done' }],
    });
  });
});

const rows = [
  row('m1', 'user', 'Save it'),
  row('m2', 'assistant', [{ type: 'tool_use', id: 't1', name: 'save', input: { a: 1 } }], { cost_usd: 0.1 }),
  row('m3', 'user', [{ type: 'tool_result', tool_use_id: 't1', content: 'ok' }]),
  row('m4', 'assistant', [{ type: 'text', text: 'Saved.' }], { cost_usd: 0.2 }),
  row('m5', 'user', [
    { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AAAA' } },
    { type: 'text', text: 'What?' },
  ]),
];

test('a response with its tool calls becomes one message of the history', () => {
  expect(toUIMessages(rows)).toMatchObject([
    { id: 'm1', role: 'user', parts: [{ type: 'text', text: 'Save it' }] },
    {
      id: 'm2',
      role: 'assistant',
      metadata: { costUsd: 0.3, stopReason: 'end_turn' },
      parts: [
        { type: 'step-start' },
        { type: 'tool-save', state: 'output-available', output: 'ok' },
        { type: 'step-start' },
        { type: 'text', text: 'Saved.' },
      ],
    },
    {
      id: 'm5',
      parts: [{ type: 'file', mediaType: 'image/png', url: 'data:image/png;base64,AAAA' }, { type: 'text' }],
    },
  ]);
});

test.each(['stopped', 'interrupted'])('a response that was %s has no reason in the history', (status) => {
  const [message] = toUIMessages([row('m1', 'assistant', 'One, two', { status, stop_reason: null })]);
  expect(message?.metadata).toMatchObject({ stopReason: null, stopped: status === 'stopped' });
});

describe('a call that waits for approval', () => {
  const call = { type: 'mcp_tool_use', id: 't1', name: 'save', input: { a: 1 }, server_name: 'edge' };
  const result = {
    type: 'mcp_tool_result',
    tool_use_id: 't1',
    is_error: false,
    content: [{ type: 'text', text: 'ok' }],
  };
  const approval = {
    id: 'a1',
    tool_use_id: 't1',
    name: 'save',
    input: { a: 1 },
    input_text: '{"a":1.0}',
    approvers: 'owner',
  };
  const told = (turn: string, blocks: readonly object[], stop_reason: string) => [
    ...framesOf(turn, [
      start as { type: string },
      ...blocks.flatMap((block, index) => [begins(index, block), stops(index)]),
      { type: 'message_delta', delta: { stop_reason }, usage: { output_tokens: 5 } },
    ] as { type: string }[]),
    ...(stop_reason === 'pause_turn' ? [': sluice-paused=approval\n\n'] : []),
    ...framesOf(turn, Array<{ type: string }>(20).fill({ type: 'message_stop' })).slice(-1),
  ];
  const bytes = (...given: Parameters<typeof told>) => streamed(bytesOf(told(...given).join('') + PRICE));

  test.each([
    [
      'the call asks, with the input that a restricted token’s stream does not show',
      200,
      'approval-requested',
      { a: 1 },
    ],
    ['the call only waits, where the token decides on none', 403, 'input-available', {}],
  ])('%s', async (_, status, state, input) => {
    const row1 = row('msg_1', 'assistant', [{ ...call, input: {} }], { stop_reason: 'pause_turn', paused: 'approval' });
    const { client, until } = fakeEdge(({ path }) => {
      if (path.includes('/approvals')) {
        return Response.json(status === 200 ? { data: [approval] } : envelope('permission_error'), { status });
      }
      if (path !== '/messages') return Response.json({ data: [row1], has_more: false });
      return bytes('turn_a', [{ ...call, input: {} }], 'pause_turn');
    });
    const transport = createChatTransport({ client });
    const live = await until(messageOf(await until(transport.sendMessages(sending([hello])))));
    const { input_text } = approval;
    const text = status === 200 ? { callProviderMetadata: { sluice: { input_text } } } : {};
    const part = { type: 'tool-save', toolCallId: 't1', state, input, ...text };
    expect(live?.parts).toMatchObject([{ type: 'step-start' }, part]);
    const [loaded] = await until(loadMessages(client, 'c1'));
    expect(loaded?.parts).toMatchObject([{ type: 'step-start' }, part]);
  });

  test('a resumed stream contains the call once, even if the history already contains its turn', async () => {
    const answer = { type: 'text', text: 'Done.' };
    const data = [
      row('m1', 'user', 'Save it', { turn: 'turn_a' }),
      row('m2', 'assistant', [call, result], { turn: 'turn_a', paused: 'approval' }),
      row('m3', 'assistant', [answer], { turn: 'turn_b' }),
    ];
    const { client, until } = fakeEdge(({ path }) => {
      if (!path.includes('/stream')) return Response.json({ data, has_more: false });
      return streamed(bytesOf(told('turn_b', [call, result, answer], 'end_turn').join('') + PRICE), 'end', 'turn_b');
    });
    const stream = await until(createChatTransport({ client }).reconnectToStream({ chatId: 'c1' }));
    if (!stream) throw new TypeError('nothing to resume');
    expect(await until(messageOf(stream))).toMatchObject({
      id: 'm2',
      parts: [
        { type: 'step-start' },
        { type: 'tool-save', toolCallId: 't1', state: 'output-available', output: 'ok' },
        { type: 'step-start' },
        { type: 'text', text: 'Done.' },
      ],
    });
  });
});

test('regenerating or editing a message rewinds the conversation to just before its question', async () => {
  const { client, sent, until } = fakeEdge(({ path }) => {
    if (path.includes('/messages?')) return Response.json({ data: rows, has_more: false, last_id: 'm5' });
    if (path.endsWith('/rewind')) return Response.json({});
    return streamed(bytesOf(framesOf('turn_a', answerOf('Yes.')).join('') + PRICE));
  });
  const transport = createChatTransport({ client });
  const history = toUIMessages(rows);
  const again = sending(history, { trigger: 'regenerate-message', messageId: 'a9' });
  await until(messageOf(await until(transport.sendMessages(again))));
  expect(sent.find(({ path }) => path.endsWith('/rewind'))?.body).toEqual({ before: 'm5' });
  sent.length = 0;
  const edited = sending([{ ...hello, id: 'm1' }], { messageId: 'm1' });
  await until(messageOf(await until(transport.sendMessages(edited))));
  expect(sent.find(({ path }) => path.endsWith('/rewind'))?.body).toEqual({ before: 'm1' });
});

test.each([
  ['the last of three answers', 3, 'q3'],
  ['the second', 2, 'q2'],
  ['the first', 1, 'q1'],
])(
  'regenerating %s rewinds to just before its question, even if all responses have the same id',
  async (_, nth, before) => {
    const [row] = rows;
    if (!row) throw new TypeError('no row');
    const stored = [1, 2, 3].flatMap((turn) => [
      { ...row, id: `q${turn}`, role: 'user' as const, content: `Question ${turn}` },
      { ...row, id: 'same', role: 'assistant' as const, content: [{ type: 'text' as const, text: `Answer ${turn}` }] },
    ]);
    const { client, sent, until } = fakeEdge(({ path }) => {
      if (path.includes('/messages?')) return Response.json({ data: stored, has_more: false, last_id: 'same' });
      if (path.endsWith('/rewind')) return Response.json({});
      return streamed(bytesOf(framesOf('turn_a', answerOf('Yes.')).join('') + PRICE));
    });
    // The app has an answer of its own, which the edge does not know.
    const welcome: UIMessage = { id: 'welcome', role: 'assistant', parts: [{ type: 'text', text: 'Good day.' }] };
    const kept = [welcome, ...toUIMessages(stored as ConversationMessage[]).slice(0, nth * 2 - 1)];
    const again = sending(kept, { trigger: 'regenerate-message', messageId: 'same' });
    await until(messageOf(await until(createChatTransport({ client }).sendMessages(again))));
    expect(sent.find(({ path }) => path.endsWith('/rewind'))?.body).toEqual({ before });
  },
);

test('aborting a resumed stream stops its turn unless the stream is resumed again, and a rejected message throws its error type', async () => {
  const { client, sent, until } = fakeEdge(async ({ path }) => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (path.includes('/stop?')) return Response.json({});
    return streamed(bytesOf(framesOf('turn_a', everything).slice(0, 3).join('')), 'silence');
  });
  const transport = createChatTransport({ client });
  const stops = () => sent.filter(({ path }) => path.includes('/stop?')).length;
  const first = new AbortController();
  await until(transport.reconnectToStream({ chatId: 'c1', abortSignal: first.signal }));
  first.abort();
  const early = new AbortController();
  const replaced = transport.reconnectToStream({ chatId: 'c1', abortSignal: early.signal });
  early.abort();
  const second = new AbortController();
  await until(Promise.all([replaced, transport.reconnectToStream({ chatId: 'c1', abortSignal: second.signal })]));
  await until(new Promise((resolve) => setTimeout(resolve, 100)));
  expect(stops()).toBe(0);
  second.abort();
  await until(new Promise((resolve) => setTimeout(resolve, 2_000)));
  expect(stops()).toBe(1);
  const refusing = fakeEdge(() => Response.json(envelope('billing_error', 'Spent.'), { status: 429 }));
  const refused = createChatTransport({ client: refusing.client });
  await expect(refused.sendMessages(sending([hello]))).rejects.toMatchObject({ type: 'billing_error' });
  const none = fakeEdge(() => Response.json(envelope('not_found_error'), { status: 404 }));
  expect(await createChatTransport({ client: none.client }).reconnectToStream({ chatId: 'c1' })).toBeNull();
  expect(await loadMessages(none.client, 'c1')).toEqual([]);
});

describe.each(['before', 'after'] as const)('a resume that is requested %s a message is sent', (order) => {
  const running = () => streamed(bytesOf(framesOf('turn_a', everything).slice(0, 3).join('')), 'silence');
  const answers: Record<string, () => Response> = {
    'the turn': running,
    nothing: () => new Response(null, { status: 204 }),
    'no conversation': () => Response.json(envelope('not_found_error'), { status: 404 }),
    'a refusal': () => Response.json(envelope('permission_error'), { status: 403 }),
  };
  const cases = Object.keys(answers).flatMap((found) =>
    ['before', 'after'].map((stopped) => [stopped, found] as const),
  );

  test.each(cases)('does not prevent stopping the message %s the resume finds %s', async (stopped, found) => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { client, sent, until } = fakeEdge(async ({ path }) => {
      if (path.includes('/stop?')) return Response.json({});
      if (path === '/messages') return running();
      await held;
      return answers[found]?.() ?? Response.error();
    });
    const aWhile = () => until(new Promise((resolve) => setTimeout(resolve, 2_000)));
    const transport = createChatTransport({ client });
    const resumed = new AbortController();
    const asked = new AbortController();
    const send = () => until(transport.sendMessages(sending([hello], { abortSignal: asked.signal })));
    const stop = () => {
      resumed.abort();
      asked.abort();
    };
    if (order === 'after') await send();
    let answered = false;
    const resuming = transport
      .reconnectToStream({ chatId: 'c1', abortSignal: resumed.signal })
      .catch(() => null)
      .finally(() => {
        answered = true;
      });
    if (order === 'before') await send();
    if (stopped === 'before') {
      stop();
      await aWhile();
      expect(sent.filter(({ path }) => path.includes('/stop?'))).toHaveLength(1);
    }
    release();
    await aWhile();
    // What it would answer beside a message's turn would be taken for that one's end.
    expect(answered).toBe(stopped === 'before');
    if (stopped === 'after') stop();
    await until(resuming);
    await aWhile();
    const key = sent.find(({ path }) => path === '/messages')?.headers.get('idempotency-key');
    const stops = sent.filter(({ path }) => path.includes('/stop?')).map(({ path }) => path);
    const own = ['/conversations/c1/stop?turn=turn_a', `/conversations/c1/stop?key=${key}`];
    expect(stops).toContain(own[1]);
    for (const path of stops) expect(own).toContain(path);
  });
});

test('a message sent right after a stop waits for the stop', async () => {
  let stop = () => {};
  const over = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const { client, sent, until } = fakeEdge(async ({ path }, count) => {
    if (path.includes('/stop?')) await over;
    if (path.includes('/stop?')) return Response.json({});
    const frames = framesOf(`turn_${count}`, answerOf('Yes.'));
    return count === 1
      ? streamed(bytesOf(frames.slice(0, 3).join('')), 'silence', 'turn_1')
      : streamed(bytesOf(frames.join('') + PRICE), 'end', `turn_${count}`);
  });
  const transport = createChatTransport({ client });
  const first = new AbortController();
  await until(transport.sendMessages(sending([hello], { abortSignal: first.signal })));
  first.abort();
  const second = transport.sendMessages(sending([hello]));
  await until(new Promise((resolve) => setTimeout(resolve, 5_000)));
  const key = sent[0]?.headers.get('idempotency-key');
  expect(sent.map(({ path }) => path)).toEqual(['/messages', `/conversations/c1/stop?key=${key}`]);
  stop();
  expect(await until(messageOf(await until(second)))).toMatchObject({
    parts: [{ type: 'step-start' }, { text: 'Yes.' }],
  });
  expect(sent.map(({ path }) => path).slice(2)).toEqual(['/messages']);
});

test('a message that waits for a stop can be aborted', async () => {
  const { client, sent, until } = fakeEdge(({ path }) => {
    if (path.includes('/stop?')) return new Promise(() => {});
    return streamed(bytesOf(framesOf('turn_a', everything).slice(0, 3).join('')), 'silence');
  });
  const transport = createChatTransport({ client });
  const [first, second] = [new AbortController(), new AbortController()];
  await until(transport.sendMessages(sending([hello], { abortSignal: first.signal })));
  first.abort();
  const waiting = transport.sendMessages(sending([hello], { abortSignal: second.signal }));
  second.abort();
  await expect(until(waiting)).rejects.toMatchObject({ name: 'AbortError' });
  expect(sent.filter(({ path }) => path === '/messages')).toHaveLength(1);
});

test('a resume streams the running turn even if a message was rejected because of that turn', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { client, until } = fakeEdge(async ({ path }) => {
    if (path === '/messages') return Response.json(envelope('conflict_error'), { status: 409 });
    await held;
    return streamed(bytesOf(framesOf('turn_a', answerOf('Yes.')).join('') + PRICE));
  });
  const transport = createChatTransport({ client });
  const { signal } = new AbortController();
  const resuming = transport.reconnectToStream({ chatId: 'c1', abortSignal: signal });
  await expect(until(transport.sendMessages(sending([hello])))).rejects.toMatchObject({ type: 'conflict_error' });
  release();
  const stream = await until(resuming);
  if (!stream) throw new TypeError('nothing to resume');
  expect(await until(messageOf(stream))).toMatchObject({ parts: [{ type: 'step-start' }, { text: 'Yes.' }] });
});

test('a resume that finds nothing stays pending after a rejected message until it is aborted', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { client, until } = fakeEdge(async ({ path }) => {
    if (path === '/messages') return Response.json(envelope('invalid_request_error'), { status: 400 });
    await held;
    return new Response(null, { status: 204 });
  });
  const transport = createChatTransport({ client });
  const resumed = new AbortController();
  let answered = false;
  const resuming = transport.reconnectToStream({ chatId: 'c1', abortSignal: resumed.signal }).finally(() => {
    answered = true;
  });
  await expect(until(transport.sendMessages(sending([hello])))).rejects.toMatchObject({
    type: 'invalid_request_error',
  });
  release();
  await until(new Promise((resolve) => setTimeout(resolve, 2_000)));
  expect(answered).toBe(false);
  resumed.abort();
  expect(await until(resuming)).toBeNull();
});

test('a resume requested during a message resolves with null after its response is complete', async () => {
  const { client, until } = fakeEdge(() => streamed(bytesOf(framesOf('turn_a', answerOf('Yes.')).join('') + PRICE)));
  const transport = createChatTransport({ client });
  const answer = await until(transport.sendMessages(sending([hello])));
  const resuming = transport.reconnectToStream({ chatId: 'c1', abortSignal: new AbortController().signal });
  expect(await until(messageOf(answer))).toMatchObject({ parts: [{ type: 'step-start' }, { text: 'Yes.' }] });
  expect(await until(resuming)).toBeNull();
});

describe('reconnectToStream after loading a history that ends with an unanswered question', () => {
  const row = { type: 'message', id: 'm1', role: 'user', content: 'Hello', turn: 'turn_a', status: 'complete' };
  const edge = (stream: (after: string | null) => Response) =>
    fakeEdge(({ path, headers }) => {
      if (path.includes('/stream')) return stream(headers.get('last-event-id'));
      return path === '/messages'
        ? streamed(bytesOf(framesOf('turn_b', answerOf('Anew.')).join('') + PRICE))
        : Response.json({ data: [row], has_more: false });
    });
  const resume = { chatId: 'c1', abortSignal: new AbortController().signal };

  test('resumes the response even if its turn ended before the resume', async () => {
    const { client, until } = edge((after) =>
      after === 'turn_a-0'
        ? streamed(bytesOf(framesOf('turn_a', answerOf('Yes.')).join('') + PRICE))
        : new Response(null, { status: 204 }),
    );
    const transport = createChatTransport({ client });
    expect(await until(loadMessages(client, 'c1'))).toMatchObject([{ role: 'user' }]);
    // As a tree in strict mode does: the first resume is given up at once.
    const first = new AbortController();
    void transport.reconnectToStream({ chatId: 'c1', abortSignal: first.signal });
    first.abort();
    const stream = await until(transport.reconnectToStream(resume));
    if (!stream) throw new TypeError('nothing to resume');
    expect(await until(messageOf(stream))).toMatchObject({ parts: [{ type: 'step-start' }, { text: 'Yes.' }] });
  });

  test('resumes nothing if the turn’s events are no longer stored or another message was sent since', async () => {
    const asked: (string | null)[] = [];
    const { client, until } = edge((after) => {
      asked.push(after);
      return after === null
        ? new Response(null, { status: 204 })
        : Response.json(envelope('not_found_error'), { status: 410 });
    });
    const transport = createChatTransport({ client });
    await until(loadMessages(client, 'c1'));
    expect(await until(transport.reconnectToStream(resume))).toBeNull();
    await until(messageOf(await until(transport.sendMessages(sending([hello])))));
    expect(await until(transport.reconnectToStream(resume))).toBeNull();
    expect(asked).toEqual(['turn_a-0', null]);
  });
});

test('a resume returns the complete response after a cut, even if its turn has ended and its events are gone', async () => {
  const row = { type: 'message', id: 'msg_1', role: 'assistant', turn: 'turn_a', model: 'm', paused: null };
  const answer = { ...row, content: [{ type: 'text', text: 'Yes. No.' }], status: 'complete', stop_reason: 'end_turn' };
  let isNear = false;
  const { client, until } = fakeEdge(({ path, headers }) => {
    if (path.includes('/messages?') && isNear)
      return Response.json({ data: [{ ...answer, usage: null, cost_usd: null }], has_more: false });
    if (path === '/messages' && !isNear)
      return streamed(bytesOf(framesOf('turn_a', answerOf('Yes. No.')).slice(0, 3).join('')), 'break');
    if (!isNear) throw new TypeError('fetch failed');
    if (headers.get('last-event-id') === null) return new Response(null, { status: 204 });
    return Response.json(envelope('not_found_error'), { status: 410 });
  });
  const transport = createChatTransport({ client });
  const cut = await until(transport.sendMessages(sending([hello])));
  await until(messageOf(cut).catch(() => undefined));
  isNear = true;
  const stream = await until(transport.reconnectToStream({ chatId: 'c1' }));
  if (!stream) throw new TypeError('ready with half an answer');
  expect(await until(messageOf(stream))).toMatchObject({
    id: 'msg_1',
    parts: [{ type: 'step-start' }, { text: 'Yes. No.' }],
  });
  expect(await until(transport.reconnectToStream({ chatId: 'c1' }))).toBeNull();
});

test('a resume that was replaced before it got a response does not delay a message', async () => {
  const { client, sent, until } = fakeEdge(({ path }) => {
    if (path !== '/messages') return new Promise(() => {});
    return streamed(bytesOf(framesOf('turn_a', answerOf('Yes.')).join('') + PRICE));
  });
  const transport = createChatTransport({ client });
  const [first, second] = [new AbortController(), new AbortController()];
  void transport.reconnectToStream({ chatId: 'c1', abortSignal: first.signal });
  first.abort();
  void transport.reconnectToStream({ chatId: 'c1', abortSignal: second.signal });
  await until(messageOf(await until(transport.sendMessages(sending([hello])))));
  expect(sent.some(({ path }) => path.includes('/stop'))).toBe(false);
});
