import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createApp } from '../../../src/app.ts';
import { type Edge, startEdge } from '../../support/edge.ts';
import { SECRET } from '../../support/tokens.ts';
import type { FakeUpstream } from '../../support/upstream.ts';
import { MOST_TIMES, measureGrowth } from './measure.ts';
import type { Send } from './row.ts';
import { ROWS } from './rows.ts';
import { answeringUpstream } from './upstream.ts';

/** By night all is larger by so much. */
const { REPEATS = '1' } = process.env;
/** Nothing of what they are sent is repeated. */
const WITHOUT_BODY = [
  'POST /conversations/:id/stop',
  'POST /classifications/:id/cancel',
  'POST /v1/messages/batches/:id/cancel',
  'POST /pools/deployment/recount',
  'POST /webhooks/:source/events/:id/replay',
];

let upstream: FakeUpstream;
let edge: Edge;

beforeAll(async () => {
  upstream = await answeringUpstream();
  edge = await startEdge(inject('worker'), {
    MODE: 'development',
    UPSTREAM: 'anthropic',
    SIGNING_SECRET: SECRET,
    GITHUB_WEBHOOK_SECRET: SECRET,
    ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
    ANTHROPIC_BASE_URL: upstream.url,
  });
});

afterAll(async () => {
  const { user, system } = process.cpuUsage();
  console.info(`${Math.round(edge.cpuMs())} ms of the edge, ${Math.round((user + system) / 1e3)} ms of the tests`);
  await edge?.stop();
  await upstream?.stop();
});

const send: Send = async ({ path, method = 'POST', body, headers = {}, status = 200 }) => {
  const isPlain = body === undefined || typeof body === 'string' || body instanceof FormData;
  const response = await fetch(edge.url + path, {
    method,
    headers: { ...(body instanceof FormData ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: isPlain ? (body as string | FormData) : JSON.stringify(body) }),
  });
  const text = await response.text();
  upstream.received.length = 0;
  if (response.status !== status) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 400)}`);
  return text;
};

test('each route with a body has a row', () => {
  const routes = createApp().routes.map(({ method, path }) => `${method} ${path}`);
  const withBody = new Set(routes.filter((route) => /^(POST|PUT|PATCH) /.test(route)));
  expect(withBody.size).toBeGreaterThan(25);
  const named = new Set([...ROWS.flatMap(({ where }) => where), ...WITHOUT_BODY]);
  expect([...withBody].filter((route) => !named.has(route))).toEqual([]);
  expect([...named].filter((route) => !routes.includes(route))).toEqual([]);
  expect(ROWS.length).toBeGreaterThanOrEqual(40);
});

for (const row of ROWS) {
  const { what, where, most = Number.POSITIVE_INFINITY, notYet } = row;
  const n = Math.min(row.n * (notYet === undefined ? Number(REPEATS) : 1), Math.floor(most / 8));
  test(`${what}, at ${where.join(' and ')}: eight times as many take no more than ${MOST_TIMES} times as long`, async () => {
    const { least, eightfold, times } = await measureGrowth(edge, send, row, n);
    console.info(`${times.toFixed(1)} ×\t${least.toFixed(1)} → ${eightfold.toFixed(1)} ms\t${n} ${what}`);
    if (notYet === undefined) expect(times).toBeLessThanOrEqual(MOST_TIMES);
    else expect(times, `it is mended: take \`notYet\` (${notYet}) out of its row`).toBeGreaterThan(MOST_TIMES);
  });
}
