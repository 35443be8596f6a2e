import { request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { TEXT_STREAM } from '../fixtures/streams.ts';
import { type Edge, startEdge, startSimulatingEdge } from '../support/edge.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '../support/upstream.ts';

const KEY = 'sk-ant-api03-the-key-of-the-deployment';
/** A busy machine is itself silent for a second. */
const IDLE_MS = 2_500;
const TIMEOUT_MS = 5_000;

const bytes = new TextEncoder().encode(TEXT_STREAM);
const half = bytes.subarray(0, 700);
const message = {
  type: 'message',
  model: 'claude-haiku-4-5',
  content: [],
  usage: { input_tokens: 1, output_tokens: 1 },
};
const body = JSON.stringify({
  model: 'claude-haiku-4-5',
  max_tokens: 4_096,
  messages: [{ role: 'user', content: 'Hi' }],
});

let upstream: FakeUpstream;
let edge: Edge;
/** All that came back over HTTP in this file: the key must not be in it. */
const seen: string[] = [];

/** The settings of an edge in development before the test's upstream. */
const beforeUpstream = () => ({
  MODE: 'development',
  ANTHROPIC_API_KEY: KEY,
  ANTHROPIC_BASE_URL: upstream.url,
});

beforeAll(async () => {
  upstream = await startUpstream(() => {});
  edge = await startEdge(inject('worker'), {
    ...beforeUpstream(),
    STREAM_IDLE_MS: String(IDLE_MS),
    UPSTREAM_TIMEOUT_MS: String(TIMEOUT_MS),
    MAX_BODY_BYTES: '100000',
  });
});

afterAll(async () => {
  await edge.stop();
  await upstream.stop();
});

beforeEach(() => {
  upstream.received.length = 0;
  upstream.cancelled = 0;
  edge.log.length = 0;
});

const json = { 'content-type': 'application/json' };
const post = (path: string, init: RequestInit = {}) =>
  fetch(edge.url + path, { method: 'POST', body, ...init, headers: { ...json, ...init.headers } });

/** What Sluice says behind a complete stream. */
const PRICE = /: sluice-cost-usd=[\d.]+\n\n$/;

async function textOf(response: Response): Promise<string> {
  const text = await response.text();
  seen.push(text, JSON.stringify([...response.headers]));
  return text;
}

interface Envelope {
  type: string;
  error: { type: string; message: string };
}

async function errorOf(response: Response): Promise<{ status: number; type: string }> {
  const { error } = JSON.parse(await textOf(response)) as Envelope;
  return { status: response.status, type: error.type };
}

/**
 * Sends a request. Its caller leaves by `resetAndDestroy()`: a connection that is only closed could be half open, and
 * locally nothing tells the two apart until something is written.
 */
function sendRaw(path: string): Socket {
  const socket = connect(Number(new URL(edge.url).port), '127.0.0.1');
  const all = { host: 'localhost', ...json, 'content-length': String(body.length) };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
  return socket;
}

const logged = async () => {
  await expect.poll(() => edge.log.length).toBeGreaterThan(0);
  return edge.log[0];
};

describe('a caller that leaves', () => {
  test('in a stream cancels the upstream at the next bytes, and what was read is logged', async () => {
    upstream.answer = (_, response) => {
      void streamBytes(response, [half], 'end').catch(() => {});
      response.end = () => response;
      const pings = setInterval(() => {
        written += 1;
        response.write('event: ping\ndata: {"type":"ping"}\n\n');
      }, 50);
      response.on('close', () => clearInterval(pings));
    };
    let written = 0;
    const controller = new AbortController();
    const response = await post('/messages', { signal: controller.signal });
    await response.body?.getReader().read();
    controller.abort();
    const before = written;
    await expect.poll(() => upstream.cancelled).toBe(1);
    // A busy machine gets to it late. Nothing else would end it within this half minute.
    expect(written - before).toBeLessThanOrEqual(600);
    expect(await logged()).toMatchObject({ tokens: { input: 25 }, error_type: 'client_gone' });
  });

  test('while it waits for a whole answer cancels the upstream long before its time is over', async () => {
    upstream.answer = () => {};
    const waiting = sendRaw('/v1/messages');
    await expect.poll(() => upstream.received.length).toBe(1);
    waiting.resetAndDestroy();
    await expect.poll(() => upstream.cancelled).toBe(1);
    expect(upstream.received).toHaveLength(1);
    expect(await logged()).toMatchObject({ error_type: 'client_gone' });
  });

  test('during the wait before a retry sends nothing more up', async () => {
    upstream.answer = (_, response) => response.writeHead(529, { 'retry-after-ms': '2000' }).end('{}');
    const waiting = sendRaw('/v1/messages');
    await expect.poll(() => upstream.received.length).toBe(1);
    waiting.resetAndDestroy();
    // Its line is written when nothing goes on for it.
    expect(await logged()).toMatchObject({ error_type: 'client_gone' });
    expect(upstream.received).toHaveLength(1);
  });
});

describe('an upstream that does not go on', () => {
  test('in a stream is told by an error event after the time of silence, never by a clean end', async () => {
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(half);
    };
    const started = Date.now();
    const text = await textOf(await post('/messages'));
    expect(Date.now() - started).toBeGreaterThanOrEqual(IDLE_MS - 50);
    expect(Date.now() - started).toBeLessThan(60_000);
    expect(text.startsWith(new TextDecoder().decode(half))).toBe(true);
    expect(text).toMatch(/\nevent: error\ndata: \{"type":"error","error":\{"type":"api_error".*silent.*\n\n$/);
    await expect.poll(() => upstream.cancelled).toBe(1);
    expect(await logged()).toMatchObject({ error_type: 'upstream_silent', tokens: { input: 25 } });
  });

  test('before the first event of a stream is told as well', async () => {
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    };
    expect(await textOf(await post('/messages'))).toMatch(/^event: error\n/);
  });

  test('in a whole answer is a 500', async () => {
    upstream.answer = (_, response) => {
      response.writeHead(200, json);
      response.write('{"type":"message"');
    };
    expect(await errorOf(await post('/v1/messages'))).toEqual({ status: 500, type: 'api_error' });
    expect(await logged()).toMatchObject({ error_type: 'upstream_silent' });
  });

  test('before its headers is a 504', async () => {
    upstream.answer = () => {};
    const started = Date.now();
    expect(await errorOf(await post('/messages'))).toEqual({ status: 504, type: 'timeout_error' });
    expect(Date.now() - started).toBeGreaterThanOrEqual(TIMEOUT_MS - 50);
    await expect.poll(() => upstream.cancelled).toBeGreaterThan(0);
  });

  test('but pings now and then may take as long as it likes', async () => {
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      let pings = 0;
      const timer = setInterval(() => {
        pings += 1;
        if (pings < 12) response.write(': still here\n\n');
        else {
          clearInterval(timer);
          response.end(bytes);
        }
      }, IDLE_MS / 8);
    };
    expect((await textOf(await post('/messages'))).replace(PRICE, '')).toBe(
      `${': still here\n\n'.repeat(11)}${TEXT_STREAM}`,
    );
  });
});

test('an upstream that fails and then succeeds has not failed, in a stream or whole', async () => {
  for (const path of ['/messages', '/v1/messages']) {
    upstream.received.length = 0;
    upstream.answer = (_, response) => {
      const tries = upstream.received.length;
      if (tries === 1) response.writeHead(529, { ...json, 'retry-after-ms': '1' }).end('{"type":"error"}');
      else if (tries === 2 && path === '/messages') response.socket?.destroy();
      else if (path === '/messages') void streamBytes(response, [bytes], 'end');
      else response.writeHead(200, json).end(JSON.stringify(message));
    };
    const response = await post(path);
    expect(response.status).toBe(200);
    expect((await textOf(response)).replace(PRICE, '')).toBe(
      path === '/messages' ? TEXT_STREAM : JSON.stringify(message),
    );
    expect(upstream.received).toHaveLength(path === '/messages' ? 3 : 2);
    const asked = upstream.received.map(({ body }) => JSON.parse(body.toString()));
    // The last try may cost what the one before it has left.
    for (const { max_tokens } of asked) expect(max_tokens).toBeGreaterThan(1_024);
    expect(new Set(asked.map((sent) => JSON.stringify({ ...sent, max_tokens: 0 }))).size).toBe(1);
  }
});

test('a whole answer that broke is asked for again by the caller, not by the edge', async () => {
  upstream.answer = (_, response) => void response.socket?.destroy();
  expect(await errorOf(await post('/v1/messages'))).toEqual({ status: 500, type: 'api_error' });
  expect(upstream.received).toHaveLength(1);
});

test('a stream that was cut after its first byte is not sent up again', async () => {
  upstream.answer = (_, response) => void streamBytes(response, [half], 'cut');
  expect(await textOf(await post('/messages'))).toContain('event: error');
  upstream.answer = (_, response) => {
    response.writeHead(200, { ...json, 'content-length': '1000' });
    response.write('{"type":', () => response.socket?.destroy());
  };
  expect(await errorOf(await post('/v1/messages'))).toEqual({ status: 500, type: 'api_error' });
  expect(upstream.received).toHaveLength(2);
});

test('an upstream that compresses all the same is read and relayed', async () => {
  upstream.answer = (received, response) => {
    const stream = received.body.includes('"stream":true');
    const type = stream ? 'text/event-stream' : 'application/json';
    response.writeHead(200, { 'content-type': type, 'content-encoding': 'gzip' });
    response.end(gzipSync(stream ? TEXT_STREAM : JSON.stringify(message)));
  };
  expect((await textOf(await post('/messages'))).replace(PRICE, '')).toBe(TEXT_STREAM);
  expect(await logged()).toMatchObject({ tokens: { input: 25, output: 15 } });
  expect(await textOf(await post('/v1/messages'))).toBe(JSON.stringify(message));
});

test('a body above the limit is a 413, with its length said before or not, and goes nowhere', async () => {
  const long = 'x'.repeat(100_001);
  expect(await errorOf(await post('/messages', { body: long }))).toEqual({ status: 413, type: 'request_too_large' });
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const chunked = httpRequest(`${edge.url}/messages`, { method: 'POST', headers: json }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    chunked.on('error', reject);
    chunked.write(long.slice(0, 60_000));
    chunked.end(long.slice(0, 60_000));
  });
  expect(status).toBe(413);
  expect(upstream.received).toHaveLength(0);
});

test('the simulator breaks and falls silent as an upstream does, and the same code tells of it', async () => {
  const simulated = await startSimulatingEdge({
    SIMULATOR_TTFT_MS: '0',
    SIMULATOR_TOKENS_PER_SECOND: '0',
    STREAM_IDLE_MS: String(IDLE_MS),
    UPSTREAM_TIMEOUT_MS: String(TIMEOUT_MS),
    UPSTREAM_MAX_RETRIES: '1',
  });
  const ask = (path: string, fault: string) =>
    fetch(simulated.url + path, { method: 'POST', headers: { ...json, 'sluice-simulate': fault }, body });
  try {
    for (const fault of ['silence-after=2', 'cut-bytes=300', 'end-bytes=300', 'cut-events=3', 'end-events=0']) {
      const response = await ask('/messages', fault);
      expect(response.headers.get('sluice-upstream')).toBe('simulator');
      expect(await response.text(), fault).toMatch(
        /event: error\ndata: \{"type":"error","error":\{"type":"api_error".*\n\n$/,
      );
    }
    for (const fault of ['cut-bytes=40', 'end-bytes=40', 'network']) {
      expect(await errorOf(await ask('/v1/messages', fault)), fault).toEqual({ status: 500, type: 'api_error' });
    }
    for (const [path, fault] of [
      ['/v1/messages', 'silence-after=0'],
      ['/messages', 'slow-start=10000'],
    ] as const) {
      expect(await errorOf(await ask(path, fault)), fault).toEqual({ status: 504, type: 'timeout_error' });
    }
    expect(await (await ask('/messages', 'status=529;times=1;key=a;retry-after-ms=1')).text()).toContain(
      'message_stop',
    );
    expect(await errorOf(await ask('/messages', 'status=529;retry-after-ms=1'))).toEqual({
      status: 529,
      type: 'overloaded_error',
    });
  } finally {
    await simulated.stop();
  }
});

test('a Worker as it is deployed has no simulator to answer with, even in development mode', async () => {
  const deployed = await startEdge(inject('deployed').code, { MODE: 'development', UPSTREAM: 'simulator' });
  try {
    const response = await fetch(`${deployed.url}/messages`, { method: 'POST', headers: json, body });
    expect(response.headers.get('sluice-upstream')).toBeNull();
    expect(await response.text()).toContain('This bundle has no simulator.');
    expect(response.status).toBe(500);
  } finally {
    await deployed.stop();
  }
});

test.each([
  ['gzip', gzipSync],
  ['br', brotliCompressSync],
  ['deflate', deflateSync],
  ['zstd', zstdCompressSync],
] as const)(
  'an answer in %s, which was not asked for, is undone and metered, or refused',
  async (encoding, compress) => {
    for (const [type, plain] of [
      ['text/event-stream', Buffer.from(TEXT_STREAM)],
      ['application/json', Buffer.from(JSON.stringify(message))],
    ] as const) {
      edge.log.length = 0;
      upstream.received.length = 0;
      upstream.answer = (_, response) =>
        response.writeHead(200, { 'content-type': type, 'content-encoding': encoding }).end(compress(plain));
      const response = await post('/v1/messages');
      const text = await textOf(response);
      expect(upstream.received).toHaveLength(1);
      expect(upstream.received[0]?.headers['accept-encoding']).toBe('identity');
      if (response.status === 200) {
        expect(text.replace(PRICE, '')).toBe(plain.toString());
        expect(await logged()).toMatchObject({ tokens: { input: expect.any(Number) } });
      } else {
        expect(['deflate', 'zstd']).toContain(encoding);
        expect(JSON.parse(text)).toMatchObject({ error: { type: 'api_error' } });
        expect(await logged()).toMatchObject({ error_type: `upstream_encoding: ${encoding}` });
      }
    }
  },
);

test('outside development a request without a credential is refused, and nothing goes up', async () => {
  const deployed = await startEdge(inject('deployed').code, {
    ANTHROPIC_API_KEY: KEY,
    ANTHROPIC_BASE_URL: upstream.url,
  });
  try {
    for (const path of ['/messages', '/v1/messages', '/count-tokens', '/v1/messages/count_tokens']) {
      const response = await fetch(deployed.url + path, { method: 'POST', headers: json, body });
      expect([401, 500]).toContain(response.status);
      await textOf(response);
    }
    for (const path of ['/models', '/v1/models', '/v1/models/x', '/v1/files']) {
      const response = await fetch(deployed.url + path);
      expect([401, 500]).toContain(response.status);
      await textOf(response);
    }
    expect((await fetch(`${deployed.url}/health`)).status).toBe(200);
    expect(upstream.received).toHaveLength(0);
  } finally {
    await deployed.stop();
  }
});

test('a malformed setting is a 500 on every route that names it, and the edge calls nobody', async () => {
  const broken = await startEdge(inject('worker'), {
    ...beforeUpstream(),
    MAX_BODY_BYTES: 'lots',
  });
  try {
    for (const path of ['/messages', '/health', '/nope', '/v1/models']) {
      const response = await fetch(
        broken.url + path,
        path === '/messages' ? { method: 'POST', headers: json, body } : {},
      );
      expect(response.status).toBe(500);
      const text = await textOf(response);
      expect(text).toContain('MAX_BODY_BYTES');
      expect(text).not.toContain('lots');
    }
    expect(upstream.received).toHaveLength(0);
  } finally {
    await broken.stop();
  }
});

test('the upstream’s key goes up, and comes down in no answer, error or log', async () => {
  const answers: FakeUpstream['answer'][] = [
    (_, response) => response.writeHead(401, json).end(JSON.stringify({ type: 'error', error: { message: KEY } })),
    (_, response) => response.writeHead(302, { location: `https://x.test/?key=${KEY}` }).end(),
    (_, response) => response.writeHead(502, { 'content-type': 'text/html' }).end(`<p>${KEY}</p>`),
    (_, response) => response.socket?.destroy(),
    (_, response) => void streamBytes(response, [half], 'cut'),
  ];
  const hasty = await startEdge(inject('worker'), {
    ...beforeUpstream(),
    UPSTREAM_MAX_RETRIES: '0',
  });
  try {
    for (const answer of answers) {
      upstream.answer = answer;
      for (const path of ['/messages', '/v1/messages', '/count-tokens', '/v1/models']) {
        const init = path === '/v1/models' ? {} : { method: 'POST', body };
        const headers = { ...json, 'x-api-key': 'any', authorization: 'Bearer any' };
        await textOf(await fetch(hasty.url + path, { ...init, headers }));
      }
    }
    await expect.poll(() => hasty.log.length).toBe(answers.length * 4);
    expect(JSON.stringify(hasty.log)).not.toContain(KEY);
  } finally {
    await hasty.stop();
  }
  expect(upstream.received.every(({ headers }) => headers['x-api-key'] === KEY)).toBe(true);
  expect(upstream.received.some(({ headers }) => 'authorization' in headers)).toBe(false);
  expect(seen.length).toBeGreaterThan(20);
  expect(seen.filter((text) => text.includes(KEY))).toEqual([]);
});
