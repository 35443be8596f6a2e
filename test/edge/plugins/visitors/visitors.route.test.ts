import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { decodeJwt } from 'jose';
import { beforeEach, expect, test, vi } from 'vitest';
import { DAY_MS, HOUR_MS, MINUTE_MS } from '#edge/kit/async/durations.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { advanceClock, setClockToNoon } from '#test/support/calendar.ts';
import { answerByScript, textAnswer } from '#test/support/scripted-runs.ts';
import { shortenAccountWaits } from '#test/support/shorten-account-waits.ts';
import { MODEL, SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import {
  countBindingCalls,
  createAddressHeader,
  createVisitorSettings,
  mockTurnstile,
  SHOP,
  SOLVED_CHALLENGE,
} from '#test/support/visitors.ts';

setClockToNoon();

beforeEach(shortenAccountWaits);

const { ACCOUNT, CONVERSATION, POOL } = env as unknown as Bindings;
const message = () => Response.json(SMALL_MESSAGE);
const AGENT = { model: MODEL, max_tokens: 300, system: 'You are Sky.' };

/** An edge with the agent that visitors may ask, whose answers cost $0.00015 each. */
async function edge(visiting: object = {}, vars: Record<string, unknown> = {}): Promise<TestApp> {
  answerByScript(() => textAnswer('Sun.'));
  const app = createTestApp(message, createVisitorSettings(visiting, vars));
  const root = bearerHeader(await createToken('root', ['admin']));
  const put = { method: 'PUT', headers: { ...root, 'content-type': 'application/json' }, body: JSON.stringify(AGENT) };
  expect((await app.fetch('/agents/sky', put)).status).toBe(200);
  return app;
}

const visit = (app: TestApp, body: object = { turnstile: 'solved' }, headers = createAddressHeader()) =>
  app.post('/tokens/visitor', body, headers);

async function visitor(app: TestApp, solved = crypto.randomUUID()) {
  const response = await visit(app, { turnstile: solved });
  expect(response.status).toBe(201);
  const { account, token, ...rest } = (await response.json()) as {
    account: string;
    token: string;
    session_ends_at: string;
  };
  return { account, headers: { ...bearerHeader(token), origin: SHOP }, ...rest };
}

const say = (app: TestApp, headers: Record<string, string>, conversation = 'c1') =>
  app.post('/v1/messages', { agent: 'sky', conversation, messages: [{ role: 'user', content: 'Hi' }] }, headers);

/** @returns the tables of an object that are not the runtime's, and when its alarm comes */
const leftOf = async (object: DurableObjectStub) =>
  await runInDurableObject(object as DurableObjectStub<undefined>, async (_, { storage }) => ({
    tables: storage.sql
      .exec<{ name: string }>("select name from sqlite_master where name not glob '_cf_*' and name not glob 'sqlite_*'")
      .toArray(),
    alarm: await storage.getAlarm(),
  }));
const NOTHING_LEFT = { tables: [], alarm: null };

const conversationOf = (account: string) =>
  CONVERSATION.get(CONVERSATION.idFromName(JSON.stringify([account, 'c1']))) as unknown as DurableObjectStub;

/** @returns the leases that both pools have */
const rowsOfPools = async () =>
  await Promise.all(
    ['deployment', 'group:visitors'].map(async (name) => {
      const pool = POOL.get(POOL.idFromName(name)) as unknown as DurableObjectStub<undefined>;
      return await runInDurableObject(pool, (_, { storage }) =>
        storage.sql.exec('select * from leases order by id').toArray(),
      );
    }),
  );

const accountNamed = (name: string) => ACCOUNT.get(ACCOUNT.idFromName(name)) as unknown as DurableObjectStub;

test('issues a restricted token to a visitor, for the same account if the Turnstile response is repeated', async () => {
  const asked = mockTurnstile(() => ({
    ...SOLVED_CHALLENGE,
    challenge_ts: new Date(Date.now() - MINUTE_MS).toISOString(),
  }));
  const { bindings, calls } = countBindingCalls();
  const app = createTestApp(message, createVisitorSettings({}, bindings));
  const answers = [];
  for (let times = 0; times < 2; times += 1) {
    const response = await visit(
      app,
      { turnstile: 'solved' },
      { ...createAddressHeader(), 'cf-connecting-ip': '2001:db8::7' },
    );
    expect(response.status).toBe(201);
    answers.push((await response.json()) as JsonObject);
  }
  expect(calls()).toBe(0);
  const [first, second] = answers;
  expect(asked[0]).toEqual(asked[1]);
  expect(asked[0]).toEqual({
    secret: 'the-secret-of-a-widget',
    response: 'solved',
    remoteip: '2001:db8::7',
    idempotency_key: first?.jti,
  });
  expect(first?.account).toMatch(/^visitor:[0-9a-f]{32}$/);
  expect([second?.account, second?.jti, second?.session_ends_at]).toEqual([
    first?.account,
    first?.jti,
    first?.session_ends_at,
  ]);
  const claims = decodeJwt(String(first?.token));
  expect(claims).toMatchObject({ sub: first?.account, only: { agents: ['sky'], origins: [SHOP] } });
  // Both ends are counted from when the widget was solved.
  expect(Number(claims.exp) - Number(claims.iat)).toBe(3_600 + 60);
  expect(Date.parse(String(first?.session_ends_at)) / 1_000 - Number(claims.iat)).toBe(7_200);
});

test.each([
  [
    'expired or used',
    { success: false, 'error-codes': ['timeout-or-duplicate'] },
    400,
    /has expired or was already used/,
  ],
  ['is none', { success: false, 'error-codes': ['invalid-input-response'] }, 400, /Reset the widget/],
  ['made elsewhere', { ...SOLVED_CHALLENGE, hostname: 'evil.example' }, 400, /belongs to another page/],
  ['made for another action', { ...SOLVED_CHALLENGE, action: 'login' }, 400, /needs the action `sluice`/],
  ['not judged', { success: false, 'error-codes': ['internal-error'] }, 503, /Send the same response again/],
  ['not judged by words', 'down for maintenance', 503, /Send the same response again/],
  ['refused with the secret', { success: false, 'error-codes': ['invalid-input-secret'] }, 500, /TURNSTILE_SECRET/],
])('creates no visitor for a rejected Turnstile response: %s', async (_, said, status, words) => {
  mockTurnstile(() => said);
  const app = createTestApp(message, createVisitorSettings());
  const response = await visit(app);
  expect([response.status, response.headers.get('retry-after')]).toEqual([status, status === 503 ? '5' : null]);
  expect((await readError(response)).message).toMatch(words);
});

test('returns 503 while Turnstile cannot be reached, and 400 without a Turnstile response', async () => {
  mockTurnstile(() => {
    throw new TypeError('connection refused');
  });
  const app = createTestApp(message, createVisitorSettings());
  expect((await visit(app)).status).toBe(503);
  const response = await visit(app, {});
  expect([response.status, (await readError(response)).message]).toEqual([400, expect.stringContaining('turnstile')]);
});

test('does not follow a redirect from Turnstile, because it would send the secret to another host', async () => {
  const asked: RequestInit[] = [];
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (_, init) => {
    asked.push(init ?? {});
    return new Response(null, { status: 307, headers: { location: 'https://evil.example/' } });
  });
  expect((await visit(createTestApp(message, createVisitorSettings()))).status).toBe(503);
  expect(asked.map(({ redirect }) => redirect)).toEqual(['manual']);
});

test('creates no visitors and rejects their tokens if VISITORS is not set', async () => {
  const token = await createToken(`visitor:${'0'.repeat(32)}`, ['messages'], { only: { agents: ['sky'] } });
  const app = createTestApp(message, createVisitorSettings({}, { VISITORS: '' }));
  expect((await visit(app)).status).toBe(404);
  expect((await say(app, bearerHeader(token))).status).toBe(401);
  const root = bearerHeader(await createToken('root', ['admin']));
  const minted = await app.post('/tokens', { account: `visitor:${'0'.repeat(32)}`, scopes: ['messages'] }, root);
  expect((await readError(minted)).message).toContain('POST /tokens/visitor');
});

test('admits a household ten times a minute, and rejects further visits without calling Turnstile or a binding', async () => {
  const asked = mockTurnstile(() => SOLVED_CHALLENGE);
  const { bindings, calls } = countBindingCalls();
  const app = createTestApp(message, createVisitorSettings({}, bindings));
  const from = (index: number) => ({
    ...createAddressHeader(),
    'cf-connecting-ip': `2001:db8:aa:bb${index}::${index}`,
  });
  const statuses = [];
  for (let index = 0; index < 12; index += 1) {
    const response = await visit(app, { turnstile: `solved ${index}` }, from(index % 4));
    statuses.push(response.status);
    if (response.status === 429) expect(response.headers.get('retry-after')).toBe('60');
    await response.text();
  }
  expect(statuses).toEqual([...Array<number>(10).fill(201), 429, 429]);
  expect([asked.length, calls()]).toEqual([10, 0]);
});

test('a visitor can use only what VISITORS allows, pays from the visitors’ pool, and is not listed', async () => {
  mockTurnstile(() => SOLVED_CHALLENGE);
  const app = await edge();
  const one = await visitor(app);
  const answer = await say(app, one.headers);
  expect(answer.status).toBe(200);
  await answer.text();
  expect((await app.post('/v1/messages', { model: MODEL, max_tokens: 5, messages: [] }, one.headers)).status).toBe(403);
  await app.waitUntilSettled();
  const root = bearerHeader(await createToken('root', ['admin']));
  const told = async (path: string) =>
    (await (await app.fetch(path, { headers: root })).json()) as { data: JsonObject[] };
  expect((await told('/accounts')).data.map(({ id }) => id)).not.toContain(one.account);
  await expect
    .poll(async () => (await told('/groups/visitors/accounts')).data)
    .toMatchObject([{ id: '(visitors)', spent_usd: { day: 0.00015 } }]);
  expect((await told(`/accounts/${one.account}/tokens`)).data).toEqual([]);
  const renewed = await app.fetch('/tokens/renew', { method: 'POST', headers: one.headers });
  expect(await renewed.json()).toMatchObject({ session_ends_at: one.session_ends_at });
});

test('rejects visitors’ requests without storing anything once the pool is spent, and later without calling a binding', async () => {
  mockTurnstile(() => SOLVED_CHALLENGE);
  const { bindings, calls } = countBindingCalls();
  const app = await edge({}, bindings);
  const root = { ...bearerHeader(await createToken('root', ['admin'])), 'content-type': 'application/json' };
  const limit = async (usd: number) => {
    const limits = { method: 'PUT', headers: root, body: JSON.stringify({ usd_per_day: usd }) };
    expect((await app.fetch('/groups/visitors/limits', limits)).status).toBe(200);
  };
  await limit(1);
  const first = await visitor(app);
  for (let turns = 0; turns < 20; turns += 1) await (await say(app, first.headers)).text();
  await app.waitUntilSettled();
  // What was leased and not spent is given back.
  await expect
    .poll(async () => (await (await app.fetch('/groups/visitors', { headers: root })).json()) as { day: JsonObject })
    .toMatchObject({ day: { spent_usd: 0.003, leased_usd: 0 } });
  await runDurableObjectAlarm(accountNamed(first.account));
  await limit(0.003);
  const late = await visitor(app);
  const rows = await rowsOfPools();
  // Another isolate has looked at nothing yet.
  const other = createTestApp(message, createVisitorSettings({}, bindings));
  const refused = async (isolate = other) => {
    const response = await say(isolate, late.headers);
    const { type, message: said } = await readError(response);
    return [response.status, type, said, Number(response.headers.get('retry-after')) > 3_600];
  };
  const before = calls();
  const told = await refused();
  expect(told).toEqual([
    429,
    'billing_error',
    expect.stringMatching(/^The daily spend limit of this account’s group is reached. It resets at /),
    true,
  ]);
  expect(calls()).toBeGreaterThan(before);
  const asked = calls();
  for (let times = 0; times < 5; times += 1) expect(await refused()).toEqual(told);
  expect(calls()).toBe(asked);
  await app.waitUntilSettled();
  expect(await leftOf(accountNamed(late.account))).toEqual(NOTHING_LEFT);
  expect(await leftOf(conversationOf(late.account))).toEqual(NOTHING_LEFT);
  expect(await rowsOfPools()).toEqual(rows);
  // One that has seen some money left learns by the first refusal.
  expect(await refused(app)).toEqual(told);
  expect(await refused(app)).toEqual(told);
  const learnt = calls();
  expect(await refused(app)).toEqual(told);
  expect(calls()).toBe(learnt);
});

test('a visitor’s account is deleted a day after its last turn, and later reads do not create it again', async () => {
  mockTurnstile(() => SOLVED_CHALLENGE);
  const app = await edge();
  const [one, other] = [await visitor(app), await visitor(app)];
  for (const { headers } of [one, one, other]) {
    const answer = await say(app, headers);
    expect(answer.status).toBe(200);
    await answer.text();
  }
  await app.waitUntilSettled();
  const account = accountNamed(one.account);
  const conversation = conversationOf(one.account);
  const at = async (time: number) =>
    await runInDurableObject(account as unknown as DurableObjectStub<Account>, async (object) => {
      Object.assign(object, { now: () => time });
      await object.alarm();
    });
  await at(Date.now() + DAY_MS - HOUR_MS);
  for (const object of [account, conversation]) expect((await leftOf(object)).tables).not.toEqual([]);
  const later = Date.now() + DAY_MS + MINUTE_MS;
  for (let steps = 0; steps < 4; steps += 1) await at(later);
  expect(await leftOf(account)).toEqual(NOTHING_LEFT);
  expect(await leftOf(conversation)).toEqual(NOTHING_LEFT);

  const root = bearerHeader(await createToken('root', ['admin']));
  for (const path of ['', '/tokens', '/credit', '/export', '/backup', '/conversations']) {
    const response = await app.fetch(`/accounts/${one.account}${path}`, { headers: root });
    // Nobody knows it any more.
    expect(response.status, path).toBe(path === '' ? 404 : 200);
    await response.text();
  }
  expect(await leftOf(account)).toEqual(NOTHING_LEFT);
  const sums = async () => {
    const response = await app.fetch('/usage?group_by=account', { headers: root });
    return ((await response.json()) as { data: JsonObject[] }).data;
  };
  await runDurableObjectAlarm(accountNamed(other.account));
  await expect.poll(sums).toMatchObject([{ key: '(visitors)', requests: 3 }]);
  for (const rows of await rowsOfPools()) {
    const named = rows
      .filter(({ joined_at }) => joined_at === null)
      .map(({ id, account: of }) => (id === 'visitors' ? id : of));
    expect(named.sort()).toEqual(['visitors', other.account].sort());
  }
});

test('a visitor that is revoked before its first request stays revoked, and its account is still deleted', async () => {
  mockTurnstile(() => SOLVED_CHALLENGE);
  const app = await edge();
  const one = await visitor(app);
  const root = bearerHeader(await createToken('root', ['admin']));
  const revoked = await app.fetch(`/accounts/${one.account}/tokens`, { method: 'DELETE', headers: root });
  expect(revoked.status).toBe(200);
  expect((await say(app, one.headers)).status).toBe(401);
  const account = accountNamed(one.account);
  const at = async (time: number) =>
    await runInDurableObject(account as unknown as DurableObjectStub<Account>, async (object) => {
      Object.assign(object, { now: () => time });
      await object.alarm();
    });
  expect((await leftOf(account)).alarm).not.toBeNull();
  await at(Date.now() + 29 * DAY_MS);
  expect((await leftOf(account)).tables).not.toEqual([]);
  await at(Date.now() + 31 * DAY_MS);
  expect(await leftOf(account)).toEqual(NOTHING_LEFT);
});

test('a visitor that sends its body slowly does not delay other visitors or accounts', async () => {
  mockTurnstile(() => SOLVED_CHALLENGE);
  const app = await edge({ limits: { usd_per_day: 1_000 }, pool: { usd_per_day: 10_000 } });
  const [one, other] = [await visitor(app), await visitor(app)];
  const announced = 20_900_000;
  const { readable, writable } = new FixedLengthStream(announced);
  const headers = { ...one.headers, 'content-type': 'application/json', 'content-length': String(announced) };
  const answered = app.fetch('/v1/messages', { method: 'POST', headers, body: readable });
  const writer = writable.getWriter();
  await writer.write(new Uint8Array(66_000).fill(32));
  const account = bearerHeader(await createToken('honest', ['messages']));
  const sent: Promise<void>[] = [];
  for (let second = 0; second < 60; second += 5) {
    advanceClock(5_000);
    // Whoever had to give way is not read any more.
    sent.push(writer.write(new Uint8Array(1_000).fill(32)).catch(() => undefined));
    for (const bytes of [1_000, 300_000, 1_000_000]) {
      const messages = [{ role: 'user', content: 'a'.repeat(bytes) }];
      const asked = await app.post('/v1/messages', { agent: 'sky', messages }, other.headers);
      const free = await app.post('/v1/messages', { model: MODEL, max_tokens: 10, messages }, account);
      expect([await asked.text(), asked.status, await free.text(), free.status]).toMatchObject([{}, 200, {}, 200]);
    }
  }
  await writer.abort(new Error('left')).catch(() => undefined);
  await Promise.all([answered, ...sent]);
  await app.waitUntilSettled();
});
