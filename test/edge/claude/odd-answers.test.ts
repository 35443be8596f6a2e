import { describe, expect, test } from 'vitest';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { createBody, createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { contentBlock, messageEnd, sseEvent, sseResponse } from '#test/support/wire.ts';

/** What is lawful, or comes from something that stands before the API, but not as the API itself writes it. */
const MESSAGE = {
  type: 'message',
  model: 'claude-haiku-4-5-20251001',
  content: [{ type: 'text', text: 'Hi' }],
  stop_reason: 'end_turn',
  usage: { input_tokens: 1_000, output_tokens: 100 },
};
const ASKED = { model: 'claude-haiku-4-5', max_tokens: 10, messages: [{ role: 'user', content: 'Hi' }] };
/** The two ways that a request goes: relayed, and with a conversation. */
const WAYS = [
  ['relayed', {}],
  ['of a conversation', { conversation: 'c' }],
] as const;

/** An edge whose relay and whose conversations get this answer; `asked` counts how often. */
function edge(answer: (stream: unknown) => Response, vars = {}): TestApp & { asked: () => number } {
  let asked = 0;
  const given = (text: string) => {
    asked += 1;
    return answer((JSON.parse(text) as { stream?: unknown }).stream);
  };
  installSimulator({ UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-test', UPSTREAM_MAX_RETRIES: '2', ...vars });
  setConversationUpstream(async (_, { body }) => given(await new Response(body ?? '').text()));
  return { ...createTestApp(({ text }) => given(text), vars), asked: () => asked };
}

let conversations = 0;
/** A body that asks on one of the ways, each time in a conversation of its own. */
function asking(way: object): object {
  conversations += 1;
  return { ...ASKED, ...way, ...('conversation' in way && { conversation: `odd-${conversations}` }) };
}

describe.each([...WAYS, ['that rides', { stream: false, max_tokens: 32_000 }] as const])(
  'a response (%s)',
  (_, way) => {
    test.each([
      ['and tells its output', 'end', (output: number) => messageEnd({ output_tokens: output })],
      ['and tells nothing', 'end', () => messageEnd({})],
      ['and fails', 'end', () => sseEvent('error', { error: { type: 'overloaded_error', message: 'Overloaded' } })],
      ['and breaks off', 'cut', () => ''],
    ] as const)('that omits message_start %s is charged one to ten times its cost', async (_said, how, ending) => {
      const letters = 'The gate of a sluice rises. '.repeat(200);
      const [input, output] = [1_000, Math.ceil(letters.length / 3)];
      const stream = contentBlock({ type: 'text', text: '' }, [{ type: 'text_delta', text: letters }]) + ending(output);
      const app = edge(() => sseResponse(createBody([stream], how)), { DEFAULT_LIMITS: '{"usd_per_day":1000}' });
      const content = 'word '.repeat(input);
      const response = await app.post('/messages', {
        ...asking({ max_tokens: 4_096, ...way }),
        messages: [{ role: 'user', content }],
      });
      await response.text();
      await app.waitUntilSettled();
      const [line] = app.log;
      const { input: dear, output: dearer } = { input: 1_000, output: 5_000 };
      const bill = (input * dear + output * dearer) / 1e9;
      expect(line?.cost_usd).toBeGreaterThanOrEqual(bill);
      expect(line?.cost_usd).toBeLessThanOrEqual(10 * bill);
    });
  },
);

describe.each(WAYS)('a response (%s)', (_, way) => {
  test.each([
    ['ends its lines with CR', TEXT_STREAM.replaceAll('\n', '\r'), 'text/event-stream'],
    ['ends its lines with CRLF', TEXT_STREAM.replaceAll('\n', '\r\n'), 'text/event-stream'],
    ['begins with a byte order mark', `\uFEFF${TEXT_STREAM}`, 'text/event-stream'],
    ['names no events', TEXT_STREAM.replace(/^event: .*\n/gm, ''), 'text/event-stream'],
    ['is Text/Event-Stream', TEXT_STREAM, 'Text/Event-Stream; charset=UTF-8'],
  ])('that %s is metered correctly and gets no error', async (_, stream, type) => {
    for (const pieces of [[stream], [stream.slice(0, 2), stream.slice(2, 701), stream.slice(701)]]) {
      const app = edge(() => new Response(createBody(pieces), { headers: { 'content-type': type } }));
      const response = await app.post('/messages', asking(way));
      const text = await response.text();
      await app.waitUntilSettled();
      expect(response.status).toBe(200);
      expect(text).toContain('message_stop');
      expect(text).not.toContain('event: error');
      const [line] = app.log;
      expect(line).toMatchObject({
        cost_usd: 0.00013552,
        tokens: { input: 25, output: 15, cache_read: 7, cache_write: 12 },
      });
      expect(line).not.toHaveProperty('error_type');
    }
  });

  test.each(['zstd', 'deflate', 'gzip, br', 'X-OTHER'])(
    'in an unsupported encoding (%s) is rejected without a retry',
    async (encoding) => {
      for (const type of ['text/event-stream', 'application/json']) {
        const headers = { 'content-type': type, 'content-encoding': encoding };
        const app = edge(
          () => new Response(createBody([new Uint8Array([40, 181, 47, 253])]), { headers, encodeBody: 'manual' }),
        );
        const response = await app.post('/v1/messages', asking(way));
        expect(response.status).toBe(500);
        expect(response.headers.get('x-should-retry')).toBe('false');
        expect((await readError(response)).message).toContain('encoding');
        await app.waitUntilSettled();
        expect(app.asked()).toBe(1);
        expect(app.log[0]?.error_type).toBe(`upstream_encoding: ${encoding.toLowerCase()}`);
      }
    },
  );

  test('that is an error keeps its status in an unsupported encoding', async () => {
    const headers = { 'content-type': 'application/json', 'content-encoding': 'zstd', 'x-should-retry': 'false' };
    const app = edge(
      () =>
        new Response(createBody([new Uint8Array([40, 181, 47, 253])]), { status: 529, headers, encodeBody: 'manual' }),
    );
    const response = await app.post('/v1/messages', asking(way));
    expect(response.status).toBe(529);
    expect(response.headers.has('content-encoding')).toBe(false);
    expect((await readError(response)).type).toBe('overloaded_error');
    await app.waitUntilSettled();
  });

  test('omits the priority rate-limit headers of the upstream', async () => {
    const headers = { 'anthropic-priority-input-tokens-limit': '9', 'anthropic-priority-output-tokens-remaining': '3' };
    const app = edge(() => Response.json(MESSAGE, { headers }));
    const response = await app.post('/v1/messages', asking(way));
    expect([...response.headers.keys()].filter((name) => name.includes('priority'))).toEqual([]);
    await response.text();
    await app.waitUntilSettled();
  });

  test.each([
    'Claude Mythos 5.2 is not available to your organization. Choose another model.',
    'The beta feature "fast" is not permitted for this request.',
  ])('with a 403 about the request is returned to the caller: %s', async (message) => {
    const body = { type: 'error', error: { type: 'permission_error', message }, request_id: 'req_up' };
    const app = edge(() => Response.json(body, { status: 403 }));
    const response = await app.post('/v1/messages', asking(way));
    expect(response.status).toBe(403);
    expect(await readError(response)).toMatchObject({ type: 'permission_error', message });
    await app.waitUntilSettled();
    expect(app.log[0]).toMatchObject({ status: 403 });
    expect(app.log[0]?.error_type).not.toBe('upstream_auth');
  });

  test.each([
    ['permission_error', 'Your API key does not have permission to use the specified resource.'],
    ['permission_error', 'OAuth authentication is currently not allowed for this organization.'],
    ['permission_error', 'This organization has been disabled.'],
    ['permission_error', 'User: arn:aws:iam::1:user/x is not authorized to perform: bedrock:InvokeModel'],
    ['permission_error', 'Organization 0b4e8c1d-77aa-4d0e-9a55-2f1c3d4e5f60 has no access to this model.'],
    ['permission_error', ''],
    ['forbidden', 'Request not allowed'],
  ])('with a 403 about the deployment is hidden from the caller: %s, %s', async (type, message) => {
    const refusal = () => Response.json({ type: 'error', error: { type, message } }, { status: 403 });
    // In development the caller is the operator.
    const app = edge(refusal, DEPLOYED_VARS);
    const response = await app.post('/v1/messages', asking(way), bearerHeader(await createToken('somebody')));
    expect(response.status).toBe(500);
    const told = await readError(response);
    if (message !== '') expect(told.message).not.toContain(message);
    await app.waitUntilSettled();
    expect(app.log[0]?.error_type).toBe('upstream_auth');
  });

  test('to "stream": null is not a stream, on both routes', async () => {
    for (const path of ['/messages', '/v1/messages']) {
      const app = edge((stream) => (stream === true ? sseResponse(createBody([TEXT_STREAM])) : Response.json(MESSAGE)));
      const response = await app.post(path, { ...asking(way), stream: null });
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({ type: 'message', stop_reason: 'end_turn' });
      await app.waitUntilSettled();
    }
  });
});

test('returns a complete error body for an error without a message or with status 200', async () => {
  const error = (told: object) => ({ type: 'error', error: told });
  for (const [status, body, expected] of [
    [400, error({ type: 'invalid_request_error' }), [400, 'invalid_request_error']],
    [200, error({ type: 'invalid_request_error', message: 'Too odd' }), [400, 'invalid_request_error']],
    [200, error({ type: 'overloaded_error' }), [529, 'overloaded_error']],
  ] as const) {
    const app = edge(() => Response.json(body, { status }), { UPSTREAM_MAX_RETRIES: '0' });
    const response = await app.post('/v1/messages', ASKED);
    const told = (await response.json()) as {
      type: string;
      error: { type: string; message: string };
      request_id: string;
    };
    expect([response.status, told.error.type]).toEqual(expected);
    expect(told).toMatchObject({ type: 'error', request_id: expect.stringMatching(/^req_/) });
    expect(told.error.message).toMatch(/\w/);
    expect(response.headers.get('cache-control')).toBe('no-store');
  }
});
