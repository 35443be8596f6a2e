/** Upstreams that fall silent, for as long as a real clock takes. By day `test/edge/claude` shows it, whose clock is its own. */
import { describe, expect, test } from 'vitest';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { startSimulatingEdge } from '#test/support/edge.ts';
import { streamBytes } from '#test/support/upstream.ts';
import {
  bytes,
  halfMessage,
  IDLE_MS,
  installRelay,
  JSON_HEADERS,
  message,
  messageBody,
  postToMessages,
  readError,
  readLog,
  readResponseText,
  sendRaw,
  TIMEOUT_MS,
  upstream,
} from '#test/support/use-relay.ts';

installRelay();

test('sends no retry if the caller disconnects while the edge waits to retry', async () => {
  upstream.answer = (_, response) => response.writeHead(529, { 'retry-after-ms': '2000' }).end('{}');
  const waiting = sendRaw('/v1/messages');
  await expect.poll(() => upstream.receivedRequests.length).toBe(1);
  waiting.resetAndDestroy();
  // Its line is written when nothing goes on for it.
  expect(await readLog()).toMatchObject({ error_type: 'client_gone' });
  expect(upstream.receivedRequests).toHaveLength(1);
});

describe('an upstream that stops sending', () => {
  test('in a stream causes an error event after the idle timeout, never a clean end', async () => {
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(halfMessage);
    };
    const started = Date.now();
    const text = await readResponseText(await postToMessages('/messages'));
    expect(Date.now() - started).toBeGreaterThanOrEqual(IDLE_MS - 50);
    expect(Date.now() - started).toBeLessThan(60_000);
    expect(text.startsWith(new TextDecoder().decode(halfMessage))).toBe(true);
    expect(text).toMatch(/\nevent: error\ndata: \{"type":"error","error":\{"type":"api_error".*stopped sending.*\n\n$/);
    await expect.poll(() => upstream.cancelledCount).toBe(1);
    expect(await readLog()).toMatchObject({ error_type: 'upstream_silent', tokens: { input: 25 } });
  });

  test('before the first event of a stream causes an error event', async () => {
    upstream.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    };
    expect(await readResponseText(await postToMessages('/messages'))).toMatch(/^event: error\n/);
  });

  test('in a non-streaming response causes a 500', async () => {
    upstream.answer = (_, response) => {
      response.writeHead(200, JSON_HEADERS);
      response.write('{"type":"message"');
    };
    expect(await readError(await postToMessages('/v1/messages'))).toEqual({ status: 500, type: 'api_error' });
    expect(await readLog()).toMatchObject({ error_type: 'upstream_silent' });
  });

  test('before its headers causes a 504', async () => {
    upstream.answer = () => {};
    const started = Date.now();
    expect(await readError(await postToMessages('/messages'))).toEqual({ status: 504, type: 'timeout_error' });
    expect(Date.now() - started).toBeGreaterThanOrEqual(TIMEOUT_MS - 50);
    await expect.poll(() => upstream.cancelledCount).toBeGreaterThan(0);
  });

  test('except for pings causes no timeout', async () => {
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
    expect(await readResponseText(await postToMessages('/messages'))).toBe(
      `${': still here\n\n'.repeat(11)}${TEXT_STREAM}`,
    );
  });
});

test('a failed upstream attempt is retried and invisible to the caller, streaming or not', async () => {
  for (const path of ['/messages', '/v1/messages']) {
    upstream.receivedRequests.length = 0;
    upstream.answer = (_, response) => {
      const tries = upstream.receivedRequests.length;
      if (tries === 1) response.writeHead(529, { ...JSON_HEADERS, 'retry-after-ms': '1' }).end('{"type":"error"}');
      else if (tries === 2 && path === '/messages') response.writeHead(503, JSON_HEADERS).end('{"type":"error"}');
      else if (path === '/messages') void streamBytes(response, [bytes], 'end');
      else response.writeHead(200, JSON_HEADERS).end(JSON.stringify(message));
    };
    const response = await postToMessages(path);
    expect(response.status).toBe(200);
    expect(await readResponseText(response)).toBe(path === '/messages' ? TEXT_STREAM : JSON.stringify(message));
    expect(upstream.receivedRequests).toHaveLength(path === '/messages' ? 3 : 2);
    const asked = upstream.receivedRequests.map(({ body }) => JSON.parse(body.toString()));
    // Each try is a hold of its own.
    expect(new Set(asked.map((sent) => JSON.stringify(sent))).size).toBe(1);
  }
});

test.each(['/messages', '/v1/messages'])('the edge sends a request once if its connection breaks: %s', async (path) => {
  upstream.answer = (_, response) => void response.socket?.destroy();
  expect(await readError(await postToMessages(path))).toEqual({ status: 500, type: 'api_error' });
  expect(upstream.receivedRequests).toHaveLength(1);
});

test('the edge does not repeat a stream that was cut after its first byte', async () => {
  upstream.answer = (_, response) => void streamBytes(response, [halfMessage], 'cut');
  expect(await readResponseText(await postToMessages('/messages'))).toContain('event: error');
  upstream.answer = (_, response) => {
    response.writeHead(200, { ...JSON_HEADERS, 'content-length': '1000' });
    response.write('{"type":', () => response.socket?.destroy());
  };
  expect(await readError(await postToMessages('/v1/messages'))).toEqual({ status: 500, type: 'api_error' });
  expect(upstream.receivedRequests).toHaveLength(2);
});

test("the simulator's faults cause the same errors as those of an upstream", async () => {
  const simulated = await startSimulatingEdge({
    SIMULATOR_TTFT_MS: '0',
    SIMULATOR_TOKENS_PER_SECOND: '0',
    STREAM_IDLE_MS: String(IDLE_MS),
    UPSTREAM_TIMEOUT_MS: String(TIMEOUT_MS),
    UPSTREAM_MAX_RETRIES: '1',
  });
  const ask = (path: string, fault: string) =>
    fetch(simulated.url + path, {
      method: 'POST',
      headers: { ...JSON_HEADERS, 'sluice-simulate': fault },
      body: messageBody,
    });
  try {
    for (const fault of ['silence-after=2', 'cut-bytes=300', 'end-bytes=300', 'cut-events=3', 'end-events=0']) {
      const response = await ask('/messages', fault);
      expect(response.headers.get('sluice-upstream')).toBe('simulator');
      expect(await response.text(), fault).toMatch(
        /event: error\ndata: \{"type":"error","error":\{"type":"api_error".*\n\n$/,
      );
    }
    for (const fault of ['cut-bytes=40', 'end-bytes=40', 'network']) {
      expect(await readError(await ask('/v1/messages', fault)), fault).toEqual({ status: 500, type: 'api_error' });
    }
    for (const [path, fault] of [
      ['/v1/messages', 'silence-after=0'],
      ['/messages', 'slow-start=10000'],
    ] as const) {
      expect(await readError(await ask(path, fault)), fault).toEqual({ status: 504, type: 'timeout_error' });
    }
    expect(await (await ask('/messages', 'status=529;times=1;key=a;retry-after-ms=1')).text()).toContain(
      'message_stop',
    );
    expect(await readError(await ask('/messages', 'status=529;retry-after-ms=1'))).toEqual({
      status: 529,
      type: 'overloaded_error',
    });
  } finally {
    await simulated.stop();
  }
});
