// In workerd: requests, answers and aborts are the runtime's.
import 'cloudflare:workers';

import { expect, test } from 'vitest';
import { countTokens } from '#edge/claude/count-tokens.ts';
import { ModelTable } from '#edge/claude/models/models.ts';
import { findDefaultModel } from '#edge/claude/pricing/default-model.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';

const settings = parseSettings({ UPSTREAM_MAX_RETRIES: '0' }, true);

function counting(answer: () => Response) {
  const sent: Request[] = [];
  const upstream = {
    baseURL: 'https://upstream.test',
    apiKey: 'the-key',
    isSimulated: false,
    fetch: async (url: string, init: RequestInit) => {
      sent.push(new Request(url, init));
      return answer();
    },
  };
  const headers = new Headers({ authorization: 'Bearer mine', 'anthropic-beta': 'b', 'idempotency-key': 'k' });
  return { sent, work: () => countTokens(() => '{}', { upstream, settings, model: 'claude-haiku-5-5', headers }) };
}

const refusal = (status: number, message = 'words') =>
  Response.json({ type: 'error', error: { type: 'x', message } }, { status });

test('sends a token count with the deployment’s key and the caller’s betas', async () => {
  const { sent, work } = counting(() => Response.json({ input_tokens: 7 }));
  expect(await work()).toBe(7);
  const [request] = sent;
  expect(request?.url).toBe('https://upstream.test/v1/messages/count_tokens');
  expect(Object.fromEntries(request?.headers ?? [])).toMatchObject({ 'x-api-key': 'the-key', 'anthropic-beta': 'b' });
  for (const name of ['authorization', 'idempotency-key']) expect(request?.headers.has(name)).toBe(false);
});

test('returns count errors that the caller can fix, and hides errors about the operator', async () => {
  for (const [answer, status, type, message] of [
    [() => refusal(400), 400, 'invalid_request_error', 'words'],
    [() => refusal(404), 404, 'not_found_error', 'words'],
    [() => refusal(413), 413, 'request_too_large', 'words'],
    [() => refusal(401), 500, 'api_error', /rejected this deployment/],
    [() => refusal(403), 500, 'api_error', /rejected this deployment/],
    [() => refusal(429), 429, 'rate_limit_error', /Try again/],
    [() => refusal(529), 529, 'overloaded_error', 'words'],
    [() => new Response('no JSON', { status: 400 }), 400, 'invalid_request_error', /without an explanation/],
    [() => Response.json({ input_tokens: 'many' }), 500, 'api_error', /not the Claude API/],
    [() => Response.json({ input_tokens: -1 }), 500, 'api_error', /not the Claude API/],
  ] as const) {
    const thrown = await counting(answer)
      .work()
      .catch((error: unknown) => error);
    if (!(thrown instanceof ApiError)) throw thrown;
    expect({ status: thrown.status, type: thrown.type }).toEqual({ status, type });
    expect(thrown.message).toMatch(message);
  }
});

test('aborts a response that stalls after its headers on timeout or when the caller disconnects', async () => {
  const upstream = {
    baseURL: 'https://upstream.test',
    apiKey: 'the-key',
    isSimulated: false,
    fetch: async (_url: string, { signal }: RequestInit) =>
      new Response(
        new ReadableStream({
          start(body) {
            body.enqueue(new Uint8Array([123]));
            signal?.addEventListener('abort', () => body.error(signal.reason));
          },
        }),
      ),
  };
  const hasty = { ...settings, UPSTREAM_TIMEOUT_MS: 50 };
  const headers = new Headers();
  await expect(
    countTokens(() => '{}', { upstream, settings: hasty, model: 'claude-haiku-5-5', headers }),
  ).rejects.toMatchObject({
    type: 'timeout_error',
  });
  const caller = new AbortController();
  const counted = countTokens(() => '{}', {
    upstream,
    settings,
    model: 'claude-haiku-5-5',
    headers,
    signal: caller.signal,
  });
  caller.abort();
  await expect(counted).rejects.toMatchObject({ logged: 'client_gone' });
});

test('findDefaultModel returns the cheapest Haiku that is not retired', () => {
  expect(findDefaultModel(new ModelTable())?.id).toBe('claude-haiku-5-5');
  const retired = new ModelTable({ 'claude-haiku-5-5': { retires_at: '2026-11-01T00:00:00Z' } });
  expect(findDefaultModel(retired, Date.parse('2026-11-20'))?.id).toBe('claude-haiku-4-5-20251001');
  expect(findDefaultModel(retired, Date.parse('2026-10-20'))?.id).toBe('claude-haiku-5-5');
  const cheaper = new ModelTable({ 'claude-haiku-6': { line: 'haiku', prices: { input: 0.05 } } });
  expect(findDefaultModel(cheaper)?.id).toBe('claude-haiku-6');
});
