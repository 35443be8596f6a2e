import { expect, test } from 'vitest';
import { askUpstream } from '../../scripts/ask-upstream.ts';

const asked = {
  name: 'The Claude API',
  setting: 'ANTHROPIC_API_KEY',
  request: () => ({ url: 'https://api.test/v1/models', headers: { 'x-api-key': 'sk-secret' } }),
};

test('an upstream that refuses the key is told at the start, each reason in its own words, never with the key', async () => {
  const told = new Set<string | undefined>();
  for (const status of [401, 402, 403]) {
    const sentence = await askUpstream(asked, async (url, init) => {
      expect(String(url)).toBe('https://api.test/v1/models');
      expect(new Headers(init?.headers).get('x-api-key')).toBe('sk-secret');
      return new Response(`{"error":{"message":"no: sk-secret"}}`, { status });
    });
    expect(sentence).toContain(`(${status}): {"error":{"message":"no: …"}}`);
    expect(sentence).toContain('ANTHROPIC_API_KEY');
    expect(sentence).not.toContain('sk-secret');
    told.add(sentence?.replace(/\d+/, ''));
  }
  expect(told.size).toBe(3);
});

test.each([
  [{ details: { error_code: 'organization_on_hold' }, message: 'Acme' }, 'has put the organization on hold'],
  [{ message: 'You have reached your specified API usage limits.' }, 'takes nothing more: a spend limit is reached'],
  [{ details: { error_code: 'constructor' }, message: 'no' }, undefined],
  [{ details: { error_code: 'tool_name_conflict' }, message: 'no' }, undefined],
])('a 400 is about the key where its code or its sentence says so: %j', async (error, expected) => {
  const sentence = await askUpstream(asked, async () => Response.json({ type: 'error', error }, { status: 400 }));
  if (expected === undefined) expect(sentence).toBeUndefined();
  else expect(sentence).toContain(`The Claude API ${expected}`);
});

test('one that cannot be reached is told, one that has no list of models is not', async () => {
  const refused = new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') });
  expect(await askUpstream(asked, () => Promise.reject(refused))).toContain('(connect ECONNREFUSED)');
  expect(await askUpstream(asked, async () => new Response('', { status: 404 }))).toBeUndefined();
  expect(await askUpstream(asked, async () => Response.json({ data: [] }))).toBeUndefined();
});
