import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { canEdgeRetryForClient, isSelfRetryingClient } from '#edge/claude/client-retries.ts';
import firstPrompt from '#test/fixtures/claude-code/first-prompt.json';
import { createTestApp } from '#test/support/app.ts';
import { stopClock } from '#test/support/calendar.ts';
import { tryCases } from '#test/support/property-cases.ts';

/** As they were sent: name, headers, whether it tries again by itself. */
const CLIENTS: [string, Record<string, string>, boolean][] = [
  ['official SDK 1.x', { 'user-agent': 'Anthropic/JS 1.10.0', 'x-stainless-retry-count': '0' }, true],
  ['official SDK in Python', { 'user-agent': 'Anthropic/Python 0.80.0', 'x-stainless-retry-count': '1' }, true],
  ['Claude Code', firstPrompt.headers, true],
  ['LangChain', { 'user-agent': 'Anthropic/JS 0.122.0', 'x-stainless-retry-count': '0' }, true],
  ['AI SDK 6', { 'user-agent': 'ai/6.0.326 ai-sdk/provider-utils/4.0.64 runtime/node.js/v20.20.2' }, true],
  ['AI SDK 6, streaming', { 'user-agent': 'ai-sdk/anthropic/3.0.138 ai-sdk/provider-utils/4.0.64' }, true],
  ['AI SDK 7', { 'user-agent': 'ai/7.0.173 ai-sdk-provider-utils/5.0.81 node.js/24' }, true],
  ['AI SDK 7, streaming', { 'user-agent': 'ai-sdk-anthropic/4.0.105 ai-sdk-provider-utils/5.0.81' }, true],
  ['curl', { 'user-agent': 'curl/8.5.0' }, false],
  ['a browser’s fetch', { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0' }, false],
  ['somebody’s own', { 'user-agent': 'my-ai/1.0 openai/2 said/3' }, false],
  ['nobody', {}, false],
  ['a header that counts nothing', { 'x-stainless-retry-count': '' }, false],
];

describe.each(CLIENTS)('%s', (_, headers, retries) => {
  test(`${retries ? 'tries again by itself, and is helped only where nobody was reached' : 'is helped'}`, () => {
    expect(isSelfRetryingClient(new Headers(headers))).toBe(retries);
    const small = Object.fromEntries(new Headers(headers));
    for (const isReached of [false, true]) {
      expect(canEdgeRetryForClient(small, isReached)).toBe(!isReached || !retries);
      expect(canEdgeRetryForClient(new Headers(headers), isReached)).toBe(canEdgeRetryForClient(small, isReached));
    }
  });
});

test('sends the upstream only one request per attempt of a client that retries by itself', () => {
  tryCases(100, fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 5 }), (ofClient, ofEdge) => {
    let upstream = 0;
    for (let attempt = 0; attempt <= ofClient; attempt += 1) {
      const headers = { 'x-stainless-retry-count': String(attempt) };
      for (let again = 0; again <= ofEdge; again += 1) {
        upstream += 1;
        if (!canEdgeRetryForClient(headers, true)) break;
      }
    }
    expect(upstream).toBe(ofClient + 1);
  });
});

test('isSelfRetryingClient returns a boolean for any user agent', () => {
  tryCases(100, fc.string({ maxLength: 200 }), (agent) => {
    expect(typeof isSelfRetryingClient({ 'user-agent': agent })).toBe('boolean');
  });
});

describe('a request that always fails', () => {
  const ask = { model: 'claude-haiku-4-5', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] };
  const overloaded = { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } };
  const counted = { 'x-stainless-retry-count': '0' };
  // How soon a connection fails says whether it came to be: a busy machine must not.
  beforeEach(stopClock);

  test.each([
    ['overloaded, of a client that tries again by itself, is sent once', counted, 1],
    ['overloaded, of any other, is sent as often as the setting says', {}, 3],
  ])('%s', async (_, headers, times) => {
    const app = createTestApp(() => Response.json(overloaded, { status: 529, headers: { 'retry-after-ms': '1' } }));
    expect((await app.post('/v1/messages', ask, headers)).status).toBe(529);
    expect(app.sent).toHaveLength(times);
    await app.waitUntilSettled();
  });

  const several = {
    UPSTREAMS: JSON.stringify([{ name: 'east', kind: 'anthropic', base_url: 'https://east.refused.test' }]),
    UPSTREAM_EAST_KEY: 'key-east',
  };

  test.each([
    ['the only upstream', {}],
    ['one of the list', several],
  ])('is retried for every client if no connection to %s was established', async (_, vars) => {
    const app = createTestApp(() => {
      throw new TypeError('connection refused');
    }, vars);
    expect((await app.post('/v1/messages', ask, counted)).status).toBe(500);
    expect(app.sent).toHaveLength(3);
    await app.waitUntilSettled();
  });
});
