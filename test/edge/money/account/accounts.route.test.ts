import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { accountList } from '#edge/kit/kv/name-list.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import { ledgerRowSchema, quotaReportSchema } from '#edge/money/account/usage-answers.schema.ts';
import { type AccountSpendRow, accountSpendRow } from '#edge/plugins/pools/pools-answers.schema.ts';
import { readError, type TestApp } from '#test/support/app.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { settleInside } from './admission-requests.ts';
import { smallEdge } from './small-edge.ts';
import { ASK } from './small-request.ts';

const bindings = env as unknown as Bindings;

const admin = async () => bearerHeader(await createToken('root', ['admin']));
const object = (name: string) => getAccountStub(bindings, {}, name);

async function get(app: TestApp, path: string, headers?: Record<string, string>): Promise<Record<string, unknown>> {
  const response = await app.fetch(path, { headers: headers ?? (await admin()) });
  expect(response.status, path).toBe(200);
  return (await response.json()) as Record<string, unknown>;
}

async function put(app: TestApp, path: string, body: unknown): Promise<Response> {
  const headers = { 'content-type': 'application/json', ...(await admin()) };
  return await app.fetch(path, { method: 'PUT', headers, body: JSON.stringify(body) });
}

/** Puts rows into a ledger that no request has made. */
async function spend(account: string, rows: number): Promise<void> {
  await runInDurableObject(object(account), (ledger: Account) => {
    for (let i = 0; i < rows; i += 1) {
      settleInside(ledger, { requestId: `req_${String(i).padStart(6, '0')}`, status: 'complete', cost: 1_000 + i });
    }
  });
}

describe('GET /accounts', () => {
  test('lists once each account that has sent a request or was given limits, credit or a group', async () => {
    const app = smallEdge();
    for (const name of ['bob', 'alice', 'bob']) {
      await app.post('/messages', ASK, bearerHeader(await createToken(name)));
      await app.waitUntilSettled();
    }
    // Neither reading nor tokens make an account.
    for (const path of ['/accounts/carol', '/usage?account=carol', '/usage/requests?account=carol']) {
      expect((await app.fetch(path, { headers: await admin() })).status, path).toBe(404);
      // An admin may be about to give it limits.
      const asked = `${path}${path.includes('?') ? '&' : '?'}if_absent=empty`;
      expect((await app.fetch(asked, { headers: await admin() })).status, asked).toBe(200);
    }
    await app.post('/tokens', { account: 'carol', scopes: ['messages'] }, await admin());
    await put(app, '/accounts/dave/limits', {});
    await put(app, '/accounts/dave/limits', { usd_per_day: 1 });
    await app.fetch('/accounts/erin/limits', {
      method: 'PATCH',
      headers: { 'content-type': 'application/json', ...(await admin()) },
      body: '{}',
    });
    await app.post('/accounts/frank/credit', { usd: 1 }, await admin());
    await put(app, '/groups/red/accounts/grace', {});
    await app.waitUntilSettled();
    const { data, ...page } = await get(app, '/accounts');
    const rows = (data as unknown[]).map((row) => z.strictObject(accountSpendRow.shape).parse(row));
    const names = ['alice', 'bob', 'dave', 'erin', 'frank', 'grace'];
    expect(rows.map(({ id }) => id)).toEqual(names);
    expect(page).toEqual({ has_more: false, first_id: 'alice', last_id: 'grace' });
    // Each tells the pool of itself, by its alarm, so that any order has all of them.
    for (const name of names) await runDurableObjectAlarm(getAccountStub(bindings, {}, name));
    for (const sort of ['name', 'spent', 'limit', 'used', 'last_seen', 'group']) {
      const all = (await get(app, `/accounts?sort=${sort}`)).data as AccountSpendRow[];
      expect(all.map(({ id }) => id).sort(), sort).toEqual(names);
      expect(
        all.find(({ id }) => id === 'bob'),
        sort,
      ).toMatchObject({ last_seen_at: expect.any(String) });
      expect(
        all.find(({ id }) => id === 'dave'),
        sort,
      ).toMatchObject({ limit_usd: { day: 1, week: null } });
    }
    const groups = (await get(app, '/accounts?sort=group')).data as AccountSpendRow[];
    expect(groups.at(-1)).toMatchObject({ id: 'grace', group: 'red' });
  });

  test('lists an account with only rejected requests, but none without a valid credential', async () => {
    const app = smallEdge({ DEFAULT_LIMITS: '{"models":[]}' });
    expect((await app.post('/messages', ASK, bearerHeader(await createToken('alice')))).status).toBe(404);
    for (const credential of ['sk-ant-mallory', (await createToken('mallory')).replace(/.$/, '!')]) {
      expect((await app.post('/messages', ASK, bearerHeader(credential))).status).toBe(401);
    }
    // What somebody asks of others by their name is not asked by these.
    const eve = bearerHeader(await createToken('eve', []));
    const limits = { method: 'PUT', headers: { 'content-type': 'application/json', ...eve }, body: '{}' };
    expect((await app.fetch('/accounts/victim/limits', limits)).status).toBe(403);
    expect((await app.fetch('/accounts/victim', { headers: eve })).status).toBe(404);
    await app.waitUntilSettled();
    expect(await get(app, '/accounts')).toMatchObject({ data: [{ type: 'account', id: 'alice' }] });
  });

  test('returns an empty list without accounts', async () => {
    expect(await get(smallEdge(), '/accounts')).toEqual({ data: [], has_more: false, first_id: null, last_id: null });
  });

  test('pages forwards and backwards over every account name once, in one order', async () => {
    const app = smallEdge();
    const names = fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }), {
      minLength: 1,
      maxLength: 12,
    });
    await tryAsyncCases(20, names, fc.integer({ min: 1, max: 5 }), async (wanted, limit) => {
      await resetAll();
      for (const name of wanted) await accountList.addName(bindings.STORE, name);
      const walk = async (how: 'after_id' | 'before_id') => {
        const found: string[] = [];
        let cursor = '';
        for (let pages = 0; pages <= wanted.length; pages += 1) {
          const page = await get(app, `/accounts?limit=${limit}${cursor}`);
          const ids = (page.data as { id: string }[]).map(({ id }) => id);
          expect(ids.length).toBeLessThanOrEqual(limit);
          found.splice(how === 'after_id' ? found.length : 0, 0, ...ids);
          if (!page.has_more) break;
          cursor = `&${how}=${encodeURIComponent(String(how === 'after_id' ? page.last_id : page.first_id))}`;
        }
        return found;
      };
      const forwards = await walk('after_id');
      expect([...forwards].sort()).toEqual([...wanted].sort());
      const last = encodeURIComponent(forwards.at(-1) ?? '');
      const before = await get(app, `/accounts?limit=1000&before_id=${last}`);
      expect((before.data as { id: string }[]).map(({ id }) => id)).toEqual(forwards.slice(0, -1));
    });
  });

  test('rejects a limit outside of 1 to 1,000, and two cursors together', async () => {
    const app = smallEdge();
    for (const query of [
      'limit=0',
      'limit=1001',
      'limit=-1',
      'limit=1.5',
      'limit=x',
      'limit=',
      'after_id=a&before_id=b',
    ]) {
      const response = await app.fetch(`/accounts?${query}`, { headers: await admin() });
      expect({ query, status: response.status, ...(await readError(response)) }).toMatchObject({
        status: 400,
        type: 'invalid_request_error',
      });
    }
  });
});

describe('GET /accounts/:id', () => {
  test('returns limits, spending and rates for every window', async () => {
    const app = smallEdge({ DEFAULT_LIMITS: '{"usd_per_week":5,"requests_per_minute":60}' });
    const alice = bearerHeader(await createToken('alice', []));
    await app.post('/messages', ASK, bearerHeader(await createToken('alice')));
    await app.waitUntilSettled();
    const { type, id, ...standing } = await get(app, '/accounts/alice', alice);
    expect({ type, id }).toEqual({ type: 'account', id: 'alice' });
    expect(z.strictObject(quotaReportSchema.shape).parse(standing)).toEqual(standing);
    const settled = { settled_usd: (9 * 100 + 9 * 500) / 1e9, held_usd: 0 };
    expect(standing).toMatchObject({
      limits: { usd_per_week: 5, requests_per_minute: 60 },
      own_limits: null,
      day: { limit_usd: null, ...settled },
      week: { limit_usd: 5, ...settled },
      month: { limit_usd: null, ...settled },
      requests: { limit: 60 },
      input_tokens: null,
      running_requests: 0,
    });
    expect(await get(app, '/accounts/alice')).toMatchObject({ id: 'alice', week: settled });
  });

  test('returns an account with any name that a token can have', async () => {
    const app = smallEdge();
    await tryAsyncCases(
      50,
      fc
        .oneof(
          fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }),
          fc.constantFrom('a/b', 'a/tokens', '%2e', '...', 'x?y#z', ' ', '__proto__', 'x'.repeat(128)),
        )
        .filter((name) => name !== '.' && name !== '..'),
      async (name) => {
        const own = bearerHeader(await createToken(name, []));
        expect(await get(app, `/accounts/${encodeURIComponent(name)}`, own)).toMatchObject({ id: name });
      },
    );
  });
});

describe('PUT /accounts/:id/limits', () => {
  test('replaces all limits, and uses the deployment’s defaults for absent ones', async () => {
    const app = smallEdge({ DEFAULT_LIMITS: '{"usd_per_day":1,"concurrent_requests":3}' });
    const first = await put(app, '/accounts/alice/limits', { usd_per_day: 2, models: ['claude-haiku-5-5'] });
    expect(first.status).toBe(200);
    expect(await first.json()).toMatchObject({
      type: 'account',
      id: 'alice',
      own_limits: { usd_per_day: 2, models: ['claude-haiku-5-5'] },
      limits: { usd_per_day: 2, concurrent_requests: 3, models: ['claude-haiku-5-5'] },
    });
    await put(app, '/accounts/alice/limits', { usd_per_month: 9 });
    expect((await get(app, '/accounts/alice')).limits).toEqual({
      usd_per_day: 1,
      concurrent_requests: 3,
      usd_per_month: 9,
    });
    await put(app, '/accounts/alice/limits', {});
    expect(await get(app, '/accounts/alice')).toMatchObject({
      own_limits: {},
      limits: { usd_per_day: 1, concurrent_requests: 3 },
      month: { limit_usd: null },
    });
  });

  test('keeps the default of a dollar a day for a webhook source until an admin changes it', async () => {
    const app = smallEdge();
    expect(await get(app, '/accounts/webhook-github')).toMatchObject({
      limits: { usd_per_day: 1 },
      own_limits: null,
      day: { limit_usd: 1 },
    });
    expect(await (await put(app, '/accounts/webhook-github/limits', { usd_per_month: 9 })).json()).toMatchObject({
      limits: { usd_per_day: 1, usd_per_month: 9 },
    });
    expect(await (await put(app, '/accounts/webhook-github/limits', { usd_per_day: 20 })).json()).toMatchObject({
      limits: { usd_per_day: 20 },
      day: { limit_usd: 20 },
    });
    const generous = smallEdge({ DEFAULT_LIMITS: '{"usd_per_day":5,"concurrent_requests":3}' });
    // What users may spend says nothing of what strangers may have the edge spend.
    expect((await get(generous, '/accounts/webhook-stripe')).limits).toEqual({
      usd_per_day: 1,
      concurrent_requests: 3,
    });
    expect((await get(generous, '/accounts/webhooks', bearerHeader(await createToken('webhooks')))).limits).toEqual({
      usd_per_day: 5,
      concurrent_requests: 3,
    });
    expect((await get(smallEdge(), '/accounts/alice', bearerHeader(await createToken('alice')))).limits).toEqual({});
  });

  test('applies limits from the next request on', async () => {
    const app = smallEdge();
    const alice = bearerHeader(await createToken('alice'));
    expect((await app.post('/messages', ASK, alice)).status).toBe(200);
    await put(app, '/accounts/alice/limits', { usd_per_day: 0 });
    expect((await app.post('/messages', ASK, alice)).status).toBe(429);
    await put(app, '/accounts/alice/limits', { models: ['claude-opus-5-5'] });
    expect((await app.post('/messages', ASK, alice)).status).toBe(404);
    await put(app, '/accounts/alice/limits', {});
    expect((await app.post('/messages', ASK, alice)).status).toBe(200);
  });

  test.each<[string, unknown]>([
    ['an unknown name', { usd_per_year: 1 }],
    ['a name that is almost right', { usd_per_day: 1, USD_per_day: 1 }],
    ['an amount below nothing', { usd_per_day: -1 }],
    ['an amount finer than can be counted', { usd_per_day: 1.0000000001 }],
    ['an amount that is no number', { usd_per_day: '1' }],
    ['an amount beyond exact sums', { usd_per_month: 9_000_001 }],
    ['half a request at a time', { concurrent_requests: 0.5 }],
    ['no limit where one was meant', { usd_per_day: null }],
    ['another way to fall short', { on_shortfall: 'ignore' }],
    ['an answer of nothing', { min_output_tokens: 0 }],
    ['models that are no list', { models: 'claude-haiku-5-5' }],
  ])('returns 400 and changes nothing for %s', async (_, limits) => {
    const app = smallEdge();
    await put(app, '/accounts/alice/limits', { usd_per_day: 2 });
    const refused = await put(app, '/accounts/alice/limits', limits);
    expect({ status: refused.status, ...(await readError(refused)) }).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
    });
    expect((await get(app, '/accounts/alice')).own_limits).toEqual({ usd_per_day: 2 });
  });
});

describe('GET /accounts/:id/export', () => {
  test('returns every row of the ledger as a line, oldest first', async () => {
    await spend('alice', 1_234);
    const app = smallEdge();
    const response = await app.fetch('/accounts/alice/export', {
      headers: bearerHeader(await createToken('alice', [])),
    });
    expect(response.headers.get('content-type')).toBe('application/jsonl');
    const text = new TextDecoder().decode(await response.arrayBuffer());
    expect(text.endsWith('}\n')).toBe(true);
    const rows = text
      .trimEnd()
      .split('\n')
      .map((line) => z.strictObject(ledgerRowSchema.shape).parse(JSON.parse(line)));
    expect(rows.map(({ request_id }) => request_id)).toEqual(
      Array.from({ length: 1_234 }, (_, i) => `req_${String(i).padStart(6, '0')}`),
    );
    expect(rows[5]?.cost_usd).toBe(0.000001005);
  });

  test('returns an empty body for an empty ledger', async () => {
    const response = await smallEdge().fetch('/accounts/nobody/export', { headers: await admin() });
    expect(response.status).toBe(200);
    expect((await response.arrayBuffer()).byteLength).toBe(0);
  });
});

describe('DELETE /accounts/:id', () => {
  test('reports its progress, continues when called again, and leaves only revocations and an anonymous sum', async () => {
    const app = smallEdge();
    const alice = await createToken('alice');
    await app.post('/messages', ASK, bearerHeader(alice));
    await app.waitUntilSettled();
    await spend('alice', 6_000);
    await put(app, '/accounts/alice/limits', { usd_per_day: 2 });
    const { day: spent } = quotaReportSchema.parse(await get(app, '/accounts/alice'));
    const erase = async () => {
      const response = await app.fetch('/accounts/alice', { method: 'DELETE', headers: await admin() });
      expect(response.status).toBe(202);
      return (await response.json()) as { done: boolean; remaining: number };
    };
    expect(await erase()).toEqual({ type: 'account', id: 'alice', done: false, remaining: 1_001 });
    expect((await app.post('/messages', ASK, bearerHeader(alice))).status).toBe(401);
    expect(await get(app, '/accounts')).toMatchObject({ data: [] });
    expect(await erase()).toEqual({ type: 'account', id: 'alice', done: true, remaining: 0 });
    // To be erased is not to be given a new budget.
    const { settled_usd } = spent;
    expect(settled_usd).toBeGreaterThan(0);
    expect(await get(app, '/accounts/alice')).toMatchObject({ own_limits: null, day: { settled_usd } });
    const sums = await get(app, '/usage?account=alice&group_by=model');
    expect(sums.data).toEqual([expect.objectContaining({ key: '(erased)', requests: 6_001, cost_usd: settled_usd })]);
    expect(await get(app, '/usage/requests?account=alice')).toMatchObject({ data: [] });
    expect((await app.post('/messages', ASK, bearerHeader(alice))).status).toBe(401);
  });

  test('continues in the alarm', async () => {
    const app = smallEdge();
    await spend('alice', 6_000);
    await app.fetch('/accounts/alice', { method: 'DELETE', headers: await admin() });
    await runDurableObjectAlarm(object('alice'));
    expect(await object('alice').listRequests({})).toMatchObject({ data: [], has_more: false });
  });

  test('completes when a conversation has already been erased but the response was lost', async () => {
    const conversation = { id: 'trip', version: 1, createdAt: 1, updatedAt: 1, title: null };
    const counts = { paused: null, turns: 1, messages: 2, bytes: 20, cost: 0, gone: false };
    await runInDurableObject(object('alice'), async (account: Account) => {
      account.noteConversation({ ...conversation, ...counts } as Parameters<Account['noteConversation']>[0]);
      expect(await account.erase()).toEqual({ done: false, remaining: 1 });
    });
    await runDurableObjectAlarm(object('alice'));
    expect(await object('alice').erase()).toEqual({ done: true, remaining: 0 });
  });

  test('completes immediately for an unknown account', async () => {
    const response = await smallEdge().fetch('/accounts/nobody', { method: 'DELETE', headers: await admin() });
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({ type: 'account', id: 'nobody', done: true, remaining: 0 });
  });
});

describe('another user’s account', () => {
  const READ = ['/accounts/bob', '/accounts/bob/export', '/usage?account=bob', '/usage/requests?account=bob'];

  test('returns the same 404 whether it exists or not', async () => {
    const app = smallEdge();
    const asked = await app.post('/messages', ASK, bearerHeader(await createToken('bob')));
    await app.waitUntilSettled();
    const id = asked.headers.get('sluice-request-id');
    const alice = bearerHeader(await createToken('alice', ['messages', 'classify', 'prefixes']));
    const told = new Set<string>();
    for (const path of [...READ, `/usage/requests/${id}`, `/usage/requests/${id}?account=bob`]) {
      for (const name of ['bob', 'nobody', 'Alice', 'alice%20', '%61lice%00', 'dev']) {
        const response = await app.fetch(path.replace('bob', name), { headers: alice });
        const { type, message } = await readError(response);
        expect({ path, status: response.status, type }).toEqual({ path, status: 404, type: 'not_found_error' });
        if (!path.includes(String(id))) told.add(message);
      }
    }
    expect(told.size).toBe(1);
    expect(await get(app, `/usage/requests/${id}?account=bob`)).toMatchObject({ request_id: id });
    expect(await get(app, '/usage', alice)).toMatchObject({ total: { requests: 0 } });
  });

  test('cannot be changed or erased, and its tokens cannot be listed or revoked', async () => {
    const app = smallEdge();
    const alice = bearerHeader(await createToken('alice', ['messages', 'classify', 'prefixes']));
    for (const [method, path] of [
      ['PUT', '/accounts/bob/limits'],
      ['PUT', '/accounts/alice/limits'],
      ['DELETE', '/accounts/bob'],
      ['DELETE', '/accounts/bob/tokens'],
      ['DELETE', '/accounts/bob/tokens/x'],
      ['GET', '/accounts/bob/tokens'],
      ['GET', '/accounts'],
    ] as const) {
      const headers = { 'content-type': 'application/json', ...alice };
      const response = await app.fetch(path, { method, headers, ...(method === 'PUT' ? { body: '{}' } : {}) });
      expect({ path, status: response.status }).toEqual({ path, status: 403 });
    }
  });
});

test('returns no server error for arbitrary methods, paths, queries and bodies', async () => {
  const app = smallEdge();
  const headers = { ...(await admin()), 'content-type': 'application/json' };
  const word = fc.oneof(
    fc.constantFrom(
      'alice',
      '.',
      '..',
      '%',
      '%00',
      '%ff',
      '%F0%9F%8C%8D',
      '%ed%a0%80',
      '%2e%2e',
      '%2F',
      'x'.repeat(300),
      '-',
      "'",
      '1e9',
      'null',
    ),
    fc.webSegment({ size: 'small' }),
    fc.stringMatching(/^(%[0-9a-f]{2}){1,4}$/),
  );
  const path = fc
    .tuple(
      fc.constantFrom('/accounts', '/usage', '/tokens', '/usage/requests'),
      fc.array(fc.oneof(word, fc.constantFrom('limits', 'export', 'tokens', 'requests')), { maxLength: 3 }),
      fc.array(
        fc.tuple(fc.constantFrom('limit', 'after_id', 'before_id', 'from', 'to', 'group_by', 'account', 'x'), word),
        { maxLength: 3 },
      ),
    )
    .map(([start, rest, query]) => {
      const search = query.map(([key, value]) => `${key}=${value}`).join('&');
      // Otherwise nearly all of these accounts would be unknown, and refused before anything is read.
      return `${[start, ...rest].join('/')}?if_absent=empty${search === '' ? '' : `&${search}`}`;
    });
  const body = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify(value)),
    fc
      .record(
        {
          account: fc.jsonValue({ maxDepth: 1 }),
          scopes: fc.oneof(fc.constant(['messages']), fc.jsonValue({ maxDepth: 1 })),
          usd_per_day: fc.oneof(fc.double(), fc.jsonValue({ maxDepth: 1 })),
          expires_in: fc.oneof(fc.double(), fc.maxSafeInteger()),
          label: fc.string({ unit: 'binary' }),
        },
        { requiredKeys: [] },
      )
      .map((value) => JSON.stringify(value)),
    fc.uint8Array({ maxLength: 30 }).map((bytes) => new TextDecoder().decode(bytes)),
  );
  let successes = 0;
  let refusals = 0;
  await tryAsyncCases(
    1_000,
    path,
    fc.constantFrom('GET', 'POST', 'PUT', 'DELETE'),
    body,
    async (route, method, text) => {
      const init = method === 'GET' || method === 'DELETE' ? { method, headers } : { method, headers, body: text };
      const response = await app.fetch(route, init);
      if (response.ok) {
        successes += 1;
        await response.arrayBuffer();
        return;
      }
      refusals += 1;
      const { type } = await readError(response);
      expect(response.status, `${method} ${route} ${text}: ${type}`).toBeLessThan(500);
      expect([400, 401, 403, 404, 405, 413, 415], `${method} ${route}`).toContain(response.status);
    },
  );
  expect(app.sent).toEqual([]);
  // Both are tried.
  expect(Math.min(successes, refusals)).toBeGreaterThan(50);
});
