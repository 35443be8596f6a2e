import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { decodeJwt } from 'jose';
import { describe, expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import { readError, type TestApp } from '#test/support/app.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { smallEdge } from './small-edge.ts';
import { ASK } from './small-request.ts';

const bindings = env as unknown as Bindings;

const admin = async () => bearerHeader(await createToken('root', ['admin']));
const alice = async () => bearerHeader(await createToken('alice'));

async function send(app: TestApp, method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const response = await app.fetch(path, {
    method,
    headers: { 'content-type': 'application/json', ...(await admin()), ...headers },
    body: body === undefined ? null : JSON.stringify(body),
  });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}

const spent = async (app: TestApp) => {
  await app.waitUntilSettled();
  const { json } = await send(app, 'GET', '/accounts/alice');
  return json.total as { limit_usd: number | null; settled_usd: number; credit_usd: number; held_usd: number };
};

describe('PATCH /accounts/:id/limits', () => {
  test('changes the named limits, removes limits that are null, and keeps the rest', async () => {
    const app = smallEdge();
    const path = '/accounts/alice/limits';
    await send(app, 'PUT', path, { usd_per_day: 2, requests_per_minute: 60, models: ['claude-haiku-5-5'] });
    const { status, json } = await send(app, 'PATCH', path, { usd_per_day: 3, models: null, usd_total: 0 });
    expect({ status, own: json.own_limits }).toEqual({
      status: 200,
      own: { usd_per_day: 3, requests_per_minute: 60, usd_total: 0 },
    });
    const rest = { usd_per_day: null, requests_per_minute: null, usd_total: null };
    expect((await send(app, 'PATCH', path, rest)).json.own_limits).toBeNull();
    for (const wrong of [{ usd_per_dya: 1 }, { usd_per_day: '1' }, { usd_per_day: -1 }, [], null]) {
      expect((await send(app, 'PATCH', path, wrong)).status, JSON.stringify(wrong)).toBe(400);
    }
    expect((await send(app, 'PATCH', path, { usd_per_day: 1 }, await alice())).status).toBe(403);
  });
});

describe('PATCH /accounts/:id/limits with `if_limits`', () => {
  const path = '/accounts/alice/limits';

  test('changes nothing if a limit differs from the expected value, and names both values', async () => {
    const app = smallEdge();
    await send(app, 'PUT', path, { usd_per_day: 0.5, models: ['claude-haiku-5-5'] });
    const wrong = [
      [{ usd_per_day: 3 }, 'usd_per_day: now 0.5, but `if_limits` expects 3'],
      [{ usd_per_day: null }, 'usd_per_day: now 0.5, but `if_limits` expects not set'],
      [{ usd_total: 1 }, 'usd_total: now not set, but `if_limits` expects 1'],
      [{ usd_per_day: 0.5, models: [] }, 'models: now ["claude-haiku-5-5"], but `if_limits` expects []'],
    ] as const;
    for (const [expected, message] of wrong) {
      const { status, json } = await send(app, 'PATCH', path, { usd_per_day: 9, if_limits: expected });
      expect({ status, error: json.error }).toMatchObject({
        status: 409,
        error: { type: 'conflict_error', message: expect.stringContaining(message) },
      });
    }
    expect((await send(app, 'GET', '/accounts/alice')).json.own_limits).toMatchObject({ usd_per_day: 0.5 });
    const right = { usd_per_day: 0.5, models: ['claude-haiku-5-5'], usd_total: null };
    expect((await send(app, 'PATCH', path, { usd_per_day: 9, if_limits: right })).status).toBe(200);
    expect((await send(app, 'PATCH', path, { if_limits: { usd_per_dya: 9 } })).status).toBe(400);
  });

  test('loses no change of two admins without a 409, in any order', async () => {
    const app = smallEdge();
    const steps = ['a reads', 'a writes', 'b reads', 'b writes'] as const;
    const orders = [
      [0, 1, 2, 3],
      [0, 2, 1, 3],
      [0, 2, 3, 1],
      [2, 0, 1, 3],
      [2, 0, 3, 1],
      [2, 3, 0, 1],
    ];
    for (const isSame of [true, false])
      for (const order of orders) {
        await send(app, 'PUT', path, { usd_per_day: 1, usd_per_week: 1 });
        const seen: Record<string, Record<string, number>> = {};
        const statuses: Record<string, number> = {};
        for (const step of order.map((at) => steps[at] ?? '')) {
          const [admin = '', act] = step.split(' ');
          if (act === 'reads') {
            const { json } = await send(app, 'GET', '/accounts/alice');
            seen[admin] = json.own_limits as Record<string, number>;
            continue;
          }
          const name = admin === 'a' || isSame ? 'usd_per_day' : 'usd_per_week';
          const change = { [name]: admin === 'a' ? 2 : 3, if_limits: { [name]: seen[admin]?.[name] } };
          statuses[admin] = (await send(app, 'PATCH', path, change)).status;
        }
        const { own_limits: own } = (await send(app, 'GET', '/accounts/alice')).json;
        const isOneAfterOther = ['0123', '2301'].includes(order.join(''));
        const last = order.at(-1) === 1 ? 'a' : 'b';
        const first = last === 'a' ? 'b' : 'a';
        const isLost = isSame && !isOneAfterOther;
        expect(statuses, order.join()).toEqual({ [first]: 200, [last]: isLost ? 409 : 200 });
        const written = { a: 2, b: 3 };
        expect(own, order.join()).toEqual(
          isSame
            ? { usd_per_day: written[isLost ? first : last], usd_per_week: 1 }
            : { usd_per_day: 2, usd_per_week: 3 },
        );
      }
  });
});

describe('a limit below the maximum cost of one search', () => {
  const OPUS = 'claude-opus-5-5';
  const unpaid = (json: Record<string, unknown>) =>
    json.unpaid_searches as
      | { limit: string; models: { model: string; exact_usd: number; estimate_usd: number }[]; note: string }
      | undefined;
  const search = (model: string) => ({
    model,
    max_tokens: 4_096,
    stream: false,
    messages: [{ role: 'user', content: 'What is new?' }],
    tools: [{ type: 'web_search_20260209', name: 'web_search', max_uses: 1 }],
  });

  test('is reported with a remedy and its risk when it is set and when it rejects a request', async () => {
    const app = smallEdge();
    const path = '/accounts/alice/limits';
    const told = unpaid((await send(app, 'PUT', path, { usd_per_day: 2, usd_per_month: 9 })).json);
    expect(told).toMatchObject({ limit: 'usd_per_day' });
    expect(told?.note).toContain('`"served_tools": "estimate"`');
    expect(told?.note).toContain('a request can cost more, and exceed the limit');
    const opus = told?.models.find(({ model }) => model === OPUS);
    expect(opus?.exact_usd).toBeGreaterThan(4);
    expect(opus?.estimate_usd).toBeLessThan(0.5);
    const refused = await app.post('/v1/messages', search(OPUS), await alice());
    expect(refused.status).toBe(429);
    expect((await readError(refused)).message).toContain('a request can cost more, and exceed the limit');
    // By a cent it goes up or does not, and with the switch it goes up.
    const cents = Math.ceil((opus?.exact_usd ?? 0) * 100);
    for (const [limits, isTold, status] of [
      [{ usd_per_day: (cents - 1) / 100 }, true, 429],
      [{ usd_per_day: (cents + 1) / 100 }, false, 200],
      [{ usd_per_day: 2, served_tools: 'estimate' }, false, 200],
    ] as const) {
      const { status: changed, json } = await send(app, 'PUT', path, { ...limits, models: [OPUS] });
      expect(changed).toBe(200);
      expect(unpaid(json)?.models.map(({ model }) => model)).toEqual(isTold ? [OPUS] : undefined);
      expect((await app.post('/v1/messages', search(OPUS), await alice())).status).toBe(status);
      await app.waitUntilSettled();
    }
  });

  test('is reported for credit, for a changed limit and for shared limits', async () => {
    const app = smallEdge({ DEPLOYMENT_LIMITS: '{}' });
    const path = '/accounts/carol/limits';
    expect(unpaid((await send(app, 'PUT', path, { usd_total: 0 })).json)).toBeUndefined();
    await send(app, 'POST', '/accounts/carol/credit', { usd: 1 });
    expect(unpaid((await send(app, 'PATCH', path, { requests_per_minute: 60 })).json)?.limit).toBe('usd_total');
    await send(app, 'POST', '/accounts/carol/credit', { usd: 100 });
    expect(unpaid((await send(app, 'PATCH', path, { requests_per_minute: 9 })).json)).toBeUndefined();
    expect((await send(app, 'GET', '/accounts/carol')).json).not.toHaveProperty('unpaid_searches');
    for (const shared of ['/groups/red/limits', '/pools/deployment/limits']) {
      expect(unpaid((await send(app, 'PUT', shared, { usd_per_week: 1 })).json)?.limit).toBe('usd_per_week');
      expect(unpaid((await send(app, 'PUT', shared, { usd_per_week: 100 })).json)).toBeUndefined();
    }
  });
});

describe('usd_total', () => {
  test('of 0 sends no request without credit, and none beyond the credit', async () => {
    const app = smallEdge();
    await send(app, 'PUT', '/accounts/alice/limits', { usd_total: 0 });
    const refused = await app.post('/messages', ASK, await alice());
    expect([refused.status, refused.headers.get('sluice-limited-by')]).toEqual([429, 'account']);
    expect(app.sent).toHaveLength(0);
    await send(app, 'POST', '/accounts/alice/credit', { usd: 0.0002 });
    let answered = 0;
    let last: Response | undefined;
    for (let i = 0; i < 100 && (last?.ok ?? true); i += 1) {
      last = await app.post('/messages', ASK, await alice());
      await app.waitUntilSettled();
      if (last.ok) answered += 1;
    }
    if (!last) throw new Error('nothing was asked');
    const error = await readError(last);
    expect(error.type).toBe('billing_error');
    expect(error.message).toMatch(/^The total spend limit of this account leaves too little: .* add credit/);
    expect([last.headers.get('x-should-retry'), last.headers.get('retry-after')]).toEqual(['false', null]);
    const total = await spent(app);
    expect(answered).toBeGreaterThan(3);
    expect(total).toMatchObject({ limit_usd: 0.0002, credit_usd: 0.0002 });
    expect(total.settled_usd).toBeLessThanOrEqual(0.0002);
    await send(app, 'POST', '/accounts/alice/credit', { usd: 1 });
    expect((await app.post('/messages', ASK, await alice())).status).toBe(200);
  });

  test('is reported in the headers as utilization without a reset time', async () => {
    const app = smallEdge();
    await send(app, 'PUT', '/accounts/alice/limits', { usd_total: 0.0002 });
    await app.post('/messages', ASK, await alice());
    await app.waitUntilSettled();
    const { headers } = await app.post('/messages', ASK, await alice());
    expect(Number(headers.get('anthropic-ratelimit-unified-overage-utilization'))).toBeGreaterThan(0);
    expect(headers.get('anthropic-ratelimit-unified-reset')).toBeNull();
  });
});

describe('credit', () => {
  const give = (app: TestApp, body: unknown, key?: string) =>
    send(app, 'POST', '/accounts/alice/credit', body, key === undefined ? {} : { 'idempotency-key': key });

  test('is given once per idempotency key, and the key cannot be reused for other credit', async () => {
    const app = smallEdge();
    const credit = { usd: 20, note: 'Invoice 117', expires_at: '2099-01-01T00:00:00+01:00' };
    const first = await give(app, credit, 'k1');
    const second = await give(app, credit, 'k1');
    expect([first.status, second.status, second.json.credit]).toEqual([201, 201, first.json.credit]);
    expect((await give(app, { ...credit, usd: 21 }, 'k1')).status).toBe(400);
    await give(app, { usd: 5 });
    await give(app, { usd: 5 });
    expect(await spent(app)).toMatchObject({ credit_usd: 30, limit_usd: null });
  });

  test('is listed newest first with its remaining amount, and is spent in order of expiry', async () => {
    const app = smallEdge();
    await send(app, 'PUT', '/accounts/alice/limits', { usd_total: 0 });
    await give(app, { usd: 1, note: 'for ever' });
    await give(app, { usd: 1, expires_at: '2099-02-01T00:00:00Z', note: 'later' });
    await give(app, { usd: 0.000005, expires_at: '2099-01-01T00:00:00Z', note: 'sooner' });
    await app.post('/messages', ASK, await alice());
    const { settled_usd } = await spent(app);
    const { json } = await send(app, 'GET', '/accounts/alice/credit', undefined, await alice());
    expect(json.data).toMatchObject([
      { type: 'credit', note: 'sooner', left_usd: 0, spent_usd: 0.000005, expires_at: '2099-01-01T00:00:00.000Z' },
      { note: 'later', spent_usd: Math.round((settled_usd - 0.000005) * 1e9) / 1e9 },
      { note: 'for ever', spent_usd: 0, left_usd: 1, expires_at: null },
    ]);
    const ids = (json.data as { id: string }[]).map(({ id }) => id);
    const { json: page } = await send(app, 'GET', `/accounts/alice/credit?limit=1&after_id=${ids[0]}`);
    expect(page).toMatchObject({ data: [{ id: ids[1] }], has_more: true });
  });

  test('with a negative amount removes unspent credit, once per idempotency key', async () => {
    const app = smallEdge();
    await send(app, 'PUT', '/accounts/alice/limits', { usd_total: 0 });
    await give(app, { usd: 1 });
    expect((await app.post('/messages', ASK, await alice())).status).toBe(200);
    await app.waitUntilSettled();
    for (const _ of [1, 2]) expect((await give(app, { usd: -1, note: 'refund' }, 'r1')).status).toBe(201);
    const { settled_usd, ...total } = await spent(app);
    expect(total).toMatchObject({ limit_usd: 0, credit_usd: 0 });
    const { json } = await send(app, 'GET', '/accounts/alice/credit');
    expect(json.data).toMatchObject([
      { usd: -1, spent_usd: 0, left_usd: -1 },
      { usd: 1, spent_usd: settled_usd },
    ]);
    expect((await app.post('/messages', ASK, await alice())).status).toBe(429);
    await give(app, { usd: 1 });
    expect((await app.post('/messages', ASK, await alice())).status).toBe(200);
  });

  test('no longer raises the limit after it expires', async () => {
    const app = smallEdge();
    const ahead = Date.now() + 100 * 86_400_000;
    await runInDurableObject(getAccountStub(bindings, {}, 'alice'), (account: Account) => {
      Object.assign(account, { now: () => ahead });
      account.setLimits({ usd_total: 1 });
      account.giveCredit({ id: 'c1', usd: 5, expiresAt: ahead + 1_000 });
      expect(account.getQuotaReport().total).toMatchObject({ limit_usd: 6 });
      Object.assign(account, { now: () => ahead + 1_000 });
      expect(account.getQuotaReport().total).toMatchObject({ limit_usd: 1, credit_usd: 0 });
    });
    expect(app.sent).toHaveLength(0);
  });

  test.each([
    ['no amount', {}],
    ['nothing', { usd: 0 }],
    ['what is taken back and expires', { usd: -1, expires_at: '2099-01-01T00:00:00Z' }],
    ['finer than can be counted', { usd: 1e-10 }],
    ['beyond exact sums', { usd: 9_000_001 }],
    ['a time that has passed', { usd: 1, expires_at: '2020-01-01T00:00:00Z' }],
    ['a time that is none', { usd: 1, expires_at: 'tomorrow' }],
    ['an unknown field', { usd: 1, expires: '2099-01-01T00:00:00Z' }],
  ])('of %s is rejected', async (_, body) => {
    const app = smallEdge();
    const account = `/accounts/${crypto.randomUUID()}`;
    expect((await send(app, 'POST', `${account}/credit`, body)).status).toBe(400);
    // Nothing was stored, so nobody knows the account.
    expect((await send(app, 'GET', account)).status).toBe(404);
  });

  test('can be given only by admins, and is invisible to other accounts', async () => {
    const app = smallEdge();
    const bob = bearerHeader(await createToken('bob'));
    expect((await send(app, 'POST', '/accounts/alice/credit', { usd: 1 }, await alice())).status).toBe(403);
    expect((await send(app, 'GET', '/accounts/alice/credit', undefined, bob)).status).toBe(404);
  });
});

describe('a token with its own limits', () => {
  async function minted(app: TestApp, limits: unknown) {
    const { status, json } = await send(app, 'POST', '/tokens', { account: 'alice', scopes: ['messages'], limits });
    return { status, json, headers: bearerHeader(String(json.token)) };
  }

  test('cannot spend more than its limit, while the account’s other tokens can', async () => {
    const app = smallEdge();
    const { status, json, headers } = await minted(app, { usd_total: 0.0002 });
    expect({ status, limits: json.limits }).toEqual({ status: 201, limits: { usd_total: 0.0002 } });
    expect(Object.keys(decodeJwt(String(json.token)))).not.toContain('limits');
    let last = await app.post('/messages', ASK, headers);
    for (let i = 0; i < 100 && last.ok; i += 1) {
      await app.waitUntilSettled();
      last = await app.post('/messages', ASK, headers);
    }
    expect([last.status, last.headers.get('sluice-limited-by')]).toEqual([429, 'token']);
    const { type, message } = await readError(last);
    expect(type).toBe('billing_error');
    expect(message).toContain('The total spend limit of this token leaves too little');
    expect((await app.post('/messages', ASK, await alice())).status).toBe(200);
    await app.waitUntilSettled();
    const list = await send(app, 'GET', '/accounts/alice/tokens');
    const row = (list.json.data as { jti: string; spent_usd: number }[]).find(({ jti }) => jti === json.jti);
    expect(row).toMatchObject({ limits: { usd_total: 0.0002 } });
    expect(row?.spent_usd).toBeGreaterThan(0.00005);
    expect(row?.spent_usd).toBeLessThanOrEqual(0.0002);
    // It sees where it stands itself.
    const own = await send(app, 'GET', '/accounts/alice', undefined, headers);
    expect(own.json.token).toMatchObject({ limits: { usd_total: 0.0002 }, settled_usd: row?.spent_usd, held_usd: 0 });
    expect((await send(app, 'GET', '/accounts/alice', undefined, await alice())).json.token).toBeNull();
  });

  test('sees only used shares and reset times of its own account if it is restricted', async () => {
    const app = smallEdge({ DEPLOYMENT_LIMITS: '{"usd_per_week":1}' });
    await send(app, 'PUT', '/accounts/alice/limits', { usd_per_day: 0.0108, usd_total: 0, requests_per_minute: 60 });
    await send(app, 'POST', '/accounts/alice/credit', { usd: 0.054 });
    const only = { agents: ['sky'] };
    const { json } = await send(app, 'POST', '/tokens', {
      account: 'alice',
      scopes: ['messages'],
      only,
      limits: { usd_total: 0.0054 },
    });
    const headers = bearerHeader(String(json.token));
    const seen = async (id = 'alice') => await send(app, 'GET', `/accounts/${id}`, undefined, headers);
    const none = { type: 'account', id: 'alice', hour: null, week: null, month: null };
    const day = { resets_at: expect.stringMatching(/T00:00:00\.000Z$/) };
    const zero = { ...none, day: { used: 0, ...day }, total: { used: 0 }, token: { used: 0 } };
    expect(await seen()).toEqual({ status: 200, json: zero });
    expect((await app.post('/messages', ASK, await alice())).status).toBe(200);
    await app.waitUntilSettled();
    const used = { ...none, day: { used: 0.0005, ...day }, total: { used: 0.0001 }, token: { used: 0 } };
    expect(await seen()).toEqual({ status: 200, json: used });
    expect((await seen('bob')).status).toBe(404);
  });

  test('can use only the models that its limits name', async () => {
    const app = smallEdge();
    const { headers } = await minted(app, { models: ['claude-haiku-5-5'] });
    expect((await app.post('/messages', ASK, headers)).status).toBe(200);
    const refused = await app.post('/messages', { ...ASK, model: 'claude-opus-5-5' }, headers);
    expect([refused.status, refused.headers.get('sluice-limited-by')]).toEqual([404, 'token']);
    expect((await readError(refused)).message).toMatch(/^This token cannot use claude-opus-5-5\./);
    expect((await app.post('/messages', { ...ASK, model: 'claude-opus-5-5' }, await alice())).status).toBe(200);
  });

  test.each([[{ usd_per_day: 1 }], [{ usd_total: -1 }], [{ models: 'claude-haiku-5-5' }], ['none']])(
    'is not minted with the limits %j',
    async (limits) => {
      expect((await minted(smallEdge(), limits)).status).toBe(400);
    },
  );
});
