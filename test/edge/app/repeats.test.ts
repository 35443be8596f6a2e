import { expect, test } from 'vitest';
import { createApp } from '../../../src/edge/app.ts';
import { ROWS } from '../../e2e/repeats/rows.ts';

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

/** What they read or end is one row, or what a few calls of others say: nothing that grows with what was done. */
const OF_ONE_ROW = [
  'GET /health',
  'GET /alerts',
  'GET /pools/deployment',
  ...['agents', 'prefixes', 'classifiers'].map((kind) => `DELETE /${kind}/:name/versions/:hash`),
  'GET /prefixes/:name/stats',
  'DELETE /groups/:id/accounts/:account',
  'DELETE /accounts/:id/tokens/:jti',
  'GET /usage/requests/:request_id',
  'GET /webhooks/:source/events/:id',
  'GET /classifications/:id',
  ...['GET /models', 'GET /models/:id', 'GET /v1/models', 'GET /v1/models/:id'],
];

/** What they answer comes from the upstream, and passes through. */
const RELAYED = [
  ...['GET /v1/messages/batches', 'DELETE /v1/messages/batches/:id'],
  ...['GET /v1/files', 'GET /v1/files/:id', 'GET /v1/files/:id/content', 'DELETE /v1/files/:id'],
];

test('each route has a row in the table of what can be repeated', () => {
  const routes = createApp().routes.flatMap(({ method, path }) =>
    /^(GET|POST|PUT|PATCH|DELETE)$/.test(method) ? [`${method} ${path}`] : [],
  );
  const all = new Set(routes);
  expect(all.size).toBeGreaterThan(80);
  const rows = ROWS.flatMap(({ where }) => where);
  const named = [...rows, ...WITHOUT_BODY, ...SHORT, ...OF_ONE_ROW, ...RELAYED];
  expect([...all].filter((route) => !named.includes(route))).toEqual([]);
  expect(named.filter((route) => !all.has(route))).toEqual([]);
  // What has come to have a row is not excused any more.
  expect([...OF_ONE_ROW, ...RELAYED].filter((route) => rows.includes(route))).toEqual([]);
});
