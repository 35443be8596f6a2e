import { abortAllDurableObjects, runInDurableObject } from 'cloudflare:test';
import { decodeJwt } from 'jose';
import { afterEach, expect, test, vi } from 'vitest';
import { getCachedOrComputeMark } from '#edge/auth/account-mark.ts';
import { mintToken } from '#edge/auth/mint.ts';
import { usdToNanodollars } from '#edge/claude/pricing/cost.ts';
import { RESOURCES } from '#edge/openapi.ts';
import { Pool } from '#edge/plugins/pools/pool.ts';
import { settleAt } from '#test/edge/money/account/admission-requests.ts';
import { createTestApp, type SentRequest, type TestApp, waitForAllApps } from '#test/support/app.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import { installSimulator, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { resetAll } from '#test/support/reset.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS, SECRET } from '#test/support/tokens.ts';
import { createBody } from '#test/support/turns.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { createEvent, createWebhookWorks, getInbox, getTestAccount, WEBHOOK_SECRET } from '#test/support/webhooks.ts';
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
const [, USUAL_HEALTH = ''] = /`GET \/health` returns (.+?) during the incident/.exec(runbook) ?? [];

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
  'Users get 404 for a model': async () => {
    const app = edge(answering, { DEFAULT_LIMITS: '{"models":["claude-haiku-5-5"]}' });
    return await seen(app, [await alice()]);
  },
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
    await getInbox('github').acceptEvent(createEvent('github_1'));
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
  'A token has leaked': async () => {
    const app = edge();
    const headers = { 'content-type': 'application/json', ...bearerHeader(await createToken('ci', ['admin'])) };
    const body = JSON.stringify({ usd_per_day: 9_000 });
    const answer = await app.fetch('/accounts/sales-08/limits', { method: 'PATCH', headers, body });
    return await look(app, await answer.text());
  },
};

test('the runbook describes exactly the incidents that these tests cause, with all lines', () => {
  expect(objectsIn(USUAL_HEALTH)).toEqual([{ status: 'ok' }]);
  expect([...INCIDENTS.keys()]).toEqual(Object.keys(PROVOKED));
  for (const [name, { lines }] of INCIDENTS) {
    const labels = lines.map(([label]) => label);
    expect(labels, name).toEqual(LABELS.filter((label) => label !== '`/health`' || labels.includes(label)));
  }
});

test.each([...INCIDENTS])('%s: the log, the error and /health are as the runbook shows', async (name, { of }) => {
  const { log, health, told, request } = (await PROVOKED[name]?.()) ?? { log: [], health: {}, told: '' };
  const [line = {}] = objectsIn(of.Log);
  expect(Object.keys(line).length).toBeGreaterThan(1);
  expect(log).toContainEqual(expect.objectContaining(meant(line)));
  for (const words of quotedIn(of.Log)) expect(told).toContain(words);
  expect(health).toMatchObject(objectsIn(of['`/health`'])[0] ?? objectsIn(USUAL_HEALTH)[0] ?? { status: 'unknown' });
  for (const row of objectsIn(of.Cause)) expect(request).toMatchObject(meant(row));
});

test('a deployment with a total limit of 0 USD rejects paid requests, as the operating guide states', async () => {
  const app = edge(answering, { DEPLOYMENT_LIMITS: '{}' });
  await limitAll(app, { usd_total: 0 });
  const { log, told } = await seen(app, [await alice()]);
  expect(log.at(-1)).toMatchObject({ status: 429, error_type: 'billing_error', limited_by: 'deployment' });
  expect(told).not.toContain(SMALL_MESSAGE.id);
});

/** An incident, what an operator fills in where its remedy names a route, and what must hold once all of them were called. */
interface Remedy {
  /** Makes the incident. @returns the app, what has to hold behind the remedy, and the message before which a conversation is damaged */
  begin(): Promise<{
    app: TestApp;
    isCured?: (answers: Map<string, Json>) => Promise<void>;
    before?: string | undefined;
  }>;
  /** Bodies by route, as the runbook writes it. */
  bodies?: Record<string, object>;
  /** The account that stands for the parameter of its routes. Default: `alice`. */
  account?: string;
}

/** The id of a token of `alice` that has leaked. */
const LEAKED_JTI = `tok_${await getCachedOrComputeMark(SECRET, 'alice')}_0123456789abcdef01234567`;

/** What stands for the parameters of the runbook's routes. */
const FILLED: readonly (readonly [RegExp, string])[] = [
  [/\/tokens\/:jti/, `/tokens/${LEAKED_JTI}`],
  [/\/groups\/:id/, '/groups/team'],
  [/\/conversations\/:id/, '/conversations/c1'],
  [/\/webhooks\/:source/, '/webhooks/github'],
  [/\/events\/:id/, '/events/github_2'],
];

/** The account of the webhook `github`. */
const WEBHOOK_ACCOUNT = 'webhook-github';
const LIMITS = 'PATCH /accounts/:id/limits';
const MINTED = { 'POST /tokens': { account: 'alice', scopes: ['messages'] } };

async function group(app: TestApp, limits: object = {}): Promise<void> {
  const headers = { 'content-type': 'application/json', ...(await admin()) };
  await app.fetch('/groups/team/limits', { method: 'PUT', headers, body: JSON.stringify(limits) });
  expect((await app.fetch('/groups/team/accounts/alice', { method: 'PUT', headers })).status).toBe(200);
}

const asks = async (app: TestApp, headers: Record<string, string>, more: object = {}) =>
  (await app.post('/v1/messages', { ...createBody('Hi'), ...more }, headers)).status;
const newToken = (answers: Map<string, Json>) => bearerHeader(String(answers.get('POST /tokens')?.token));

const REMEDIES: Record<string, Remedy> = {
  'Users get 401': {
    begin: async () => {
      const app = edge();
      const revoked = await createToken('alice');
      const path = `/accounts/alice/tokens/${decodeJwt(revoked).jti}`;
      await app.fetch(path, { method: 'DELETE', headers: await admin() });
      expect(await asks(app, bearerHeader(revoked))).toBe(401);
      return { app, isCured: async (answers) => expect(await asks(app, newToken(answers))).toBe(200) };
    },
    bodies: MINTED,
  },
  'Users get 403': {
    begin: async () => {
      const app = edge();
      expect(await asks(app, bearerHeader(await createToken('alice', ['classify'])))).toBe(403);
      return { app, isCured: async (answers) => expect(await asks(app, newToken(answers))).toBe(200) };
    },
    bodies: MINTED,
  },
  'Users get 404 for a model': {
    begin: async () => {
      const app = edge();
      const headers = { 'content-type': 'application/json', ...(await admin()) };
      const body = JSON.stringify({ models: ['claude-haiku-5-5'] });
      await app.fetch('/accounts/alice/limits', { method: 'PUT', headers, body });
      expect(await asks(app, await alice())).toBe(404);
      return { app, isCured: async () => expect(await asks(app, await alice())).toBe(200) };
    },
    bodies: { [LIMITS]: { models: ['claude-haiku-5-5', 'claude-opus-5-5'] } },
  },
  'Users get 429': {
    begin: async () => {
      const app = edge(answering, { DEFAULT_LIMITS: '{"requests_per_minute":1}' });
      expect([await asks(app, await alice()), await asks(app, await alice())]).toEqual([200, 429]);
      const isCured = () => eventually(async () => expect(await asks(app, await alice())).toBe(200));
      return { app, isCured };
    },
    bodies: { [LIMITS]: { requests_per_minute: 6_000 } },
  },
  'Answers are slow': { begin: async () => ({ app: edge() }) },
  'A budget is spent at noon': {
    begin: async () => {
      const app = edge(answering, { DEPLOYMENT_LIMITS: '{}' });
      await limitAll(app, { usd_per_day: 0, usd_per_month: 9, alerts: [0.5] });
      await group(app, { usd_per_day: 0, usd_per_month: 8, alerts: [0.9] });
      expect(await asks(app, await alice())).toBe(429);
      const limitsOf = async (path: string) =>
        ((await (await app.fetch(path, { headers: await admin() })).json()) as Json).limits;
      return {
        app,
        isCured: async () => {
          expect(await asks(app, await alice())).toBe(200);
          // One limit has changed: the others and the alerts stay.
          expect(await limitsOf('/pools/deployment')).toEqual({ usd_per_day: 5, usd_per_month: 9, alerts: [0.5] });
          expect(await limitsOf('/groups/team')).toEqual({ usd_per_day: 4, usd_per_month: 8, alerts: [0.9] });
        },
      };
    },
    bodies: {
      [LIMITS]: { usd_per_day: 3 },
      'PATCH /pools/deployment/limits': { usd_per_day: 5 },
      'PATCH /groups/:id/limits': { usd_per_day: 4 },
    },
  },
  'A webhook is late': {
    begin: async () => {
      let isDown = true;
      const deliveryFetch = async () => new Response(null, { status: isDown ? 410 : 204 });
      const vars = createWebhookVars('github', { deliver_url: 'https://hooks.example.com/labels' });
      const works = createWebhookWorks({ deliveryFetch }, vars);
      await getInbox('github').acceptEvent(createEvent('github_1'));
      await works.consume(['github_1']);
      expect(await works.report('github_1')).toMatchObject({ state: 'parked' });
      const account = getTestAccount(WEBHOOK_ACCOUNT);
      await account.setLimits({ usd_per_day: 1 });
      const startedAt = works.clock.now;
      await settleAt(account, { requestId: 'req_spent', status: 'complete', cost: usdToNanodollars(1), startedAt });
      for (const id of ['github_2', 'github_3']) {
        await getInbox('github').acceptEvent(createEvent(id, `This is another bug: ${id}`));
        await works.consume([id]);
        expect(await works.report(id)).toMatchObject({ state: 'waiting' });
      }
      isDown = false;
      const isCured = async () => {
        for (let alarm = 0; alarm < 2; alarm += 1) {
          await works.wakeAt('github', works.clock.now + 1_000);
          await works.consume();
        }
        for (const id of ['github_1', 'github_2', 'github_3'])
          expect(await works.report(id)).toMatchObject({ state: 'delivered' });
      };
      const bound = { ...DEPLOYMENT, ...vars, DELIVERY_SIGNING_SECRET: WEBHOOK_SECRET, QUEUE: works.queue };
      return { app: createTestApp(answering, bound), isCured };
    },
    bodies: { [LIMITS]: { usd_per_day: 5 } },
    account: WEBHOOK_ACCOUNT,
  },
  'A pool cannot be reached': {
    begin: async () => {
      const app = edge();
      await group(app, { usd_per_day: 1 });
      vi.spyOn(Pool.prototype, 'leaseJson').mockImplementation(() => {
        throw new Error('Network connection lost.');
      });
      expect(await asks(app, await alice())).toBe(503);
      return { app, isCured: async () => expect(await asks(app, await alice())).toBe(200) };
    },
  },
  'A conversation is damaged': {
    begin: async () => {
      installSimulator();
      const app = edge();
      const turn = { conversation: 'c1' };
      expect([await asks(app, await alice(), turn), await asks(app, await alice(), turn)]).toEqual([200, 200]);
      const { data } = (await (await app.fetch('/conversations/c1/messages', { headers: await alice() })).json()) as {
        data: { id: string }[];
      };
      await runInDurableObject(stubOf(), (_, { storage }) => {
        storage.sql.exec(`update messages set text = '{' where seq = (select max(seq) from messages)`);
      });
      await abortAllDurableObjects();
      const isCured = async () => expect(await asks(app, await alice(), turn)).toBe(200);
      return { app, isCured, before: data[2]?.id };
    },
    bodies: MINTED,
  },
  'A token has leaked': {
    begin: async () => {
      const app = edge();
      const renews = { jti: LEAKED_JTI, issuedAt: Math.floor(Date.now() / 1_000) };
      const { token } = await mintToken(SECRET, { account: 'alice', scopes: ['messages'], renews });
      expect(await asks(app, bearerHeader(token))).toBe(200);
      await app.waitUntilSettled();
      return { app, isCured: async () => expect(await asks(app, bearerHeader(token))).toBe(401) };
    },
  },
};

const ROUTE = /`((?:GET|POST|PUT|PATCH|DELETE) \/[^`]*)`/g;
const REMEDIED = [...INCIDENTS].filter(([, { of }]) => of.Fix.match(ROUTE));

test('every remedy that names a route has a test here', () => {
  expect(REMEDIED.map(([name]) => name)).toEqual(Object.keys(REMEDIES));
});

test.each(REMEDIED)(
  '%s: the routes of the remedy, called as written in the runbook, end the incident',
  async (name, { of }) => {
    const { begin, bodies = {}, account = 'alice' } = REMEDIES[name] ?? { begin: () => expect.unreachable(name) };
    const { app, isCured, before } = await begin();
    const answers = new Map<string, Json>();
    for (const [, route = ''] of of.Fix.matchAll(ROUTE)) {
      const [method = '', written = ''] = route.split(' ');
      const ofAccount = written.replace(/\/accounts\/:(id|account)/, `/accounts/${account}`);
      const path = FILLED.reduce((all, [parameter, value]) => all.replace(parameter, value), ofAccount);
      const by = path.startsWith('/conversations/') ? newToken(answers) : await admin();
      const headers = { 'content-type': 'application/json', ...by };
      const body = bodies[route] ?? (path.endsWith('/rewind') ? { before } : undefined);
      const answer = await app.fetch(path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
      const text = await answer.text();
      expect([route, answer.status < 300 ? 'done' : text]).toEqual([route, 'done']);
      answers.set(route, JSON.parse(text || '{}') as Json);
      await app.waitUntilSettled();
    }
    await isCured?.(answers);
    await app.waitUntilSettled();
  },
);

test('every route in the runbook exists', () => {
  const known = new Set(RESOURCES.flatMap(({ routes }) => Object.keys(routes)));
  const named = [...runbook.matchAll(/`((?:GET|POST|PUT|PATCH|DELETE) \/[^`?]*)/g)].map(([, route = '']) => route);
  const ofMany = (route: string) =>
    [...known].some((one) => one.replace(/:\w+/g, ':id') === route.replace(/:\w+/g, ':id'));
  expect(named.length).toBeGreaterThan(15);
  // What other programs read is no part of the reference.
  expect(named.filter((route) => route !== 'GET /metrics' && !ofMany(route))).toEqual([]);
});
