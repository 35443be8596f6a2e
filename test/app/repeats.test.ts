import { expect, test } from 'vitest';
import { createApp } from '../../src/app.ts';
import { ROWS } from '../e2e/repeats/rows.ts';

/** Nothing of what they are sent is read. */
const WITHOUT_BODY = [
  'POST /conversations/:id/stop',
  'POST /tokens/renew',
  'POST /classifications/:id/cancel',
  'POST /v1/messages/batches/:id/cancel',
  'POST /pools/deployment/recount',
  'POST /webhooks/:source/events/:id/replay',
];

/** What they are sent is one short text. */
const SHORT = ['POST /tokens/visitor'];

test('each route with a body has a row in the table of what can be repeated', () => {
  const routes = createApp().routes.map(({ method, path }) => `${method} ${path}`);
  const withBody = new Set(routes.filter((route) => /^(POST|PUT|PATCH) /.test(route)));
  expect(withBody.size).toBeGreaterThan(25);
  const named = new Set([...ROWS.flatMap(({ where }) => where), ...WITHOUT_BODY, ...SHORT]);
  expect([...withBody].filter((route) => !named.has(route))).toEqual([]);
  expect([...named].filter((route) => !routes.includes(route))).toEqual([]);
});
