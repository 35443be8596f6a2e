import OlderAnthropic from 'anthropic-sdk-0';
import { describe, expect, test } from 'vitest';
import { asking, clientOf, get, model, post, refusal, requiredHeaders, simulated } from './api.ts';

describe('the simulated API', () => {
  const api = simulated();

  test('adds `sluice-upstream: simulator` and a unique request id to every response, including errors', async () => {
    const answers = await Promise.all([
      api(post(asking('hi'))),
      api(post(asking('hi', { stream: true }))),
      api(post('nonsense')),
      api(get('/v1/models')),
      api(get('/nowhere')),
    ]);
    for (const answer of answers) {
      expect(answer.headers.get('sluice-upstream')).toBe('simulator');
      expect(answer.headers.get('request-id')).toMatch(/^req_01[A-Za-z0-9]{22}$/);
      expect(answer.headers.get('anthropic-organization-id')).toMatch(/^[0-9a-f-]{36}$/);
    }
    expect(new Set(answers.map((answer) => answer.headers.get('request-id'))).size).toBe(answers.length);
  });

  test('reports rate limits on messages, counted by key', async () => {
    const remaining = async (key: string): Promise<number> => {
      const { headers } = await api(post(asking('hi'), { 'x-api-key': key }));
      for (const kind of ['requests', 'tokens', 'input-tokens', 'output-tokens']) {
        expect(Number(headers.get(`anthropic-ratelimit-${kind}-limit`))).toBeGreaterThan(0);
        expect(headers.get(`anthropic-ratelimit-${kind}-reset`)).toBe('2026-11-20T12:01:00Z');
      }
      return Number(headers.get('anthropic-ratelimit-requests-remaining'));
    };
    const first = await remaining('a');
    expect(await remaining('a')).toBe(first - 1);
    expect(await remaining('b')).toBe(first);
  });

  test.each([
    ['https://api.test/v1/messages'],
    ['https://api.test/v1/messages?beta=true'],
    ['https://api.test/some/base/url/v1/messages'],
  ])('responds under any base URL and with any query: %s', async (url) => {
    const request = new Request(url, { method: 'POST', headers: requiredHeaders, body: JSON.stringify(asking('hi')) });
    expect((await api(request)).status).toBe(200);
  });

  test.each([
    ['GET', '/v1/messages'],
    ['DELETE', '/v1/models'],
    ['HEAD', '/api/hello'],
    ['PATCH', '/v1/files'],
    ['GET', '/v1/skills'],
    ['POST', '/v2/messages'],
  ])('returns 404 for %s %s', async (method, path) => {
    const answer = await api(new Request(`https://api.test${path}`, { method, headers: requiredHeaders }));
    expect(answer.status).toBe(404);
    if (method !== 'HEAD') expect((await refusal(answer)).type).toBe('not_found_error');
  });

  test.each<[string, Record<string, string>, number, string]>([
    ['no credential', { 'x-api-key': '' }, 401, 'x-api-key header is required'],
    [
      'a credential of another scheme',
      { 'x-api-key': '', authorization: 'Basic eA==' },
      401,
      'x-api-key header is required',
    ],
    [
      'a browser that does not say that it means it',
      { origin: 'https://page.test' },
      401,
      "CORS requests must set 'anthropic-dangerous-direct-browser-access' header",
    ],
    ['no version', { 'anthropic-version': '' }, 400, 'anthropic-version: header is required'],
    [
      'an unknown version',
      { 'anthropic-version': '2020-01-01' },
      400,
      'anthropic-version: "2020-01-01" is not a valid version',
    ],
    [
      'a body that says it is not JSON',
      { 'content-type': 'text/plain' },
      400,
      'Content-Type must be application/json, got text/plain',
    ],
  ])('rejects %s', async (_, headers, status, message) => {
    expect(await refusal(await api(post(asking('hi'), headers)))).toMatchObject({ status, message });
  });

  test.each<[string, Record<string, string>]>([
    ['a bearer token', { 'x-api-key': '', authorization: 'Bearer anything' }],
    ['the newer version', { 'anthropic-version': '2026-10-21' }],
    ['a browser that means it', { origin: 'https://page.test', 'anthropic-dangerous-direct-browser-access': 'true' }],
    ['a content type with a charset', { 'content-type': 'application/json; charset=utf-8' }],
  ])('accepts %s', async (_, headers) => {
    expect((await api(post(asking('hi'), headers))).status).toBe(200);
  });

  test('returns the same content for the same request, with new ids', async () => {
    const body = asking('What is the weather in Oslo?', {
      thinking: { type: 'adaptive' },
      tools: [{ name: 'weather', input_schema: { type: 'object', properties: { city: { type: 'string' } } } }],
    });
    const [first, second, other] = await Promise.all(
      [api, api, simulated({ seed: 'another' })].map(async (simulator) =>
        (await simulator(post(body))).json<Record<string, unknown>>(),
      ),
    );
    const withoutIds = (value: unknown): string => JSON.stringify(value).replace(/"(msg|toolu)_\w+"/g, '"id"');
    expect(withoutIds(second)).toBe(withoutIds(first));
    expect(first?.id).not.toBe(second?.id);
    expect(withoutIds(other)).not.toBe(withoutIds(first));
  });

  test('streams the same message that it returns without streaming', async () => {
    for (const thinking of [
      { type: 'adaptive' },
      { type: 'adaptive', display: 'omitted' },
      { type: 'disabled' },
    ] as const) {
      const client = clientOf(simulated());
      const body = {
        model,
        max_tokens: 500,
        thinking,
        messages: [{ role: 'user' as const, content: 'Write 100 words.' }],
      };
      const whole = await client.messages.create(body);
      const streamed = await client.messages.stream(body).finalMessage();
      expect(streamed.content.map(({ type }) => type)).toEqual(whole.content.map(({ type }) => type));
      expect(streamed).toMatchObject({ ...whole, id: expect.any(String) });
    }
  });

  test('works with the older official client', async () => {
    const client = new OlderAnthropic({
      apiKey: 'test-key',
      maxRetries: 0,
      fetch: (url, init) => api(new Request(url, init)),
    });
    const body = { model, messages: [{ role: 'user' as const, content: 'What is the weather?' }] };
    const tools = [{ name: 'weather', input_schema: { type: 'object' as const } }];
    const streamed = await client.messages.stream({ ...body, tools, max_tokens: 500, temperature: 0.5 }).finalMessage();
    expect(streamed.stop_reason).toBe('tool_use');
    expect((await client.messages.countTokens({ ...body, tools })).input_tokens).toBe(streamed.usage.input_tokens);
    expect((await client.models.list()).data).toHaveLength(2);
    await expect(client.messages.create({ ...body, max_tokens: 9, model: 'gpt' })).rejects.toMatchObject({
      status: 404,
    });
  });

  test('rejects an aborted request as fetch does', async () => {
    const request = new Request(post(asking('hi')), { signal: AbortSignal.abort(new Error('gone')) });
    await expect(api(request)).rejects.toThrow();
  });
});
