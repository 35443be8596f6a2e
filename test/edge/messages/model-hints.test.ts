import { describe, expect, test } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { requestEdge } from '#test/support/agents.ts';
import { createTestApp } from '#test/support/app.ts';
import { answerByScript } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

const NOT_FOUND = { type: 'error', error: { type: 'not_found_error', message: 'model: as the API says it' } };

const HINTS = {
  'claude-3-5-sonnet-20241022': 'Use claude-sonnet-4-6',
  'claude-sonet-5-5': 'Did you mean claude-sonnet-5-5?',
};

test.each(Object.entries(HINTS))(
  'the 404 for %s has a hint in a header, and the upstream’s body',
  async (model, words) => {
    const notFound = () => Response.json(NOT_FOUND, { status: 404 });
    const app = createTestApp(notFound, DEPLOYED_VARS);
    answerByScript(notFound);
    const headers = bearerHeader(await createToken(`hints-${crypto.randomUUID()}`, ['messages']));
    const body = { model, max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }], stream: false };
    for (const [path, more] of [
      ['/v1/messages', {}],
      ['/messages', { conversation: 'c1' }],
      ['/count-tokens', { max_tokens: undefined }],
    ] as const) {
      const response = await app.post(path, { ...body, ...more }, headers);
      expect(response.status, path).toBe(404);
      expect(response.headers.get('sluice-hint'), path).toContain(words);
      expect(await response.json(), path).toMatchObject(NOT_FOUND);
    }
  },
);

test.each(Object.entries(HINTS))(
  'the 404 of a classification with %s has the hint, but not for a restricted token',
  async (model, words) => {
    const app = createTestApp(() => Response.json(NOT_FOUND, { status: 404 }), DEPLOYED_VARS);
    const account = `hints-${crypto.randomUUID()}`;
    const headers = bearerHeader(await createToken(account, ['classify', 'prefixes']));
    const response = await app.post('/classify', { input: 'Hi', labels: ['a', 'b'], model }, headers);
    expect([response.status, response.headers.get('sluice-hint')]).toEqual([404, expect.stringContaining(words)]);
    expect(await response.json()).toMatchObject(NOT_FOUND);
    // A page does not see the model of its classifier.
    expect((await requestEdge(app, 'PUT', '/classifiers/old', headers, { labels: ['a', 'b'], model })).status).toBe(
      200,
    );
    const restricted = bearerHeader(await createToken(account, ['classify'], { only: { classifiers: ['own:old'] } }));
    const page = await app.post('/classify', { input: 'Hi', classifier: 'old' }, restricted);
    expect([page.status, page.headers.get('sluice-hint')]).toEqual([404, null]);
  },
);

const QUESTION = { max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] };

test('the hint is about the agent’s model, and is hidden from restricted tokens', async () => {
  const notFound = () => Response.json(NOT_FOUND, { status: 404 });
  const app = createTestApp(notFound, DEPLOYED_VARS);
  answerByScript(notFound);
  const account = `hints-${crypto.randomUUID()}`;
  const headers = bearerHeader(await createToken(account, ['messages', 'prefixes']));
  const put = await requestEdge(app, 'PUT', '/agents/old', headers, {
    model: 'claude-3-5-sonnet-latest',
    max_tokens: 9,
  });
  expect(put.status).toBe(200);
  const restricted = bearerHeader(await createToken(account, ['messages'], { only: { agents: ['own:old'] } }));
  for (const stream of [false, true]) {
    for (const more of [{}, { conversation: `c-${stream}` }]) {
      const body = { ...QUESTION, ...more, model: 'claude-sonet-5-5', agent: 'old', stream };
      const response = await app.post('/messages', body, headers);
      expect([response.status, response.headers.get('sluice-hint')], JSON.stringify(more)).toEqual([
        404,
        expect.stringContaining('claude-3-5-sonnet-latest was retired on 2025-10-28. Use claude-sonnet-4-6'),
      ]);
      await response.body?.cancel();
      if (!('conversation' in more)) continue;
      const page = await app.post('/messages', { ...body, conversation: `p-${stream}` }, restricted);
      expect([page.status, page.headers.get('sluice-hint')]).toEqual([404, null]);
      await page.body?.cancel();
    }
  }
});

describe('a 404 from Sluice itself', () => {
  const account = 'hints-of-limits';

  /** The message about a model of an account with these limits. */
  async function rejection(limits: object, path: string, body?: object): Promise<string> {
    const app = createTestApp(() => Response.json({}), DEPLOYED_VARS);
    const set = await requestEdge(
      app,
      'PUT',
      `/accounts/${account}/limits`,
      bearerHeader(await createToken('root', ['admin'])),
      limits,
    );
    expect(set.status).toBe(200);
    const headers = bearerHeader(await createToken(account, ['messages', 'classify', 'prefixes']));
    const { status, body: answer } = await requestEdge(app, body ? 'POST' : 'GET', path, headers, body);
    expect(status).toBe(404);
    expect(app.sent).toEqual([]);
    return (answer.error as JsonObject).message as string;
  }

  test.each([
    ['POST /messages', { ...QUESTION, model: 'claude-sonet-5-5' }],
    ['POST /v1/messages', { ...QUESTION, model: 'claude-sonet-5-5' }],
    ['POST /classify', { input: 'Hi', labels: ['a', 'b'], model: 'claude-sonet-5-5' }],
    [
      'POST /v1/messages/batches',
      { requests: [{ custom_id: 'one', params: { ...QUESTION, model: 'claude-sonet-5-5' } }] },
    ],
    ['GET /v1/models/claude-sonet-5-5', undefined],
  ])('has a hint in its message if the limit `models` does not include the model: %s', async (route, body) => {
    const message = await rejection({ models: ['claude-sonnet-5-5'] }, route.split(' ')[1] ?? '', body);
    expect(message).toMatch(/^This account cannot use claude-sonet-5-5\. .*Did you mean claude-sonnet-5-5\? /);
  });

  test('has a hint in its message if the account has a limit in USD and the model has no price', async () => {
    const message = await rejection({ usd_per_day: 1 }, '/messages', {
      ...QUESTION,
      model: 'claude-sonnet-4-20250514',
    });
    expect(message).toMatch(
      /the price of claude-sonnet-4-20250514 is not known\. .* was retired on 2026-06-15\. Use claude-son/,
    );
  });

  test.each([
    ['/messages', { ...QUESTION, model: 'claude-sonet-5-5' }],
    ['/v1/models/claude-sonet-5-5', undefined],
  ])('has a hint in its message if no upstream of several serves the model: %s', async (path, body) => {
    const list = [
      { name: 'one', kind: 'anthropic', base_url: 'https://one.example.com', models: ['claude-sonnet-5-5'] },
    ];
    const vars = { ...DEPLOYED_VARS, UPSTREAM: 'anthropic', UPSTREAMS: JSON.stringify(list), UPSTREAM_ONE_KEY: 'one' };
    const app = createTestApp(() => Response.json({}), vars);
    const headers = bearerHeader(await createToken('hints', ['messages']));
    const { status, body: answer } = await requestEdge(app, body ? 'POST' : 'GET', path, headers, body);
    expect([status, (answer.error as JsonObject).message]).toEqual([
      404,
      expect.stringContaining('Did you mean claude-sonnet-5-5? GET /models'),
    ]);
  });
});
