import { expect, test } from 'vitest';
import { testApp } from '../../../support/app.ts';
import { bearer, DEPLOYED, tokenOf } from '../../../support/tokens.ts';

const NOT_FOUND = { type: 'error', error: { type: 'not_found_error', message: 'model: as the API says it' } };

test.each([
  ['claude-3-5-sonnet-20241022', 'Use claude-sonnet-4-6'],
  ['claude-sonet-5-5', 'Did you mean claude-sonnet-5-5?'],
])('the 404 for %s has a hint in a header, and the body of the upstream', async (model, words) => {
  const app = testApp(() => Response.json(NOT_FOUND, { status: 404 }), DEPLOYED);
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
