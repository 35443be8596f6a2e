import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import { getUpstreamBySettings, type Upstream } from '#edge/claude/upstream.ts';
import { parseSettings, type Settings } from '#edge/config/settings.ts';
import { health as healthResource } from '#edge/health/health.reference.ts';
import { type DescribedRoute, getResponsesByStatus } from '#edge/openapi/resource.ts';
import { getPoolStub } from '#edge/plugins/pools/call-pool.ts';
import { Pool } from '#edge/plugins/pools/pool.ts';
import { createTestApp, TEST_KEY } from '#test/support/app.ts';
import { bindings } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { createBody } from '#test/support/turns.ts';
import { createWebhookWorks, getInbox } from '#test/support/webhooks.ts';

const refusal = (status: number, type: string, message: string) =>
  Response.json({ type: 'error', error: { type, message } }, { status });
const unknownKey = () => refusal(401, 'authentication_error', 'invalid x-api-key');
const message = () =>
  Response.json({
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-opus-5-5',
    stop_reason: 'end_turn',
    content: [{ type: 'text', text: 'Hi.' }],
    usage: { input_tokens: 10, output_tokens: 10 },
  });
const alerts = async () =>
  (await getInbox('alert').listAlerts({ limit: 100 })).data.map(({ kind, subject }) => [kind, subject]);
const incidents = async () => (await pool().getPoolOverview({}, false)).incidents;
const pool = () => getPoolStub(bindings, {}, 'deployment');

/** An edge whose upstream answers as it is told to. */
function edge() {
  createWebhookWorks();
  const said = { now: unknownKey as () => Response };
  const app = createTestApp(() => said.now());
  const ask = async () => {
    const { status } = await app.post('/v1/messages', createBody('Hi.'));
    await app.waitUntilSettled();
    return status;
  };
  const health = async (query = '') => {
    const answer = await app.fetch(`/health${query}`);
    return { status: answer.status, json: (await answer.json()) as { status: string; since?: string; todo?: string } };
  };
  return { said, app, ask, health };
}

test.each([
  ['is not known', unknownKey],
  ['may not be used', () => refusal(403, 'permission_error', 'This API key is disabled.')],
  ['has an open bill', () => refusal(402, 'billing_error', 'Your bill is open.')],
  ['has no credit', () => refusal(400, 'invalid_request_error', 'Your credit balance is too low.')],
])('a key that %s degrades /health, with one alert at the start and one at the end', async (_, refused) => {
  const { said, ask, health } = edge();
  expect(await health('?strict')).toMatchObject({ status: 200, json: { status: 'ok' } });
  said.now = refused;
  const before = Date.now();
  expect(await ask()).toBe(500);
  const { status, json } = await health();
  expect([status, json.status]).toEqual([200, 'degraded']);
  expect(Date.parse(json.since ?? '')).toBeGreaterThanOrEqual(before - 1);
  const strict = await health('?strict');
  expect(strict.status).toBe(503);
  const declared = getResponsesByStatus(healthResource.routes['GET /health'] as DescribedRoute)[503]?.content?.[0];
  expect(declared?.schema.safeParse(strict.json).data).toEqual(strict.json);
  expect(await ask()).toBe(500);
  expect((await health()).json.since).toBe(json.since);
  await eventually(async () => expect(await alerts()).toEqual([['key_refused', expect.stringMatching(/^40\d \w+: /)]]));
  const todo = expect.stringMatching(
    /^All requests to Claude fail\. .* ANTHROPIC_API_KEY\. Only the operator can do this\.$/,
  );
  expect((await getInbox('alert').listAlerts({ limit: 1 })).data).toMatchObject([{ todo }]);
  expect(await incidents()).toMatchObject([{ kind: 'key_refused', todo }]);
  said.now = message;
  expect(await ask()).toBe(200);
  expect(await health('?strict')).toMatchObject({ status: 200, json: { status: 'ok' } });
  await eventually(async () => expect(await alerts()).toHaveLength(2));
  expect((await alerts())[0]).toEqual([
    'key_works',
    expect.stringMatching(/^requests were rejected from \S+Z until \S+Z$/),
  ]);
  expect(await incidents()).toEqual([]);
});

test.each([
  ['the request', () => refusal(400, 'invalid_request_error', 'max_tokens: too large')],
  ['a model', () => refusal(403, 'permission_error', 'You may not use this model.')],
  ['nobody knows what', () => new Response('<h1>Forbidden</h1>', { status: 403 })],
  ['too many requests', () => refusal(429, 'rate_limit_error', 'Slower.')],
])('an upstream error about %s does not degrade /health', async (_, refused) => {
  const { said, ask, health } = edge();
  said.now = refused;
  await ask();
  expect((await health()).json.status).toBe('ok');
  expect(await alerts()).toEqual([]);
});

test('the error and /health explain how to fix an organization on hold; only the error quotes the upstream', async () => {
  const { said, app, health } = edge();
  const details = { error_code: 'organization_on_hold', appeal_url: 'https://appeal.test/acme' };
  const error = { type: 'invalid_request_error', message: 'Acme has been disabled.', details };
  said.now = () => Response.json({ type: 'error', error }, { status: 400 });
  const todo =
    'The Claude API has put the organization on hold. Appeal, or set the key of another organization in ANTHROPIC_API_KEY.';
  const answer = await app.post('/v1/messages', createBody('Hi.'));
  expect((await answer.json()) as object).toMatchObject({
    error: { message: `${todo} It says (400): Acme has been disabled.` },
  });
  expect((await health()).json.todo).toBe(todo);
});

test('the deployment tests a rejected key until it works, unless a bill is open or a spend limit is reached', async () => {
  createWebhookWorks();
  const settings = parseSettings({ ANTHROPIC_API_KEY: TEST_KEY }, true);
  const answers = [unknownKey, () => Response.json({ input_tokens: 8 })];
  const paths: string[] = [];
  const upstream: Upstream = {
    baseURL: 'https://upstream.invalid',
    apiKey: TEST_KEY,
    isSimulated: false,
    fetch: async (url) => {
      paths.push(new URL(url).pathname);
      return answers.shift()?.() ?? Response.error();
    },
  };
  const inside = Pool.prototype as unknown as { settings(): Settings; upstream(): Upstream };
  vi.spyOn(inside, 'settings').mockReturnValue(settings);
  vi.spyOn(inside, 'upstream').mockReturnValue(upstream);
  await pool().recordUpstreamKeyState('401 authentication_error: invalid x-api-key');
  await pool().recordUpstreamKeyState('401 authentication_error: told by another isolate');
  await runDurableObjectAlarm(pool());
  expect(await alerts()).toEqual([['key_refused', '401 authentication_error: invalid x-api-key']]);
  await runDurableObjectAlarm(pool());
  await eventually(async () => expect((await alerts()).map(([kind]) => kind)).toEqual(['key_works', 'key_refused']));
  expect(paths).toEqual(['/v1/messages/count_tokens', '/v1/messages/count_tokens']);
  for (const said of [
    '402 billing_error: Your bill is open.',
    '429 rate_limit_error contract_spend_limit_reached: Acme',
  ]) {
    await pool().recordUpstreamKeyState(said);
    await runDurableObjectAlarm(pool());
    expect(paths).toHaveLength(2);
    await pool().recordUpstreamKeyState(null);
  }
  answers.push(() => Response.json({ input_tokens: 8 }));
  await pool().recordUpstreamKeyState('400 invalid_request_error organization_on_hold: Acme');
  await runDurableObjectAlarm(pool());
  expect(paths).toHaveLength(3);
  await eventually(async () =>
    expect((await alerts())[0]).toEqual([
      'key_works',
      expect.stringMatching(/^requests were rejected from \S+Z until \S+Z$/),
    ]),
  );
  await runInDurableObject(pool(), async (_, { storage }) => await storage.deleteAlarm());
});

test('each of several upstreams has its own alerts, and is tested with a model that it serves', async () => {
  createWebhookWorks();
  const settings = parseSettings({
    UPSTREAM_EAST_KEY: 'key-east',
    UPSTREAM_WEST_KEY: 'key-west',
    UPSTREAMS: JSON.stringify([
      { name: 'east', kind: 'anthropic', base_url: 'https://east.keys.test', models: ['claude-haiku-4-5'] },
      { name: 'west', kind: 'anthropic', base_url: 'https://west.keys.test' },
    ]),
  });
  const asked: string[] = [];
  const upstream = getUpstreamBySettings(settings, async (url, { body }) => {
    const { model } = (await new Response(body ?? '').json()) as { model: string };
    asked.push(`${new URL(url).host} ${model}`);
    return Response.json({ input_tokens: 8 });
  });
  const inside = Pool.prototype as unknown as { settings(): Settings; upstream(): Upstream };
  vi.spyOn(inside, 'settings').mockReturnValue(settings);
  vi.spyOn(inside, 'upstream').mockReturnValue(upstream);
  await pool().recordUpstreamKeyState('401 authentication_error: Acme', 'east');
  await pool().recordUpstreamKeyState('402 billing_error: Acme', 'west');
  await pool().recordUpstreamKeyState('401 authentication_error: told by another isolate', 'east');
  await runDurableObjectAlarm(pool());
  expect(asked).toEqual(['east.keys.test claude-haiku-4-5-20251001']);
  await eventually(async () =>
    expect(await alerts()).toEqual([
      ['key_works', expect.stringMatching(/^east: requests were rejected from /)],
      ['key_refused', 'west: 402 billing_error: Acme'],
      ['key_refused', 'east: 401 authentication_error: Acme'],
    ]),
  );
  await runInDurableObject(pool(), async (_, { storage }) => await storage.deleteAlarm());
});

test('a key alert is closed when its upstream is removed or changed, and repeated for a new cause', async () => {
  createWebhookWorks();
  const upstreams = (entries: object[]) =>
    parseSettings({
      UPSTREAM_EAST_KEY: 'key-east',
      UPSTREAM_WEST_KEY: 'key-west',
      UPSTREAMS: JSON.stringify(entries.map((entry) => ({ kind: 'anthropic', ...entry }))),
    });
  const east = { name: 'east', base_url: 'https://east.gone.test' };
  const west = { name: 'west', base_url: 'https://west.gone.test' };
  let settings = upstreams([east, west]);
  const inside = Pool.prototype as unknown as { settings(): Settings };
  vi.spyOn(inside, 'settings').mockImplementation(() => settings);
  const bill = '402 billing_error: Your bill is open.';
  await pool().recordUpstreamKeyState(bill, 'east');
  await pool().recordUpstreamKeyState('402 billing_error: In other words.', 'east');
  await pool().recordUpstreamKeyState('400 invalid_request_error organization_on_hold: Acme', 'east');
  await pool().recordUpstreamKeyState(bill, 'west');
  const told = async () => (await alerts()).map(([kind, subject]) => `${kind} ${subject}`);
  await eventually(async () =>
    expect(await told()).toEqual([
      `key_refused west: ${bill}`,
      'key_refused east: 400 invalid_request_error organization_on_hold: Acme',
      `key_refused east: ${bill}`,
    ]),
  );
  settings = upstreams([{ ...west, base_url: 'https://moved.gone.test' }]);
  await runDurableObjectAlarm(pool());
  await eventually(async () =>
    expect((await told()).slice(0, 2).toSorted()).toEqual([
      expect.stringMatching(/^key_works east: requests /),
      expect.stringMatching(/^key_works west: requests /),
    ]),
  );
  await runInDurableObject(pool(), async (_, { storage }) => await storage.deleteAlarm());
});
