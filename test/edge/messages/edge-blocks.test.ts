import fc from 'fast-check';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { restoreEdgeCallsInBody } from '#edge/conversations/views/edge-blocks.ts';
import { runInSteps } from '#edge/kit/async/run-in-steps.ts';
import { parseJsonInSteps, parseLongJsonInSteps } from '#edge/kit/http/read-json.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { setBatchUpstream } from '#test/support/batch-objects.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';

const MODEL = 'claude-haiku-5-5';
const use = (id: string, input: unknown = { city: 'Bern' }) => ({
  type: 'mcp_tool_use',
  id,
  name: 'get_weather',
  input,
  server_name: 'edge',
});
const result = (id: string, text: string, is_error = false) => ({
  type: 'mcp_tool_result',
  tool_use_id: id,
  is_error,
  content: [{ type: 'text', text }],
});
const text = (said: string) => ({ type: 'text', text: said });
const question = { role: 'user', content: 'How is the weather?' };

const SHOWN = [
  question,
  {
    role: 'assistant',
    content: [
      text('I look. '),
      use('toolu_1'),
      use('toolu_2'),
      result('toolu_2', 'no such city', true),
      result('toolu_1', 'sun'),
      text('Once more. '),
      use('toolu_3'),
      { type: 'tool_use', id: 'toolu_4', name: 'ask_user', input: {} },
    ],
  },
  { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'toolu_4', content: 'yes' }] },
];
const called = (id: string) => ({ type: 'tool_use', id, name: 'get_weather', input: { city: 'Bern' } });
const REPLAYED = [
  question,
  { role: 'assistant', content: [text('I look. '), called('toolu_1'), called('toolu_2')] },
  {
    role: 'user',
    content: [
      { type: 'tool_result', tool_use_id: 'toolu_1', content: [text('sun')] },
      { type: 'tool_result', tool_use_id: 'toolu_2', content: [text('no such city')], is_error: true },
    ],
  },
  {
    role: 'assistant',
    content: [text('Once more. '), called('toolu_3'), { type: 'tool_use', id: 'toolu_4', name: 'ask_user', input: {} }],
  },
  {
    role: 'user',
    content: [
      {
        type: 'tool_result',
        tool_use_id: 'toolu_3',
        content: 'The result of this call is not known.',
        is_error: true,
      },
      { type: 'tool_result', tool_use_id: 'toolu_4', content: 'yes' },
    ],
  },
];

let app: TestApp;
beforeEach(() => {
  const message = { type: 'message', role: 'assistant', model: MODEL, content: [], stop_reason: 'end_turn' };
  app = createTestApp(({ url }) =>
    url.pathname.endsWith('count_tokens')
      ? Response.json({ input_tokens: 3 })
      : Response.json({ ...message, usage: { input_tokens: 1, output_tokens: 1 } }),
  );
});
describe('Sluice’s tool calls in the history of a message without a conversation', () => {
  test.each(['/v1/messages', '/messages', '/v1/messages/count_tokens', '/count-tokens'])(
    'are sent by %s as client tool calls and results',
    async (path) => {
      const more = path.endsWith('messages') ? { max_tokens: 10, stream: false } : {};
      const response = await app.post(path, { model: MODEL, ...more, messages: SHOWN });
      expect(response.status, await response.clone().text()).toBe(200);
      expect(JSON.parse(app.sent.at(-1)?.text ?? '')).toEqual({ model: MODEL, ...more, messages: REPLAYED });
      expect(findBrokenRule(REPLAYED as never)).toBeUndefined();
    },
  );

  test('are sent in a batch as client tool calls and results', async () => {
    const sent: string[] = [];
    setBatchUpstream(async (_, { body }) => {
      sent.push(await new Response(body ?? '').text());
      return Response.json({ error: { type: 'api_error', message: 'not today' } }, { status: 500 });
    });
    const params = { model: MODEL, max_tokens: 10, messages: SHOWN };
    await app.post('/v1/messages/batches', { requests: [{ custom_id: 'a', params }] });
    const bodies = [...sent, ...app.sent.map(({ text }) => text)].filter((body) => body.includes('custom_id'));
    expect(JSON.parse(bodies[0] ?? '')).toEqual({
      requests: [{ custom_id: 'a', params: { ...params, messages: REPLAYED } }],
    });
  });

  test('are recognized by the server name `edge`: callers cannot use that name, other servers are unchanged', async () => {
    const ask = { model: MODEL, max_tokens: 10, stream: false, messages: [question] };
    const server = { type: 'url', url: 'https://mcp.example.com', name: 'edge' };
    const items = { requests: [{ custom_id: 'a', params: { ...ask, mcp_servers: [server] } }] };
    for (const [path, body] of [
      ['/v1/messages', { ...ask, mcp_servers: [server] }],
      ['/v1/messages/count_tokens', { model: MODEL, messages: [question], mcp_servers: [server] }],
      ['/v1/messages/batches', items],
    ] as const) {
      const { type, message } = await readError(await app.post(path, body));
      expect([type, message]).toEqual(['invalid_request_error', expect.stringContaining('mcp_servers: ')]);
    }
    expect(app.sent).toEqual([]);
    const others = [{ ...use('mcptoolu_1'), server_name: 'other' }, result('mcptoolu_1', 'sun'), text('Sun.')];
    const body = ` ${JSON.stringify({ ...ask, messages: [question, { role: 'assistant', content: others }, question] }, undefined, 1)} `;
    await app.post('/v1/messages', body);
    expect(app.sent.at(-1)?.text).toBe(body);
  });

  test('may be malformed: the forwarded body stays JSON, and an invalid message is rejected', async () => {
    const member = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      // The last one cannot become a string by itself.
      fc.constantFrom<unknown>('toolu_1', 'edge', 'assistant', { toString: 7 }),
    );
    const kinds = fc.constantFrom('mcp_tool_use', 'mcp_tool_result', 'tool_use', 'text', 7);
    const block = fc.record(
      {
        type: kinds,
        id: member,
        tool_use_id: member,
        name: member,
        input: member,
        content: member,
        text: member,
        server_name: fc.constant('edge'),
      },
      { requiredKeys: ['type'] },
    );
    const content = fc.oneof(fc.array(fc.oneof(block, member)), member);
    const message = fc.record({ role: fc.constantFrom('user', 'assistant', 3), content }, { requiredKeys: [] });
    await tryAsyncCases(100, fc.array(fc.oneof(message, member)), async (messages) => {
      const bytes = new TextEncoder().encode(JSON.stringify({ model: MODEL, messages }));
      const body = await restoreEdgeCallsInBody(await runInSteps(parseJsonInSteps(bytes)));
      expect(JSON.parse(body.text)).toEqual(body.json);
    });
    const nothing = { role: 'user', content: 5 };
    const messages = [question, { role: 'assistant', content: [use('toolu_1')] }, nothing];
    const { type } = await readError(await app.post('/v1/messages', { model: MODEL, max_tokens: 10, messages }));
    expect([type, app.sent]).toEqual(['invalid_request_error', []]);
  });

  test('are restored to the stored messages, for any length and any content between them', async () => {
    const said = fc.constantFrom('I look.', 'Well. ', 'x'.repeat(3_000));
    // As JSON has them: it knows no -0.
    const input = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown);
    const call = fc.record({ input, result: said, isError: fc.boolean() });
    const step = fc.record({ text: said, calls: fc.array(call, { minLength: 1, maxLength: 3 }) });
    const run = fc.record({ steps: fc.array(step, { maxLength: 3 }), end: said, next: said });
    await tryAsyncCases(100, fc.array(run, { minLength: 1, maxLength: 3 }), fc.boolean(), async (runs, isLong) => {
      let ids = 0;
      const shown: JsonObject[] = [];
      const stored: JsonObject[] = [];
      for (const { steps, end, next } of runs) {
        const blocks: JsonObject[] = [];
        for (const user of [{ role: 'user', content: next }]) {
          shown.push(user);
          stored.push(user);
        }
        for (const { text: told, calls } of steps) {
          const all = calls.map((one) => {
            ids += 1;
            return { ...one, id: `toolu_${ids}` };
          });
          blocks.push(text(told), ...all.map(({ id, input }) => use(id, { input })));
          blocks.push(...all.map(({ id, result: given, isError }) => result(id, given, isError)).reverse());
          stored.push(
            {
              role: 'assistant',
              content: [text(told), ...all.map(({ id, input }) => ({ ...called(id), input: { input } }))],
            },
            {
              role: 'user',
              content: all.map(({ id, result: given, isError }) => ({
                type: 'tool_result',
                tool_use_id: id,
                content: [text(given)],
                ...(isError ? { is_error: true } : {}),
              })),
            },
          );
        }
        shown.push({ role: 'assistant', content: [...blocks, text(end)] });
        stored.push({ role: 'assistant', content: [text(end)] });
      }
      const document = isLong ? [{ role: 'user', content: 'y'.repeat(200_000) }] : [];
      const sent = { model: MODEL, messages: [...document, ...shown], note: '\u2028 "edge"' };
      const bytes = new TextEncoder().encode(JSON.stringify(sent));
      const body = await restoreEdgeCallsInBody(
        await runInSteps(isLong ? parseLongJsonInSteps(bytes) : parseJsonInSteps(bytes)),
      );
      const up = JSON.parse(new TextDecoder().decode(body.bytes)) as JsonObject;
      expect(up).toEqual({ ...sent, messages: [...document, ...stored] });
      expect(findBrokenRule(up.messages as never)).toBeUndefined();
    });
  });

  test('are restored with many yields to the event loop if one message has thousands of them', async () => {
    const blocks = Array.from({ length: 2_000 }, (_, nth) => [use(`toolu_${nth}`), result(`toolu_${nth}`, 'x')]).flat();
    const messages = [question, { role: 'assistant', content: blocks }, question];
    const bytes = new TextEncoder().encode(JSON.stringify({ model: MODEL, messages }));
    const body = await runInSteps(parseJsonInSteps(bytes));
    const breaks = vi.spyOn(globalThis, 'setTimeout');
    const { json } = await restoreEdgeCallsInBody(body);
    // As many as there are 64 kB in what is read twice, and as many steps.
    expect(breaks.mock.calls.length).toBeGreaterThan((2 * bytes.length) / 65_536);
    breaks.mockClear();
    expect(json.messages).toHaveLength(4_001);
    const short = { model: MODEL, messages: [question, { role: 'assistant', content: blocks.slice(0, 20) }, question] };
    await restoreEdgeCallsInBody(await runInSteps(parseJsonInSteps(new TextEncoder().encode(JSON.stringify(short)))));
    expect(breaks).not.toHaveBeenCalled();
  });

  test('may be restored to more than 5,000 messages in an import, but not in a turn', async () => {
    const blocks = Array.from({ length: 2_500 }, (_, nth) => [use(`toolu_${nth}`), result(`toolu_${nth}`, 'x')]).flat();
    const messages = [question, { role: 'assistant', content: blocks }, question];
    const refused = await app.post('/v1/messages', { model: MODEL, max_tokens: 10, conversation: 'c1', messages });
    expect([refused.status, await readError(refused)]).toMatchObject([
      400,
      { message: expect.stringMatching(/at most 5000/) },
    ]);
    expect((await app.post('/conversations', { id: 'c1', messages })).status).toBe(201);
  });
});
