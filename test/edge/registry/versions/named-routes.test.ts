import { expect, test } from 'vitest';
import { ask } from '#test/support/agents.ts';
import { as, simulatedEdge } from '#test/support/prefixes.ts';

const MODEL = { model: 'claude-opus-5-5', max_tokens: 16 };

test.each([
  ['agents', { ...MODEL, system: 'Be brief.' }, { system: 'Be kind.' }],
  ['prefixes', { ...MODEL, system: 'Be brief.' }, { description: 'Another one.' }],
  ['classifiers', { labels: ['a', 'b'] }, { labels: ['a', 'c'] }],
])('PUT /%s accepts what GET returns, and ignores its read-only fields', async (path, body, change) => {
  const app = simulatedEdge();
  const bob = await as('bob', 'messages', 'classify', 'prefixes');
  const { version } = (await ask(app, 'PUT', `/${path}/x`, bob, body)).body;
  const got = await ask(app, 'GET', `/${path}/x`, bob);
  expect(got.body).toMatchObject({ name: 'x', version, owner: 'account' });
  const again = await ask(app, 'PUT', `/${path}/x`, bob, got.body);
  expect([again.status, again.body.version]).toEqual([200, version]);
  const changed = await ask(app, 'PUT', `/${path}/x`, bob, { ...got.body, ...change });
  expect(changed.status).toBe(200);
  expect(changed.body.version).not.toBe(version);
  const back = await ask(app, 'PUT', `/${path}/x`, bob, { version });
  expect([back.status, back.body.version]).toEqual([200, version]);
});
