// In workerd: requests, answers and objects are the runtime's.
import { describe, expect, test } from 'vitest';
import { MODELS } from '#edge/claude/models/models.ts';
import { toSimulatedModels } from '#edge/claude/simulated-models.ts';
import { parseMemberTexts } from '#edge/kit/json/edit.ts';
import { createSimulator } from '#simulator/simulator.ts';
import { createBody, createTestApp, readError, type SentRequest, type TestApp } from '#test/support/app.ts';
import { waitForCondition } from '#test/support/eventually.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import {
  messageEnd,
  messageStart,
  messageWith,
  splitEvents,
  sseEvent,
  sseResponse,
  textBlock,
} from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const MODEL = 'claude-opus-5-5';
/** Its hold is more than $0.05. */
const ASK = { model: MODEL, max_tokens: 4_096, messages: [{ role: 'user', content: 'What do you know about Paris?' }] };
const LIMITED = { DEFAULT_LIMITS: '{"usd_per_day":1000000}' };
const START = Date.UTC(2026, 10, 20);

interface Row {
  status: string;
  cost_usd: number;
  estimated: boolean;
  usage: { input_tokens: number; output_tokens: number };
}

async function rowsOf(app: TestApp): Promise<Row[]> {
  await app.waitUntilSettled();
  return ((await (await app.fetch('/usage/requests')).json()) as { data: Row[] }).data;
}

const simulator = () => createSimulator({ models: toSimulatedModels(MODELS), now: () => START, faults: true });
const simulated = (simulate: ReturnType<typeof simulator>) => (sent: SentRequest) =>
  simulate(
    new Request(sent.url, { method: sent.method, headers: sent.headers, body: sent.body, signal: sent.signal ?? null }),
  );

const isRidden = ({ text }: SentRequest) => /"stream": ?true/.test(text);
const WORDS = Array.from({ length: 5 }, (_, at) => ` word${at}`);
const EVENTS = splitEvents(messageStart() + textBlock(WORDS) + messageEnd(undefined, { stop_reason: 'end_turn' }));
const WHOLE = messageWith({ content: [{ type: 'text', text: WORDS.join('') }] });

describe('an internal stream returns the same response as a non-streaming request', () => {
  const say = (content: unknown) => ({ ...ASK, messages: [{ role: 'user', content }] });
  const weather = {
    name: 'get_weather',
    description: 'Current weather in a city',
    input_schema: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'number' } },
      required: ['city', 'days'],
    },
  };
  const page = { type: 'text', media_type: 'text/plain', data: 'Paris is the capital of France. It has a river.' };
  const asked: Record<string, { body: object; simulate?: string }> = {
    'a text': { body: ASK },
    thinking: { body: { ...ASK, thinking: { type: 'adaptive', display: 'summarized' } } },
    'hidden thinking': { body: { ...ASK, thinking: { type: 'adaptive', display: 'omitted' } } },
    'redacted thinking': {
      body: say(
        'ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_46C9A13E193C177646C7398A98432ECCCE4C1253D5E2D82641AC0E52CC2876CB',
      ),
    },
    'a tool': { body: { ...say('The weather in Paris, please'), tools: [weather] } },
    'a tool whose input is cut': {
      body: {
        ...say('The weather in Paris, please'),
        tools: [weather],
        tool_choice: { type: 'any' },
        max_tokens: 12,
        thinking: { type: 'disabled' },
      },
    },
    'a served tool with citations': {
      body: { ...say('Search for the news'), tools: [{ type: 'web_search_20250305', name: 'web_search' }] },
    },
    citations: {
      body: say([
        { type: 'document', source: page, citations: { enabled: true } },
        { type: 'text', text: 'Which river does Paris have?' },
      ]),
    },
    'a refusal': {
      body: say(
        'ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1FAEFB6177B4672DEE07F9D3AFC62588CCD2631EDCF22E8CCC1FB35B501C9C86',
      ),
    },
    'a stop sequence': { body: { ...ASK, stop_sequences: ['simulator'] } },
    'structured output': {
      body: {
        ...ASK,
        output_config: {
          format: {
            type: 'json_schema',
            schema: {
              type: 'object',
              properties: { n: { type: 'number' } },
              required: ['n'],
              additionalProperties: false,
            },
          },
        },
      },
    },
    'no room': { body: { ...ASK, max_tokens: 3 } },
    'a cache': { body: { ...ASK, cache_control: { type: 'ephemeral' }, system: 'Be kind. '.repeat(2_000) } },
    'a pause': { body: ASK, simulate: 'stop-reason=pause_turn' },
    'odd characters': { body: ASK, simulate: `answer=${encodeURIComponent('"\\ \u2028 🌍 \u0001')}` },
    nothing: { body: ASK, simulate: 'answer=' },
    'events flushed alone': { body: ASK, simulate: 'flush' },
    'pieces of a few bytes': { body: ASK, simulate: 'split=random' },
  };

  for (const [name, { body, simulate }] of Object.entries(asked)) {
    test(name, async () => {
      const headers: Record<string, string> = simulate === undefined ? {} : { 'sluice-simulate': simulate };
      const answered = async (vars: Record<string, string>) => {
        const api = simulator();
        // A small `max_tokens` would not put enough at stake.
        const prices = { input: 4_000, output: 20_000 };
        const dear = { ...vars, PRICES: JSON.stringify({ [MODEL]: { prices } }) };
        // The edge sends faults to its own simulator alone.
        const app = createTestApp((sent) => {
          for (const [key, value] of Object.entries(headers)) sent.headers.set(key, value);
          return simulated(api)(sent);
        }, dear);
        const response = await app.post('/v1/messages', body, headers);
        const text = await response.text();
        const told = [...response.headers].filter(
          ([key]) => !/^(sluice-request-id|sluice-budget|anthropic-ratelimit|date)/.test(key),
        );
        return { text, told, rides: app.sent.map(isRidden), rows: await rowsOf(app) };
      };
      const ridden = await answered(LIMITED);
      const whole = await answered({});
      expect(ridden.rides).toEqual([true]);
      expect(whole.rides).toEqual([false]);
      expect(parseMemberTexts(ridden.text)).toEqual(parseMemberTexts(whole.text));
      expect(ridden.told).toEqual(whole.told);
      const { cost_usd, usage, status, estimated } = ridden.rows[0] ?? {};
      expect(whole.rows[0]).toMatchObject({ cost_usd, usage, status, estimated });
      expect(estimated).toBe(false);
    });
  }
});

describe('an internal stream', () => {
  const up = async (vars: Record<string, string>, body: object = ASK, headers: Record<string, string> = {}) => {
    const app = createTestApp((sent) => (isRidden(sent) ? sseResponse(EVENTS.join('')) : Response.json(WHOLE)), vars);
    const response = await app.post('/v1/messages', body, headers);
    expect(await response.json()).toEqual(WHOLE);
    await app.waitUntilSettled();
    return app.sent.map(isRidden);
  };
  const tool = { name: 'save', input_schema: { type: 'object' } };

  test('is used for an account with a USD limit if the hold is large enough', async () => {
    expect(await up(LIMITED)).toEqual([true]);
    expect(await up(LIMITED, { ...ASK, max_tokens: 1_000 })).toEqual([false]);
    expect(await up({ DEFAULT_LIMITS: '{"usd_total":10}' })).toEqual([true]);
  });

  test('is used for an account whose pool or token has a USD limit', async () => {
    const shared = { ...DEPLOYED_VARS, DEPLOYMENT_LIMITS: '{}' };
    const app = createTestApp(() => Response.json(WHOLE), shared);
    const admin = bearerHeader(await createToken('root', ['admin']));
    const put = (path: string) =>
      app.fetch(path, {
        method: 'PUT',
        headers: { 'content-type': 'application/json', ...admin },
        body: JSON.stringify({ usd_per_day: 1_000 }),
      });
    const ada = bearerHeader(await createToken('ada'));
    expect(await up(shared, ASK, ada)).toEqual([false]);
    expect((await put('/pools/deployment/limits')).status).toBe(200);
    // A lease is asked again when it has expired; another account asks anew.
    expect(await up(shared, ASK, bearerHeader(await createToken('bob')))).toEqual([true]);
    const mint = { account: 'ada', scopes: ['messages'], limits: { usd_total: 10 } };
    const { token } = (await (await app.post('/tokens', mint, admin)).json()) as { token: string };
    expect(await up(DEPLOYED_VARS, ASK, bearerHeader(token))).toEqual([true]);
    expect(await up(DEPLOYED_VARS, ASK, ada)).toEqual([false]);
  });

  test('is not used without a USD limit, whatever the other limits', async () => {
    expect(await up({})).toEqual([false]);
    expect(await up({ DEFAULT_LIMITS: '{"requests_per_minute":5,"output_tokens_per_minute":100000}' })).toEqual([
      false,
    ]);
  });

  test('is not used for a request whose tool inputs may be invalid JSON', async () => {
    expect(await up(LIMITED, { ...ASK, tools: [tool, { ...tool, name: 'b', eager_input_streaming: false }] })).toEqual([
      true,
    ]);
    expect(await up(LIMITED, { ...ASK, tools: [tool, { ...tool, name: 'b', eager_input_streaming: true }] })).toEqual([
      false,
    ]);
    const beta = { 'anthropic-beta': 'x-2025, fine-grained-tool-streaming-2025-05-14' };
    expect(await up(LIMITED, ASK, beta)).toEqual([false]);
  });

  test('is not used for a response that streams to the caller', async () => {
    const app = createTestApp(() => sseResponse(EVENTS.join('')), LIMITED);
    const response = await app.post('/messages', ASK);
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    expect(await response.text()).toContain('event: message_stop');
  });
});

test('forwards the body with only `stream` changed', async () => {
  const app = createTestApp(() => sseResponse(EVENTS.join('')), LIMITED);
  const rest = `"max_tokens": 4096 ,"x":1.0, "messages":[{"role":"user","content":"\\u0041 🌍"}]`;
  for (const [body, up] of [
    [`{"model":"${MODEL}","stream" : false, ${rest}}`, `{"model":"${MODEL}","stream" : true, ${rest}}`],
    [`{"model":"${MODEL}", ${rest}}`, `{"stream":true,"model":"${MODEL}", ${rest}}`],
  ] as const) {
    expect((await app.post('/v1/messages', body)).status).toBe(200);
    expect(app.sent.at(-1)?.text).toBe(up);
  }
});

test('returns the headers of a non-streaming response, and the cost', async () => {
  const app = createTestApp(
    () => sseResponse(EVENTS.join(''), { 'cache-control': 'no-cache', 'request-id': 'req_up', 'x-own': 'a' }),
    LIMITED,
  );
  const response = await app.post('/v1/messages', ASK);
  const { 'sluice-cost-usd': price, ...headers } = Object.fromEntries(response.headers);
  expect(headers).toMatchObject({ 'content-type': 'application/json', 'request-id': 'req_up', 'x-own': 'a' });
  expect(headers).toHaveProperty('anthropic-ratelimit-unified-status', 'allowed');
  expect(headers).toHaveProperty('cache-control', 'no-store');
  await response.text();
  const [row] = await rowsOf(app);
  expect(row).toMatchObject({ status: 'complete', cost_usd: Number(price), estimated: false });
  expect(row?.usage).toMatchObject({ input_tokens: 100, output_tokens: 10 });
});

describe('an incomplete internal stream', () => {
  const INPUT_USD = 100 * 4e-6;
  const OUTPUT_USD = 20e-6;

  test('is an error after any event, and settled by the received part', async () => {
    for (let events = 0; events < EVENTS.length; events += 1) {
      const app = createTestApp(
        () => sseResponse(createBody(EVENTS.slice(0, events), events % 2 === 0 ? 'cut' : 'end')),
        LIMITED,
      );
      const response = await app.post('/v1/messages', ASK);
      expect(response.status).toBe(500);
      expect(await readError(response)).toMatchObject({ type: 'api_error' });
      const [row] = await rowsOf(app);
      expect(app.log[0]).toMatchObject({ error_type: 'upstream_cut' });
      // Each delta is a token or two. The hold is more than eight cents.
      const billed = events === 0 ? 0 : INPUT_USD + Math.max(0, events - 2) * OUTPUT_USD;
      expect(row?.cost_usd).toBeGreaterThanOrEqual(Math.min(billed, INPUT_USD + 10 * OUTPUT_USD));
      expect(row?.cost_usd).toBeLessThan(0.03);
      if (events > 0) expect(row?.usage.input_tokens).toBe(100);
      // The final usage is final, even if the end is lost.
      expect([row?.estimated, events]).toEqual([events < EVENTS.length - 1, events]);
      await resetAll();
    }
  });

  test('is an error wherever it is cut, tried at every 41st byte', async () => {
    const stream = EVENTS.join('');
    for (let at = 1; at < stream.length - 2; at += 41) {
      const app = createTestApp(() => sseResponse(createBody([stream.slice(0, at)])), LIMITED);
      const response = await app.post('/v1/messages', ASK);
      // What lacks only its last empty line is complete.
      expect([response.status, at]).toEqual([500, at]);
      expect(await response.text()).not.toContain('word');
    }
  });

  test('is an error if it is malformed, and aborts the upstream request', async () => {
    let signal: AbortSignal | undefined;
    const bad = EVENTS.with(2, 'event: content_block_delta\ndata: {"type":"content_block_delta","index\n\n');
    const app = createTestApp((sent) => {
      signal = sent.signal;
      return sseResponse(createBody(bad.slice(0, 5), 'silence'));
    }, LIMITED);
    const response = await app.post('/v1/messages', ASK);
    expect(response.status).toBe(500);
    await response.text();
    expect(signal?.aborted).toBe(true);
  });

  test('is an error if the assembled message is not JSON', async () => {
    const bad = EVENTS.with(
      2,
      'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":tru}}\n\n',
    );
    const app = createTestApp(() => sseResponse(bad.join('')), LIMITED);
    expect((await app.post('/v1/messages', ASK)).status).toBe(500);
  });

  const endless = (pieces: readonly string[]) => (sent: SentRequest) =>
    sseResponse(
      new ReadableStream({
        type: 'bytes',
        start: (body) => {
          for (const piece of pieces) body.enqueue(new TextEncoder().encode(piece));
          sent.signal?.addEventListener('abort', () => body.error(sent.signal?.reason), { once: true });
        },
      }),
    );

  test('that becomes silent is settled by the received part', async () => {
    const app = createTestApp(endless(EVENTS.slice(0, 5)), { ...LIMITED, STREAM_IDLE_MS: '60' });
    const response = await app.post('/v1/messages', ASK);
    expect(response.status).toBe(500);
    expect((await readError(response)).message).toContain('stopped sending');
    const [row] = await rowsOf(app);
    expect(row).toMatchObject({ status: 'silent', estimated: true });
    expect(row?.usage.input_tokens).toBe(100);
    expect(row?.cost_usd).toBeLessThan(0.03);
  });

  test('whose caller disconnects is aborted, and settled by the received part', async () => {
    let signal: AbortSignal | undefined;
    const app = createTestApp((sent) => {
      signal = sent.signal;
      return endless(EVENTS.slice(0, 5))(sent);
    }, LIMITED);
    const caller = new AbortController();
    const body = JSON.stringify(ASK);
    const headers = { 'content-type': 'application/json' };
    const asking = app.fetch('/v1/messages', { method: 'POST', headers, body, signal: caller.signal });
    await waitForCondition(() => app.sent.length > 0);
    await yieldToEventLoop();
    caller.abort();
    await asking.then((response) => response.text()).catch(() => undefined);
    const [row] = await rowsOf(app);
    expect(signal?.aborted).toBe(true);
    expect(row).toMatchObject({ status: 'client_gone', estimated: true });
    expect(row?.cost_usd).toBeGreaterThanOrEqual(INPUT_USD);
    expect(row?.cost_usd).toBeLessThan(0.03);
  });
});

describe('an error event', () => {
  const failed = (type: string) => sseEvent('error', { error: { type, message: 'Not now' } });

  test('becomes a response with the status of its type and the upstream’s retry-after', async () => {
    for (const [type, status] of [
      ['overloaded_error', 529],
      ['api_error', 500],
      ['invalid_request_error', 400],
      ['rate_limit_error', 429],
    ] as const) {
      const stream = [...EVENTS.slice(0, 5), failed(type)].join('');
      const app = createTestApp(() => sseResponse(stream, { 'retry-after': '7' }), LIMITED);
      const response = await app.post('/v1/messages', ASK);
      expect(response.status).toBe(status);
      expect(response.headers.get('content-type')).toBe('application/json');
      expect(response.headers.get('retry-after')).toBe('7');
      expect((await readError(response)).type).toBe(type);
      const [row] = await rowsOf(app);
      expect(row).toMatchObject({ status: 'error', estimated: true });
      expect(row?.usage.input_tokens).toBe(100);
      expect(row?.cost_usd).toBeLessThan(0.03);
      expect(app.log[0]).toMatchObject({ error_type: type });
      await resetAll();
    }
  });

  test('at the beginning of a stream costs nothing', async () => {
    const app = createTestApp(() => sseResponse(failed('overloaded_error')), LIMITED);
    expect((await app.post('/v1/messages', ASK)).status).toBe(529);
    expect((await rowsOf(app))[0]).toMatchObject({ cost_usd: 0 });
  });
});

describe('an upstream that does not support streams', () => {
  const refusal = (message: string) =>
    Response.json({ type: 'error', error: { type: 'invalid_request_error', message } }, { status: 400 });

  test('gets the same request and all later requests without streaming', async () => {
    const app = createTestApp(
      (sent) => (isRidden(sent) ? refusal('stream: streaming is not supported') : Response.json(WHOLE)),
      LIMITED,
    );
    const rides: boolean[][] = [];
    for (let nth = 0; nth < 2; nth += 1) {
      expect(await (await app.post('/v1/messages', ASK)).json()).toEqual(WHOLE);
      rides.push(app.sent.splice(0).map(isRidden));
    }
    expect(rides).toEqual([[true, false], [false]]);
    const rows = await rowsOf(app);
    expect(rows.map(({ status, estimated }) => [status, estimated])).toEqual([
      ['complete', false],
      ['complete', false],
    ]);
  });

  test('costs the full hold if its non-streaming response is cut', async () => {
    const app = createTestApp(
      (sent) => (isRidden(sent) ? refusal('no streaming here') : new Response(createBody(['{"type":"mess'], 'cut'))),
      LIMITED,
    );
    expect((await app.post('/v1/messages', ASK)).status).toBe(500);
    expect((await rowsOf(app))[0]?.cost_usd).toBeGreaterThan(0.08);
  });

  test('gets no other request after the caller has disconnected', async () => {
    const left = Promise.withResolvers<Response>();
    const app = createTestApp(async () => await left.promise, LIMITED);
    const caller = new AbortController();
    const headers = { 'content-type': 'application/json' };
    const init = { method: 'POST', headers, body: JSON.stringify(ASK), signal: caller.signal };
    const asking = app.fetch('/v1/messages', init);
    await waitForCondition(() => app.sent.length > 0);
    caller.abort();
    left.resolve(refusal('streaming is not supported'));
    await asking.then((response) => response.text()).catch(() => undefined);
    expect((await rowsOf(app)).map(({ cost_usd }) => cost_usd)).toEqual([0]);
    expect(app.sent.map(isRidden)).toEqual([true]);
  });

  test('is not recorded after a rejection that the non-streaming request gets as well', async () => {
    const app = createTestApp(
      (sent) => (sent.text.includes('"x"') ? refusal('x.stream: not permitted') : sseResponse(EVENTS.join(''))),
      LIMITED,
    );
    const response = await app.post('/v1/messages', { ...ASK, x: 1 });
    expect(response.status).toBe(400);
    expect((await readError(response)).message).toBe('x.stream: not permitted');
    await (await app.post('/v1/messages', ASK)).text();
    expect(app.sent.map(isRidden)).toEqual([true, false, true]);
  });

  test('gets non-streaming requests as one of several upstreams', async () => {
    const entries = ['east', 'west'].map((name) => ({
      name,
      kind: 'anthropic',
      base_url: `https://${name}.ride.test`,
    }));
    const app = createTestApp(
      (sent) => {
        if (sent.url.hostname.startsWith('west')) return sseResponse(EVENTS.join(''));
        return isRidden(sent) ? refusal('streaming is not supported') : Response.json(WHOLE);
      },
      {
        ...LIMITED,
        UPSTREAM: '',
        ANTHROPIC_API_KEY: '',
        UPSTREAMS: JSON.stringify(entries),
        UPSTREAM_EAST_KEY: 'key-of-east',
        UPSTREAM_WEST_KEY: 'key-of-west',
      },
    );
    expect(await (await app.post('/v1/messages', ASK)).json()).toEqual(WHOLE);
    expect(await (await app.post('/v1/messages', ASK)).json()).toEqual(WHOLE);
    expect(app.sent.map((sent) => [sent.url.hostname, isRidden(sent)])).toEqual([
      ['east.ride.test', true],
      ['east.ride.test', false],
      ['east.ride.test', false],
    ]);
    expect((await rowsOf(app)).map(({ status, estimated }) => [status, estimated])).toEqual([
      ['complete', false],
      ['complete', false],
    ]);
  });
});

test('an internal stream whose first byte is late fails over to the next upstream', async () => {
  const entries = ['east', 'west'].map((name) => ({
    name,
    kind: 'anthropic',
    base_url: `https://${name}.late.test`,
    first_byte_ms: 80,
  }));
  const app = createTestApp(
    ({ url, signal }) => {
      if (url.hostname.startsWith('west')) return sseResponse(EVENTS.join(''));
      return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true }));
    },
    {
      ...LIMITED,
      UPSTREAM: '',
      ANTHROPIC_API_KEY: '',
      UPSTREAMS: JSON.stringify(entries),
      UPSTREAM_EAST_KEY: 'key-of-east',
      UPSTREAM_WEST_KEY: 'key-of-west',
    },
  );
  expect(await (await app.post('/v1/messages', ASK)).json()).toEqual(WHOLE);
  expect((await rowsOf(app)).map(({ status, estimated }) => [status, estimated])).toEqual([
    ['complete', false],
    ['retried', true],
  ]);
});

test('returns a non-streaming response to an internal stream’s request', async () => {
  const app = createTestApp(() => Response.json(WHOLE), LIMITED);
  const response = await app.post('/v1/messages', ASK);
  expect(await response.json()).toEqual(WHOLE);
  expect(app.sent.map(isRidden)).toEqual([true]);
  expect((await rowsOf(app))[0]).toMatchObject({ status: 'complete', estimated: false });
});

describe('missing response headers', () => {
  const never = ({ signal }: SentRequest) =>
    new Promise<Response>((_, reject) =>
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true }),
    );
  const LATE = { ...LIMITED, UPSTREAM_MAX_RETRIES: '1', STREAM_HEADERS_MS: '80' };

  test.each(['/v1/messages', '/messages'])('of a stream on %s cause a timeout without a retry', async (path) => {
    const app = createTestApp(never, LATE);
    const response = await app.post(path, ASK);
    expect(response.status).toBe(504);
    expect((await readError(response)).type).toBe('timeout_error');
    expect(app.sent).toHaveLength(1);
    const rows = await rowsOf(app);
    expect(rows.map(({ status, estimated }) => [status, estimated])).toEqual([['cut', true]]);
    // By the clock, not by the hold.
    expect(rows[0]?.cost_usd).toBeLessThan(0.03);
  });

  test('of a non-streaming request are awaited longer', async () => {
    const other = createTestApp(never, { ...LATE, UPSTREAM_MAX_RETRIES: '0' });
    const app = createTestApp(
      async () => {
        // One that rides is given up meanwhile, though it was asked for later.
        expect((await other.post('/v1/messages', ASK)).status).toBe(504);
        return Response.json(WHOLE);
      },
      { ...LATE, DEFAULT_LIMITS: '{}' },
    );
    expect((await app.post('/v1/messages', ASK)).status).toBe(200);
  });
});
