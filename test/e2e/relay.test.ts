/** The relay over HTTP: what a function that is called cannot see, as sockets, encodings, and what is deployed. */
import { request as httpRequest } from 'node:http';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, inject, test } from 'vitest';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { startEdge } from '#test/support/edge.ts';
import {
  beforeUpstream,
  body,
  edge,
  errorOf,
  half,
  json,
  KEY,
  logged,
  message,
  PRICE,
  post,
  relaying,
  seen,
  sendRaw,
  textOf,
  upstream,
} from '#test/support/relaying.ts';
import { type FakeUpstream, streamBytes } from '#test/support/upstream.ts';

relaying();

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

test('a Worker as it is deployed has no simulator to answer with, even where it is asked for', async () => {
  const deployed = await startEdge(inject('deployed').code, { UPSTREAM: 'simulator' });
  try {
    const response = await fetch(`${deployed.url}/messages`, { method: 'POST', headers: json, body });
    expect(response.headers.get('sluice-upstream')).toBeNull();
    expect(await response.text()).toContain('UPSTREAM=simulator is for development only.');
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
