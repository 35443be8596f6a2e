import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { createApp } from '#edge/app.ts';
import type { Fetch } from '#edge/claude/upstream.ts';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { readError } from '#test/support/app.ts';
import { createTrackedContext, trackRequest } from '#test/support/pending-work.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const bindings = env as unknown as Bindings;
/** More than is kept before anything goes up. */
const LONG = JSON.stringify({
  requests: Array.from({ length: 60 }, (_, nth) => ({
    custom_id: `item${nth}`,
    params: {
      model: 'claude-sonnet-5-5',
      max_tokens: 10,
      messages: [{ role: 'user', content: 'word '.repeat(8_000) }],
    },
  })),
});

/** Sends a long batch to an edge before this upstream. */
async function send(upstream: Fetch): Promise<Response> {
  const app = createApp({ fetch: upstream });
  const own = Object.fromEntries(Object.entries(env).filter(([, value]) => typeof value !== 'string'));
  const vars = { ...own, ANTHROPIC_API_KEY: 'key', UPSTREAM: 'anthropic' };
  parseSettingsOnce(vars, true);
  const request = new Request('http://localhost:8787/v1/messages/batches', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: LONG,
  });
  return await trackRequest(Promise.resolve(app.fetch(request, vars, createTrackedContext('an upload'))), 'an upload');
}

/** Reads the beginning of a body, as long as nobody has given it up. */
async function begin(body: BodyInit | null | undefined): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const reader = (body as ReadableStream<Uint8Array>).getReader();
  await reader.read();
  return reader;
}

const nothingHeld = async () =>
  expect((await getAccountStub(bindings, {}, 'dev').getQuotaReport()).day).toMatchObject({
    held_usd: 0,
    settled_usd: 0,
  });

test('an upstream’s error before the end of the request body is returned with its status and message', async () => {
  const response = await send(async (_, { body, signal }) => {
    await begin(body);
    const text = new TextEncoder().encode(
      JSON.stringify({ type: 'error', error: { type: 'invalid_request_error', message: 'Too much for today.' } }),
    );
    // Its words end with the call, as those of the network do.
    const words = new ReadableStream({
      async pull(controller) {
        await yieldToEventLoop(20);
        if (signal?.aborted) return controller.error(signal.reason);
        controller.enqueue(text);
        controller.close();
      },
    });
    return new Response(words, { status: 400, headers: { 'content-type': 'application/json' } });
  });
  expect(response.status).toBe(400);
  expect((await readError(response)).message).toBe('Too much for today.');
  await nothingHeld();
});

test('a connection that breaks before the request body has ended is a 503, and nothing is held', async () => {
  let sent = 0;
  const response = await send(async (_, { body }) => {
    sent += 1;
    await (await begin(body)).cancel(new Error('connection reset'));
    throw new Error('connection reset');
  });
  expect(response.status).toBe(503);
  expect(response.headers.get('retry-after')).toBe('1');
  expect((await readError(response)).message).toContain('so it was not created. Send it again.');
  expect(sent).toBe(1);
  await nothingHeld();
});
