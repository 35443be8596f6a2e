/** The relay over HTTP: what a function that is called cannot see, as sockets, encodings, and what is deployed. */
import { request as httpRequest } from 'node:http';
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, inject, test } from 'vitest';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { startEdge } from '#test/support/edge.ts';
import { type FakeUpstream, streamBytes } from '#test/support/upstream.ts';
import {
  developmentVars,
  edge,
  halfMessage,
  installRelay,
  JSON_HEADERS,
  KEY,
  message,
  messageBody,
  postToMessages,
  readError,
  readLog,
  readResponseText,
  returnedText,
  sendRaw,
  upstream,
} from '#test/support/use-relay.ts';

installRelay();

describe('a caller that disconnects', () => {
  test('from a stream cancels the upstream request at the next bytes, and the received usage is logged', async () => {
    upstream.answer = (_, response) => {
      void streamBytes(response, [halfMessage], 'end').catch(() => {});
      response.end = () => response;
      const pings = setInterval(() => {
        written += 1;
        response.write('event: ping\ndata: {"type":"ping"}\n\n');
      }, 50);
      response.on('close', () => clearInterval(pings));
    };
    let written = 0;
    const controller = new AbortController();
    const response = await postToMessages('/messages', { signal: controller.signal });
    await response.body?.getReader().read();
    controller.abort();
    const before = written;
    await expect.poll(() => upstream.cancelledCount).toBe(1);
    // A busy machine gets to it late. Nothing else would end it within this half minute.
    expect(written - before).toBeLessThanOrEqual(600);
    expect(await readLog()).toMatchObject({ tokens: { input: 25 }, error_type: 'client_gone' });
  });

  test('while it waits for a non-streaming response cancels the upstream request before its timeout', async () => {
    upstream.answer = () => {};
    const waiting = sendRaw('/v1/messages');
    await expect.poll(() => upstream.receivedRequests.length).toBe(1);
    waiting.resetAndDestroy();
    await expect.poll(() => upstream.cancelledCount).toBe(1);
    expect(upstream.receivedRequests).toHaveLength(1);
    expect(await readLog()).toMatchObject({ error_type: 'client_gone' });
  });
});

test('decodes and forwards a response that is compressed although the edge did not request it', async () => {
  upstream.answer = (received, response) => {
    const stream = received.body.includes('"stream":true');
    const type = stream ? 'text/event-stream' : 'application/json';
    response.writeHead(200, { 'content-type': type, 'content-encoding': 'gzip' });
    response.end(gzipSync(stream ? TEXT_STREAM : JSON.stringify(message)));
  };
  expect(await readResponseText(await postToMessages('/messages'))).toBe(TEXT_STREAM);
  expect(await readLog()).toMatchObject({ tokens: { input: 25, output: 15 } });
  expect(await readResponseText(await postToMessages('/v1/messages'))).toBe(JSON.stringify(message));
});

test('returns 413 for a body above the limit, with or without a declared length, and forwards nothing', async () => {
  const long = 'x'.repeat(100_001);
  expect(await readError(await postToMessages('/messages', { body: long }))).toEqual({
    status: 413,
    type: 'request_too_large',
  });
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const chunked = httpRequest(`${edge.url}/messages`, { method: 'POST', headers: JSON_HEADERS }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    chunked.on('error', reject);
    chunked.write(long.slice(0, 60_000));
    chunked.end(long.slice(0, 60_000));
  });
  expect(status).toBe(413);
  expect(upstream.receivedRequests).toHaveLength(0);
});

test('a deployed Worker does not include the simulator, even if UPSTREAM=simulator', async () => {
  const deployed = await startEdge(inject('deployed').code, { UPSTREAM: 'simulator' });
  try {
    const response = await fetch(`${deployed.url}/messages`, {
      method: 'POST',
      headers: JSON_HEADERS,
      body: messageBody,
    });
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
  'decodes and meters, or rejects, a response with the encoding %s, which was not requested',
  async (encoding, compress) => {
    for (const [type, plain] of [
      ['text/event-stream', Buffer.from(TEXT_STREAM)],
      ['application/json', Buffer.from(JSON.stringify(message))],
    ] as const) {
      edge.log.length = 0;
      upstream.receivedRequests.length = 0;
      upstream.answer = (_, response) =>
        response.writeHead(200, { 'content-type': type, 'content-encoding': encoding }).end(compress(plain));
      const response = await postToMessages('/v1/messages');
      const text = await readResponseText(response);
      expect(upstream.receivedRequests).toHaveLength(1);
      expect(upstream.receivedRequests[0]?.headers['accept-encoding']).toBe('identity');
      if (response.status === 200) {
        expect(text).toBe(plain.toString());
        expect(await readLog()).toMatchObject({ tokens: { input: expect.any(Number) } });
      } else {
        expect(['deflate', 'zstd']).toContain(encoding);
        expect(JSON.parse(text)).toMatchObject({ error: { type: 'api_error' } });
        expect(await readLog()).toMatchObject({ error_type: `upstream_encoding: ${encoding}` });
      }
    }
  },
);

test('rejects requests without a credential outside development, and forwards nothing', async () => {
  const deployed = await startEdge(inject('deployed').code, {
    ANTHROPIC_API_KEY: KEY,
    ANTHROPIC_BASE_URL: upstream.url,
  });
  try {
    for (const path of ['/messages', '/v1/messages', '/count-tokens', '/v1/messages/count_tokens']) {
      const response = await fetch(deployed.url + path, { method: 'POST', headers: JSON_HEADERS, body: messageBody });
      expect([401, 500]).toContain(response.status);
      await readResponseText(response);
    }
    for (const path of ['/models', '/v1/models', '/v1/models/x', '/v1/files']) {
      const response = await fetch(deployed.url + path);
      expect([401, 500]).toContain(response.status);
      await readResponseText(response);
    }
    expect((await fetch(`${deployed.url}/health`)).status).toBe(200);
    expect(upstream.receivedRequests).toHaveLength(0);
  } finally {
    await deployed.stop();
  }
});

test('returns 500 with the name of a malformed setting on every route, without upstream requests', async () => {
  const broken = await startEdge(inject('worker'), {
    ...developmentVars(),
    MAX_BODY_BYTES: 'lots',
  });
  try {
    for (const path of ['/messages', '/health', '/nope', '/v1/models']) {
      const response = await fetch(
        broken.url + path,
        path === '/messages' ? { method: 'POST', headers: JSON_HEADERS, body: messageBody } : {},
      );
      expect(response.status).toBe(500);
      const text = await readResponseText(response);
      expect(text).toContain('MAX_BODY_BYTES');
      expect(text).not.toContain('lots');
    }
    expect(upstream.receivedRequests).toHaveLength(0);
  } finally {
    await broken.stop();
  }
});

test("sends the upstream's key to the upstream, and never exposes it in a response, error or log", async () => {
  const answers: FakeUpstream['answer'][] = [
    (_, response) =>
      response.writeHead(401, JSON_HEADERS).end(JSON.stringify({ type: 'error', error: { message: KEY } })),
    (_, response) => response.writeHead(302, { location: `https://x.test/?key=${KEY}` }).end(),
    (_, response) => response.writeHead(502, { 'content-type': 'text/html' }).end(`<p>${KEY}</p>`),
    (_, response) => response.socket?.destroy(),
    (_, response) => void streamBytes(response, [halfMessage], 'cut'),
  ];
  const hasty = await startEdge(inject('worker'), {
    ...developmentVars(),
    UPSTREAM_MAX_RETRIES: '0',
  });
  try {
    for (const answer of answers) {
      upstream.answer = answer;
      for (const path of ['/messages', '/v1/messages', '/count-tokens', '/v1/models']) {
        const init = path === '/v1/models' ? {} : { method: 'POST', body: messageBody };
        const headers = { ...JSON_HEADERS, 'x-api-key': 'any', authorization: 'Bearer any' };
        await readResponseText(await fetch(hasty.url + path, { ...init, headers }));
      }
    }
    await expect.poll(() => hasty.log.length).toBe(answers.length * 4);
    expect(JSON.stringify(hasty.log)).not.toContain(KEY);
  } finally {
    await hasty.stop();
  }
  expect(upstream.receivedRequests.every(({ headers }) => headers['x-api-key'] === KEY)).toBe(true);
  expect(upstream.receivedRequests.some(({ headers }) => 'authorization' in headers)).toBe(false);
  expect(returnedText.length).toBeGreaterThan(20);
  expect(returnedText.filter((text) => text.includes(KEY))).toEqual([]);
});
