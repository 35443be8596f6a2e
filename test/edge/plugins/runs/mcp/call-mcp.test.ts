import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { pipeline, Readable } from 'node:stream';
import { describe, expect, onTestFinished, test } from 'vitest';
import { encodeUtf8 } from '#edge/kit/http/bytes.ts';
import { callTool } from '#edge/plugins/runs/call-tool.ts';
import { callMcpTool } from '#edge/plugins/runs/mcp/call-mcp.ts';
import type { McpToolRunConfig } from '#edge/plugins/runs/mcp/mcp.schema.ts';
import { McpSessions } from '#edge/plugins/runs/mcp/session.ts';
import type { ToolCallOptions } from '#edge/plugins/runs/tool-kind.ts';
import { MOST_STEP_BYTES } from '#edge/plugins/runs/tool-result.ts';
import { withAddressCheck } from '#edge/plugins/runs/tools/addresses.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  type McpMode,
  type McpTestServer,
  PIXEL,
  startHttpServer,
  startMcpServer,
  startSessionlessMcpServer,
} from '#test/support/mcp-server.ts';

const SECRET = 'Bearer s3cret';

/** Calls tools of a server, in one run. */
function callsOf({ url, host }: { url: string; host: string }, more: Partial<ToolCallOptions> = {}) {
  const sessions = new McpSessions();
  onTestFinished(() => sessions.close());
  const resultBytes = { left: MOST_STEP_BYTES };
  const settings = {
    TOOL_HOSTS: [host],
    TOOL_SIGNING_SECRET: undefined,
    vars: { TOOL_SECRET_MCP: `${host}=${SECRET}` },
    development: true,
  };
  const call = async (tool: string, input: unknown = {}, run: object = {}, now: Partial<ToolCallOptions> = {}) => {
    const called = { tool_use_id: 'toolu_1', name: `w_${tool}`, input, account: 'a', conversation: 'c', turn: 't' };
    const as: McpToolRunConfig = { mcp: url, tool, headers: { authorization: { secret: 'MCP' } }, ...run };
    const options: ToolCallOptions = {
      settings,
      now: Date.now(),
      leftMs: 60_000,
      resultBytes,
      hold: async () => {},
      fetch: (url, init) => fetch(url, init),
      signal: new AbortController().signal,
      ...more,
      ...now,
    };
    return await callTool(called, as, options, {
      callTool: withAddressCheck<McpToolRunConfig>((...given) => callMcpTool(sessions, ...given)),
    });
  };
  return { call, resultBytes, sessions };
}

async function served(mode: McpMode): Promise<McpTestServer> {
  const server = await startMcpServer(mode);
  onTestFinished(() => server.close());
  return server;
}

async function answering(answer: RequestListener) {
  const server = await startHttpServer(answer);
  onTestFinished(() => server.close());
  return server;
}

const MODES = [true, false].flatMap((hasSessions) => [true, false].map((isJson) => ({ hasSessions, isJson })));

describe.each(MODES)('a real MCP server (sessions: $hasSessions, JSON: $isJson)', (mode) => {
  test('is called in one session, and its errors become error results', async () => {
    const server = await served(mode);
    const { call, sessions, resultBytes } = callsOf(server);
    const text = (said: string) => [{ type: 'text', text: said }];
    expect(await call('get.weather', { city: 'Bern' })).toEqual({
      content: text('sun in Bern'),
      isError: false,
      bytes: 11,
    });
    expect(await call('get.weather', { city: 'Lima' })).toMatchObject({ isError: true });
    expect(await call('fail')).toMatchObject({ isError: true, content: text('The wind has blown it away.') });
    expect(await call('get.weather', { city: 7 })).toMatchObject({ isError: true });
    expect(await call('none')).toMatchObject({ isError: true });
    expect(await call('measure')).toMatchObject({ isError: false, content: text('{"degrees":21}') });
    expect(server.begun).toEqual(['t_toolu_1', 't_toolu_1']);
    // One session for all calls, which ends with the run.
    expect(server.requestedMethods.filter((asked) => asked === 'POST initialize')).toHaveLength(1);
    expect(server.sessions.size).toBe(mode.hasSessions ? 1 : 0);
    expect(new Set(server.headers.map(({ authorization }) => authorization))).toEqual(new Set([SECRET]));
    expect(server.headers.at(-1)).toMatchObject({ 'mcp-protocol-version': '2025-11-25' });
    sessions.close();
    await eventually(() => expect(server.sessions.size).toBe(0));
    expect(resultBytes.left).toBeLessThan(MOST_STEP_BYTES);
  });

  test('returns images with their actual type, and text in place of unsupported content', async () => {
    const { call } = callsOf(await served(mode));
    const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } };
    expect(await call('look')).toMatchObject({
      isError: false,
      content: [
        { text: 'Here it is:' },
        image,
        { text: expect.stringContaining('image image/svg+xml') },
        { text: expect.stringContaining('audio audio/wav') },
        { text: '{"uri":"https://example.com/a","name":"a","mimeType":"text/plain"}' },
        { text: 'file:///b\nwhat b says' },
        image,
      ],
    });
  });

  test('shares one session among concurrent calls, and a discarded response uses no memory', async () => {
    const server = await served(mode);
    const { call, resultBytes } = callsOf(server);
    const cities = ['Bern', 'Rome', 'Oslo', 'Graz'];
    const results = await Promise.all(cities.map((city) => call('get.weather', { city })));
    expect(results.map(({ content }) => content)).toEqual(
      cities.map((city) => [{ type: 'text', text: `sun in ${city}` }]),
    );
    expect(server.requestedMethods.filter((asked) => asked === 'POST initialize')).toHaveLength(1);
    const kept = results.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(resultBytes.left).toBe(MOST_STEP_BYTES - kept);
    expect(await call('big', { bytes: 1_000_001 })).toMatchObject({ isError: true });
    expect(await call('big', { bytes: 7_000_000 })).toMatchObject({ isError: true });
    expect(resultBytes.left).toBe(MOST_STEP_BYTES - kept);
    resultBytes.left = 500;
    expect(await call('big', { bytes: 1_000 })).toMatchObject({ content: expect.stringContaining('again by itself') });
    expect(resultBytes.left).toBe(500);
  });
});

// All at the same time: each of them waits until a call is late.
test('a real MCP server receives a cancellation when a call times out and when the run is stopped', async () => {
  await Promise.all(
    MODES.map(async (mode) => {
      const server = await served(mode);
      const { call } = callsOf(server);
      // A slow machine takes a second until the call has come there.
      expect(await call('wait', {}, { timeout_seconds: 4 })).toMatchObject({
        isError: true,
        content: 'The tool did not respond within 4 s.',
      });
      const stop = new AbortController();
      const stopped = call('wait', {}, {}, { signal: stop.signal });
      await eventually(() => expect(server.begun).toHaveLength(2));
      stop.abort();
      expect(await stopped).toMatchObject({ isError: true, content: 'stopped' });
      await eventually(() =>
        expect(server.requestedMethods.filter((asked) => asked === 'POST notifications/cancelled')).toHaveLength(2),
      );
      // A server without sessions cannot know which call is meant.
      if (mode.hasSessions) await eventually(() => expect(server.cancelled).toHaveLength(2));
    }),
  );
});

test('an MCP server’s ping is answered, and its other requests get an error', async () => {
  const { call } = callsOf(await served({ hasSessions: true, isJson: false }));
  expect(await call('ask')).toMatchObject({ isError: false, content: [{ text: expect.stringContaining('-32601') }] });
});

test('a lost MCP session is replaced with a new one, and a call with `once` is made once', async () => {
  const server = await served({ hasSessions: true, isJson: false });
  const { call } = callsOf(server);
  await call('book', { city: 'Bern' }, { once: true });
  server.sessions.clear();
  expect(await call('book', { city: 'Rome' }, { once: true })).toMatchObject({ isError: false });
  expect(server.begun).toHaveLength(2);
  expect(server.requestedMethods.filter((asked) => asked === 'POST initialize')).toHaveLength(2);
});

test('an MCP server that no longer supports sessions is called without one', async () => {
  const server = await startSessionlessMcpServer();
  onTestFinished(() => server.close());
  const { call } = callsOf(server);
  expect(await call('get.weather', { city: 'Bern' })).toMatchObject({
    isError: false,
    content: [{ text: 'sun in Bern' }],
  });
  expect(await call('wörter', {})).toMatchObject({ isError: true });
  const [, called, other] = server.headers.map((headers) => Object.fromEntries(headers));
  expect(called).toMatchObject({
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': 'tools/call',
    'mcp-name': 'get.weather',
  });
  expect(other).toMatchObject({ 'mcp-name': '=?base64?d8O2cnRlcg==?=' });
});

describe('an unusual or faulty server', () => {
  const greeting = { protocolVersion: '2025-06-18', capabilities: {}, serverInfo: { name: 'w', version: '1' } };
  /** Answers calls as a test says, and all before them as it should be. @returns what a call of its tool gives */
  async function calledAt(answer: (id: number, response: ServerResponse, request: IncomingMessage) => unknown) {
    const { call, resultBytes } = callsOf(
      await answering(async (request, response) => {
        const chunks: Uint8Array[] = [];
        for await (const chunk of request) chunks.push(chunk as Uint8Array);
        const { id, method } = JSON.parse(Buffer.concat(chunks).toString() || '{}') as { id: number; method?: string };
        if (method === 'initialize') json(response, { jsonrpc: '2.0', id, result: greeting });
        else if (method?.startsWith('notifications/')) response.writeHead(202).end();
        else await answer(id, response, request);
      }),
    );
    const result = await call('get.weather', {}, { timeout_seconds: 20 });
    // What is left of an answer that is no result takes no memory.
    if (result.isError) expect(resultBytes.left).toBe(MOST_STEP_BYTES);
    return result;
  }
  const json = (response: ServerResponse, body: unknown) =>
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const events = (response: ServerResponse) => response.writeHead(200, { 'content-type': 'text/event-stream' });
  const sun = (id: number) => ({ jsonrpc: '2.0', id, result: { content: [{ type: 'text', text: 'sun' }] } });

  test.each<[string, Parameters<typeof calledAt>[0], string]>([
    ['redirects', (_, response) => response.writeHead(302, { location: '/elsewhere' }).end(), 'redirect'],
    ['has a page', (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'), 'not MCP'],
    ['has no JSON', (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{'), 'JSON'],
    ['has a number', (_, response) => json(response, 7), 'JSON-RPC'],
    ['has no result', (id, response) => json(response, { jsonrpc: '2.0', id }), 'JSON-RPC'],
    ['answers another call', (id, response) => json(response, sun(id + 1)), 'without a response'],
    ['says nothing', (_, response) => response.writeHead(202).end(), 'not MCP'],
    ['knows nobody', (_, response) => response.writeHead(401).end('{}'), 'It responded with 401.'],
    ['is down', (_, response) => response.writeHead(503).end(), 'It responded with 503.'],
    [
      'breaks off',
      (_, response) => events(response).write('data: {', () => response.destroy()),
      'could not be reached',
    ],
    ['ends', (_, response) => events(response).end(': nothing\n\n'), 'without a response'],
    [
      'fails',
      (id, response) => json(response, { jsonrpc: '2.0', id, error: { code: -32602, message: 'No such city.' } }),
      'error: No such city.',
    ],
    [
      'repeats a secret',
      (id, response, { headers }) =>
        json(response, { jsonrpc: '2.0', id, error: { code: -32602, message: `Not you, ${headers.authorization}!` } }),
      'error: Not you, [secret]!',
    ],
    [
      'never ends',
      (_, response) => {
        const event = `data: {"jsonrpc":"2.0","method":"notifications/message","params":"${'a'.repeat(60_000)}"}\n\n`;
        const endless = (function* () {
          for (;;) yield event;
        })();
        // Whoever listens goes away: that is how it ends.
        pipeline(Readable.from(endless), events(response), () => {});
      },
      'more than 6500000 bytes',
    ],
    [
      'has a million values',
      (_, response) =>
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(`{"jsonrpc":"2.0","id":2,"result":{"content":[${'{},'.repeat(1_000_000)}{}]}}`),
      'too many values',
    ],
    [
      'nests deep',
      (_, response) =>
        events(response).end(`data: {"id":2,"result":{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}}\n\n`),
      'nested too deeply',
    ],
    [
      'has 1,001 blocks',
      (id, response) =>
        json(response, { jsonrpc: '2.0', id, result: { content: Array(1_001).fill({ type: 'text' }) } }),
      'more than 1000 blocks',
    ],
    [
      'has 21 images',
      (id, response) =>
        json(response, { jsonrpc: '2.0', id, result: { content: Array(21).fill({ type: 'image', data: PIXEL }) } }),
      'more than 20 images',
    ],
  ])('that %s gives the model an error without an address or a secret', async (_, answer, why) => {
    const { isError, content } = await calledAt(answer);
    expect({ isError, content }).toEqual({ isError: true, content: expect.stringContaining(why) });
    expect(content).not.toMatch(/127\.0\.0\.1|s3cret/);
  });

  const spelled = String.raw`{"order":1.0,"said":"Bearer \u0073\u0033cret"}`;
  test.each([
    [
      'as it was written',
      '{ "order": 2512292042121000001,\n"a":1.0, "a":"\\/" }',
      '{ "order": 2512292042121000001, "a":1.0, "a":"\\/" }',
    ],
    ['without a secret, however that is spelled', spelled, '{"order":1,"said":"[secret]"}'],
  ])('has its structured content sent to the model %s, also from a list of messages', async (_, structured, text) => {
    for (const isList of [false, true]) {
      const result = await calledAt((id, response) => {
        const message = `{"jsonrpc":"2.0","id":${id},"result":{"content":[],"structuredContent":${structured}}}`;
        response.writeHead(200, { 'content-type': 'application/json' }).end(isList ? `[${message}]` : message);
      });
      expect(result).toMatchObject({ isError: false, content: [{ type: 'text', text }] });
    }
  });

  test.each<[string, string[], unknown, string[]]>([
    ['beside a text that does not say it', ['Done.'], { rows: [1, 2, 3, 4] }, ['Done.', '{"rows":[1,2,3,4]}']],
    ['not beside the same as JSON', ['{"b":2, "a":1}'], { a: 1, b: 2 }, ['{"b":2, "a":1}']],
    [
      'not beside a text that is half as long',
      ['The rows are 1 and 2.'],
      { rows: [1, 2], of: 'a table' },
      ['The rows are 1 and 2.'],
    ],
    ['not around the text that it wraps', ['21'], { result: '21' }, ['21']],
    ['not around the list of texts', ['a', 'b'], { result: ['a', 'b'] }, ['a', 'b']],
    ['where it has more than the text', ['a'], { result: 'a', other: 1 }, ['a', '{"result":"a","other":1}']],
    ['where there is no text', [], { a: 1 }, ['{"a":1}']],
  ])('has its structured content sent to the model %s', async (_, texts, structuredContent, told) => {
    const content = texts.map((text) => ({ type: 'text', text }));
    const result = await calledAt((id, response) =>
      json(response, { jsonrpc: '2.0', id, result: { content, structuredContent } }),
    );
    expect(result.content).toEqual(told.map((text) => ({ type: 'text', text })));
  });

  test('may end its stream early: Sluice reconnects and reads the result', async () => {
    const asked: unknown[] = [];
    const result = await calledAt((id, response, { method, headers }) => {
      asked.push([method, headers['last-event-id']]);
      if (method === 'POST') events(response).end('id: 7\nretry: 10\ndata:\n\n');
      else events(response).end(`id: 8\ndata: ${JSON.stringify(sun(2))}\n\n`);
      return id;
    });
    expect(result).toMatchObject({ isError: false, content: [{ text: 'sun' }] });
    expect(asked).toEqual([
      ['POST', undefined],
      ['GET', '7'],
    ]);
  });

  test('that sends a thousand requests gets a hundred responses', async () => {
    let answers = 0;
    const server = await answering(async (request, response) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of request) chunks.push(chunk as Uint8Array);
      const { id, method } = JSON.parse(Buffer.concat(chunks).toString() || '{}') as { id: number; method?: string };
      if (method === 'initialize') json(response, { jsonrpc: '2.0', id, result: greeting });
      else if (method === 'tools/call') {
        events(response);
        for (let n = 0; n < 1_000; n += 1) response.write(`data: {"jsonrpc":"2.0","id":"p${n}","method":"ping"}\n\n`);
        response.end(`data: ${JSON.stringify(sun(id))}\n\n`);
      } else {
        if (method === undefined) answers += 1;
        response.writeHead(202).end();
      }
    });
    const { call } = callsOf(server);
    expect(await call('get.weather')).toMatchObject({ isError: false });
    await eventually(() => expect(answers).toBe(100));
  });

  test('that sends comments without end cannot delay the timeout', async () => {
    const { call } = callsOf(
      { url: 'https://mcp.example.com/mcp', host: 'mcp.example.com' },
      {
        fetch: async (_, { body }) => {
          const { id, method } = JSON.parse(String(body)) as { id: number; method: string };
          if (method === 'initialize') return Response.json({ jsonrpc: '2.0', id, result: greeting });
          if (method !== 'tools/call') return new Response(null, { status: 202 });
          // It keeps nobody waiting. So a reader that does not pause reads until there are too many bytes.
          const pull = (controller: ReadableStreamDefaultController) => controller.enqueue(encodeUtf8(': and\n\n'));
          return new Response(new ReadableStream({ pull }), { headers: { 'content-type': 'text/event-stream' } });
        },
      },
    );
    const result = await call('get.weather', {}, { timeout_seconds: 1 });
    expect(result).toMatchObject({ isError: true, content: 'The tool did not respond within 1 s.' });
  });

  test('with an unsupported version of MCP gives an error about the version', async () => {
    const server = await answering((_, response) =>
      json(response, { jsonrpc: '2.0', id: 1, result: { ...greeting, protocolVersion: '2024-11-05' } }),
    );
    const { content } = await callsOf(server).call('get.weather');
    expect(content).toContain('does not support any MCP version');
  });
});
