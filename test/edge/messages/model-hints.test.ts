import { expect, test } from 'vitest';
import { errorOf, testApp } from '#test/support/app.ts';
import { answeringBy } from '#test/support/scripted-runs.ts';
import { bearer, DEPLOYED, tokenOf } from '#test/support/tokens.ts';

const NOT_FOUND = { type: 'error', error: { type: 'not_found_error', message: 'model: as the API says it' } };

test.each([
  ['claude-3-5-sonnet-20241022', 'Use claude-sonnet-4-6'],
  ['claude-sonet-5-5', 'Did you mean claude-sonnet-5-5?'],
])('the 404 for %s has a hint in a header, and the body of the upstream', async (model, words) => {
  const notFound = () => Response.json(NOT_FOUND, { status: 404 });
  const app = testApp(notFound, DEPLOYED);
  answeringBy(notFound);
  const headers = bearer(await tokenOf(`hints-${crypto.randomUUID()}`, ['messages']));
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
});

test('a rejection by Sluice itself has the hint in its message', async () => {
  const list = [{ name: 'one', kind: 'anthropic', base_url: 'https://one.example.com' }];
  const vars = { ...DEPLOYED, UPSTREAM: 'anthropic', UPSTREAMS: JSON.stringify(list), UPSTREAM_ONE_KEY: 'one' };
  const app = testApp(() => Response.json({}), vars);
  const headers = bearer(await tokenOf('hints', ['messages']));
  const response = await app.fetch('/v1/models/claude-sonet-5-5', { headers });
  expect(response.status).toBe(404);
  expect((await errorOf(response)).message).toContain('Did you mean claude-sonnet-5-5? GET /models');
});
