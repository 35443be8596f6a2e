import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { decodeJwt } from 'jose';
import { afterEach, expect, test, vi } from 'vitest';
import { RESOURCES } from '#edge/openapi.ts';
import { Pool } from '#edge/plugins/pools/pool.ts';
import { createTestApp, type SentRequest, type TestApp, waitForAllApps } from '#test/support/app.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import { installSimulator, stubOf } from '#test/support/conversations.ts';
import { resetAll } from '#test/support/reset.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createBody } from '#test/support/turns.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { createEvent, createWebhookWorks, getInbox } from '#test/support/webhooks.ts';
import runbook from '../../../docs/runbook.md?raw';

setClockToNoon();
afterEach(async () => {
  await waitForAllApps();
  vi.restoreAllMocks();
  await resetAll();
  // What an account has in memory, such as a lease, outlives its rows.
  await abortAllDurableObjects();
});

type Json = Record<string, unknown>;
/** What an operator sees of an incident. */
interface Seen {
  log: readonly Json[];
  health: Json;
  /** What users were told. */
  told: string;
  /** The last request, as `GET /usage/requests/:request_id` gives it. */
  request?: Json;
}

const LABELS = ['Log', '`/health`', 'Page', 'Cause', 'Fix'] as const;
type Label = (typeof LABELS)[number];

/** What the runbook says once for all lines that do not name `/health`. */
const [, USUAL_HEALTH = ''] = /^If an incident has no line `\/health`, the response is (.+?)\./m.exec(runbook) ?? [];

/** What the runbook says of each incident, by its heading and by what each line begins with. */
const INCIDENTS = new Map(
  runbook
    .split(/^## /m)
    .slice(1)
    .filter((section) => section.includes('- **Cause**'))
    .map((section) => {
      const lines = [...section.matchAll(/^- \*\*(.+?)\*\*: (.+)$/gm)].map(([, label = '', says = '']) => [
        label,
        says,
      ]);
      return [
        section.slice(0, section.indexOf('\n')),
        { lines, of: { '`/health`': USUAL_HEALTH, ...Object.fromEntries(lines) } as Record<Label, string> },
      ];
    }),
);

/** @returns the objects of JSON in a line */
const objectsIn = (line: string) => [...line.matchAll(/`(\{.+?\})`/g)].map(([, json = '']) => JSON.parse(json) as Json);
const quotedIn = (line: string) => [...line.matchAll(/“(.+?)”/g)].map(([, words = '']) => words.replaceAll('`', ''));

/** @returns what a shown object stands for: `…` for any words, and milliseconds for at least so many */
function meant(shown: Json): Json {
  const members = Object.entries(shown).map(([name, value]) => {
    if (typeof value === 'string' && value.endsWith('…')) return [name, expect.stringContaining(value.slice(0, -1))];
    return [name, name.endsWith('ms') ? expect.toSatisfy((ms: number) => ms >= Number(value), `${value} ms`) : value];
  });
  return Object.fromEntries(members) as Json;
}

const DEPLOYMENT = { ...DEPLOYED_VARS, UPSTREAM: '', UPSTREAM_MAX_RETRIES: '0' };
const answering = ({ url }: Pick<SentRequest, 'url'>) =>
  Response.json(url.pathname.endsWith('/count_tokens') ? { input_tokens: 20 } : SMALL_MESSAGE);
const failing = (status: number, type: string, message: string) => () =>
  Response.json({ type: 'error', error: { type, message } }, { status });
const edge = (
  answer: (sent: SentRequest) => Response | Promise<Response> = answering,
  vars: Record<string, string> = {},
) => createTestApp(answer, { ...DEPLOYMENT, ...vars });
const admin = async () => bearerHeader(await createToken('root', ['admin']));

/** Asks as often as there are headers, and looks as an operator would. */
async function seen(app: TestApp, headers: Record<string, string>[], more: object = {}): Promise<Seen> {
  let told = '';
  let id = '';
  for (const one of headers) {
    const answer = await app.post('/v1/messages', { ...createBody('Hi'), ...more }, one);
    id = answer.headers.get('sluice-request-id') ?? '';
    told += await answer.text();
    await app.waitUntilSettled();
  }
  return await look(app, told.replaceAll('`', ''), id);
}

async function look(app: TestApp, told: string, id = ''): Promise<Seen> {
  const log = [...app.log];
  const health = (await (await app.fetch('/health')).json()) as Json;
  const found = await app.fetch(`/usage/requests/${id}`, { headers: await admin() });
  const request = (await found.json()) as Json;
  return { log, health, told, request };
}

/** Limits what all accounts may spend together. */
async function limitAll(app: TestApp, limits: object): Promise<void> {
  const headers = { 'content-type': 'application/json', ...(await admin()) };
  const answer = await app.fetch('/pools/deployment/limits', { method: 'PUT', headers, body: JSON.stringify(limits) });
  expect(answer.status).toBe(200);
}

const alice = async () => bearerHeader(await createToken('alice'));

const PROVOKED: Record<string, () => Promise<Seen>> = {
  'Users get 401': async () => {
    const app = edge();
    const token = await createToken('alice');
    const path = `/accounts/alice/tokens/${decodeJwt(token).jti}`;
    expect((await app.fetch(path, { method: 'DELETE', headers: await admin() })).status).toBe(200);
    return await seen(app, [bearerHeader(token), bearerHeader(`${token.slice(0, -9)}123456789`)]);
  },
  'Users get 403': async () => await seen(edge(), [bearerHeader(await createToken('alice', ['classify']))]),
  'Users get 429': async () => {
    const app = edge(answering, { DEFAULT_LIMITS: '{"requests_per_minute":1}' });
    return await seen(app, [await alice(), await alice()]);
  },
  'Users get 500': async () => await seen(edge(failing(500, 'api_error', 'Internal server error')), [await alice()]),
  'Users get 529': async () => await seen(edge(failing(529, 'overloaded_error', 'Overloaded')), [await alice()]),
  'Users get nothing': async () => {
    const app = edge(() => new Promise(() => {}), { STREAM_HEADERS_MS: '80' });
    return await seen(app, [await alice()], { stream: true });
  },
  'Costs are wrong': async () => {
    const model = 'claude-next-9';
    return await seen(
      edge(() => Response.json({ ...SMALL_MESSAGE, model })),
      [await alice()],
      { model },
    );
  },
  'Answers are slow': async () => {
    const { now } = Date;
    let passed = 0;
    vi.spyOn(Date, 'now').mockImplementation(() => now() + passed);
    const app = edge((sent) => {
      passed += 8_000;
      return answering(sent);
    });
    return await seen(app, [await alice()]);
  },
  'The key is refused': async () =>
    await seen(edge(failing(401, 'authentication_error', 'invalid x-api-key')), [await alice()]),
  'A budget is spent at noon': async () => {
    const app = edge(answering, { DEPLOYMENT_LIMITS: '{}' });
    await limitAll(app, { usd_per_day: 0.0015 });
    return await seen(app, [bearerHeader(await createToken('spender')), await alice()], { model: SMALL_MESSAGE.model });
  },
  'A webhook is late': async () => {
    const deliveryFetch = async () => new Response(null, { status: 500 });
    const works = createWebhookWorks(
      { deliveryFetch },
      createWebhookVars('github', { deliver_url: 'https://hooks.example.com/labels' }),
    );
    await getInbox('github').accept(createEvent('github_1'));
    await works.consume(['github_1']);
    expect(await works.report('github_1')).toMatchObject({ state: 'delivering' });
    return { ...(await look(edge(), '')), log: works.log };
  },
  'A pool cannot be reached': async () => {
    vi.spyOn(Pool.prototype, 'leaseJson').mockImplementation(() => {
      throw new Error('Network connection lost.');
    });
    return await seen(edge(answering, { DEPLOYMENT_LIMITS: '{"usd_per_day":1}' }), [await alice()]);
  },
  'A conversation is damaged': async () => {
    installSimulator();
    const app = edge();
    await seen(app, [await alice()], { conversation: 'c1' });
    await runInDurableObject(stubOf(), (_, { storage }) => {
      storage.sql.exec(`update meta set value = '{' where key = 'profile'`);
    });
    await abortAllDurableObjects();
    const answer = await app.fetch('/conversations/c1', { headers: await alice() });
    return await look(app, await answer.text());
  },
};

test('the runbook has its lines for each incident that is provoked here, and no other incidents', () => {
  expect(objectsIn(USUAL_HEALTH)).toEqual([{ status: 'ok' }]);
  expect([...INCIDENTS.keys()]).toEqual(Object.keys(PROVOKED));
  for (const [name, { lines }] of INCIDENTS) {
    const labels = lines.map(([label]) => label);
    expect(labels, name).toEqual(LABELS.filter((label) => label !== '`/health`' || labels.includes(label)));
  }
});

test.each([...INCIDENTS])('%s: what is provoked is what the runbook shows of it', async (name, { of }) => {
  const { log, health, told, request } = (await PROVOKED[name]?.()) ?? { log: [], health: {}, told: '' };
  const [line = {}] = objectsIn(of.Log);
  expect(Object.keys(line).length).toBeGreaterThan(1);
  expect(log).toContainEqual(expect.objectContaining(meant(line)));
  for (const words of quotedIn(of.Log)) expect(told).toContain(words);
  expect(health).toMatchObject(objectsIn(of['`/health`'])[0] ?? { status: 'the runbook does not say it' });
  for (const row of objectsIn(of.Cause)) expect(request).toMatchObject(meant(row));
});

test('a deployment that may spend nothing refuses what costs, as the guide for a move says', async () => {
  const app = edge(answering, { DEPLOYMENT_LIMITS: '{}' });
  await limitAll(app, { usd_total: 0 });
  const { log, told } = await seen(app, [await alice()]);
  expect(log.at(-1)).toMatchObject({ status: 429, error_type: 'billing_error', limited_by: 'deployment' });
  expect(told).not.toContain(SMALL_MESSAGE.id);
});

test('the remedy for a spent budget, as the runbook names it, changes one limit: the others and the alerts stay', async () => {
  const { Fix: remedy = '' } = INCIDENTS.get('A budget is spent at noon')?.of ?? {};
  const [, method = '', path = ''] = /`(\w+) (\/pools\/[^`]+)`/.exec(remedy) ?? [];
  const app = edge(answering, { DEPLOYMENT_LIMITS: '{}' });
  await limitAll(app, { usd_per_day: 0, usd_per_month: 9, alerts: [0.5] });
  expect((await app.post('/v1/messages', createBody('Hi'), await alice())).status).toBe(429);
  const headers = { 'content-type': 'application/json', ...(await admin()) };
  const raised = await app.fetch(path, { method, headers, body: JSON.stringify({ usd_per_day: 5 }) });
  expect(raised.status).toBe(200);
  const { limits } = (await (await app.fetch('/pools/deployment', { headers })).json()) as Json;
  expect(limits).toEqual({ usd_per_day: 5, usd_per_month: 9, alerts: [0.5] });
  expect((await app.post('/v1/messages', createBody('Hi'), await alice())).status).toBe(200);
});

test('each route that the runbook names is one of the edge', () => {
  const known = new Set(RESOURCES.flatMap(({ routes }) => Object.keys(routes)));
  const named = [...runbook.matchAll(/`((?:GET|POST|PUT|PATCH|DELETE) \/[^`?]*)/g)].map(([, route = '']) => route);
  const ofMany = (route: string) =>
    [...known].some((one) => one.replace(/:\w+/g, ':id') === route.replace(/:\w+/g, ':id'));
  expect(named.length).toBeGreaterThan(15);
  // What other programs read is no part of the reference.
  expect(named.filter((route) => route !== 'GET /metrics' && !ofMany(route))).toEqual([]);
});
