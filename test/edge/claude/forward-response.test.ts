// In workerd: the streams are the runtime's.
import 'cloudflare:workers';

import { expect, test } from 'vitest';
import { UpstreamExchange } from '#edge/claude/exchange.ts';
import { forwardResponse } from '#edge/claude/forward-response.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { RequestLogEntry } from '#edge/kit/http/log.ts';

test('treats a caller that stops reading a file as disconnected, and cancels the upstream response', async () => {
  let isCancelled = false;
  const body = new ReadableStream({
    type: 'bytes',
    pull: (controller) => controller.enqueue(new Uint8Array(4_096)),
    cancel: () => {
      isCancelled = true;
    },
  });
  const upstream = {
    baseURL: 'https://upstream.test',
    apiKey: 'key',
    fetch: async () => new Response(body),
    isSimulated: false,
  };
  const settings = parseSettings({ ANTHROPIC_API_KEY: 'key', STREAM_IDLE_MS: '50' });
  const exchange = new UpstreamExchange({ upstream, settings });
  const response = await exchange.sendToUpstream({ method: 'GET', path: '/v1/files/f/content', headers: {} });
  const entry = new RequestLogEntry('req_1', { version: 'test', method: 'GET', route: '/v1/files/:id/content' });
  const works: Promise<unknown>[] = [];
  const down = forwardResponse({ response, exchange }, {}, { entry, waitUntil: (work) => works.push(work) });
  await Promise.all(works);
  expect([entry.line.error_type, isCancelled]).toEqual(['client_gone', true]);
  await expect(down.text()).rejects.toThrow();
});
