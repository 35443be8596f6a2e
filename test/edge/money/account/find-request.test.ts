import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { extractAccountMark } from '#edge/kit/http/headers/request-id.ts';
import { accountList } from '#edge/kit/kv/name-list.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { Account } from '#edge/money/account/account.ts';
import {
  type LedgerRow,
  type ListedRequest,
  ledgerRequestSchema,
  listedRequestSchema,
} from '#edge/money/account/usage-answers.schema.ts';
import { readError, type TestApp } from '#test/support/app.ts';
import { setClockToNoon } from '#test/support/calendar.ts';
import { countWrittenRows } from '#test/support/conversations.ts';
import { answerByScript } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { admitInside, settleAt, worstCaseWith } from './admission-requests.ts';
import { runInAccount } from './run-in-account.ts';
import { smallEdge } from './small-edge.ts';
import { ASK, MESSAGE } from './small-request.ts';

const bindings = env as unknown as Bindings;
const DAY = 86_400_000;

setClockToNoon();

const admin = async () => bearerHeader(await createToken('root', ['admin']));
const object = (name: string) => getAccountStub(bindings, {}, name);

async function asked(app: TestApp, account: string, body: object = {}): Promise<{ id: string; response: Response }> {
  const response = await app.post('/messages', { ...ASK, ...body }, bearerHeader(await createToken(account)));
  await app.waitUntilSettled();
  return { id: response.headers.get('sluice-request-id') ?? '', response };
}

async function found(app: TestApp, id: string, query = '', headers?: Record<string, string>) {
  const response = await app.fetch(`/usage/requests/${id}${query}`, { headers: headers ?? (await admin()) });
  await app.waitUntilSettled();
  if (response.status === 404) return undefined;
  expect(response.status).toBe(200);
  return z.strictObject(ledgerRequestSchema.shape).parse(await response.json());
}

describe('GET /usage/requests/:request_id for an admin', () => {
  test('finds a request of any account by its ID, while a user finds only their own', async () => {
    const app = smallEdge();
    const alice = await asked(app, 'alice');
    const bob = await asked(app, 'bob');
    const ofAlice = { request_id: alice.id, account: 'alice', status: 'complete', refusal: null };
    expect(await found(app, alice.id)).toMatchObject(ofAlice);
    expect(await found(app, bob.id)).toMatchObject({ request_id: bob.id, account: 'bob' });
    expect(await found(app, bob.id, '?account=bob')).toMatchObject({ request_id: bob.id, account: 'bob' });
    const byBob = await found(app, bob.id, '', bearerHeader(await createToken('bob')));
    expect(byBob).toMatchObject({ request_id: bob.id });
    expect(byBob).not.toHaveProperty('account');
    expect(await found(app, bob.id, '', bearerHeader(await createToken('alice')))).toBeUndefined();
    expect(await found(app, bob.id, '?account=alice')).toBeUndefined();
    // Its own requests an admin finds as before.
    const own = await asked(app, 'root');
    expect(await found(app, own.id)).toMatchObject({ request_id: own.id });
  });

  test('finds a request of an account without a stored mark, also after the secret was rotated', async () => {
    const before = smallEdge();
    const { id } = await asked(before, 'alice');
    for (const { name } of (await bindings.STORE.list({ prefix: 'mark:' })).keys) await bindings.STORE.delete(name);
    const next = 'another-signing-secret-of-the-tests';
    const rotated = smallEdge({ SIGNING_SECRET: next, SIGNING_SECRET_PREVIOUS: SECRET });
    expect(await found(rotated, id)).toMatchObject({ request_id: id, account: 'alice' });
    expect((await bindings.STORE.list({ prefix: 'mark:' })).keys).toHaveLength(1);
    expect(await found(rotated, id)).toMatchObject({ request_id: id });
  });

  test('finds a failed request by the upstream’s ID, but a completed one only together with the account', async () => {
    const app = smallEdge();
    const failed = 'req_011CVuWyLpFkJiV6yJmMGfBD';
    const complete = 'req_011CVuWyLpFkJiV6yJmMGfBE';
    const row = { status: 'complete', cost: 1 };
    const [first, second] = ['req_01m7w6qhfxbt0tfvnmx89rna1z', 'req_01m7w6qhfxbt0tfvnmx89rna2z'];
    await settleAt(object('alice'), {
      ...row,
      requestId: first,
      errorType: 'overloaded_error',
      upstreamRequestId: failed,
    });
    await settleAt(object('alice'), { ...row, requestId: second, upstreamRequestId: complete });
    await object('alice').reportSpendingToPool('deployment');
    expect(await found(app, failed)).toMatchObject({ request_id: first, account: 'alice' });
    expect(await found(app, failed, '?account=alice')).toMatchObject({ request_id: first });
    expect(await found(app, complete)).toBeUndefined();
    expect(await found(app, complete, '?account=alice')).toMatchObject({ request_id: second, account: 'alice' });
    expect(await found(app, failed, '', bearerHeader(await createToken('bob')))).toBeUndefined();
    expect(await found(app, failed, '', bearerHeader(await createToken('alice')))).toMatchObject({ request_id: first });
  });

  test('finds a request whose ID has no mark only together with the account', async () => {
    const app = smallEdge();
    await accountList.addName(bindings.STORE, 'alice');
    const id = 'req_01m7w6qhfxbt0tfvnmx89rna1z';
    await settleAt(object('alice'), { requestId: id, status: 'complete', cost: 1 });
    expect(await found(app, id)).toBeUndefined();
    expect(await found(app, id, '?account=alice')).toMatchObject({ request_id: id });
    for (const none of ['x', 'req_', encodeURIComponent('req_01m7w6qhfxbt0tfvnmx89rna1z.2')]) {
      expect(await found(app, none)).toBeUndefined();
    }
  });
});

describe('the `error_message` of a failed request', () => {
  const LONG = 'prompt is too long: 9 tokens > 8 maximum';
  const createFailingEdge = (message: string, answer?: (error: object) => Response) => {
    const error = { type: 'error', error: { type: 'invalid_request_error', message } };
    const createAnswer = () => answer?.(error) ?? Response.json(error, { status: 400 });
    answerByScript(createAnswer);
    return smallEdge({}, createAnswer);
  };
  const messageOf = async (app: TestApp, id: string) => (await found(app, id))?.error_message;

  test('is the API’s own sentence, whichever way the error arrived', async () => {
    const app = createFailingEdge(LONG);
    expect(await messageOf(app, (await asked(app, 'alice')).id)).toBe(LONG);
    expect(await messageOf(app, (await asked(app, 'alice', { conversation: 'trip' })).id)).toBe(LONG);
    const event = (error: object) => `event: error\ndata: ${JSON.stringify(error)}\n\n`;
    const headers = { 'content-type': 'text/event-stream' };
    const begun = `event: message_start\ndata: ${JSON.stringify({ type: 'message_start', message: { ...MESSAGE, id: 'msg_1' } })}\n\n`;
    for (const start of ['', begun]) {
      const streams = createFailingEdge(LONG, (error) => new Response(start + event(error), { headers }));
      for (const body of [{}, { conversation: 'trip' }])
        expect(await messageOf(streams, (await asked(streams, 'alice', { ...body, stream: true })).id)).toBe(LONG);
    }
  });

  test('is null if the message could quote the request or come from a gateway', async () => {
    for (const message of [`proxy: ${LONG}`, 'messages.0.content: Hi', 'Overloaded']) {
      const app = createFailingEdge(message);
      expect(await messageOf(app, (await asked(app, 'alice')).id)).toBeNull();
    }
    const gateway = createFailingEdge('', () => Response.json({ detail: LONG }, { status: 400 }));
    expect(await messageOf(gateway, (await asked(gateway, 'alice')).id)).toBeNull();
  });

  test('is absent from the row of a later request that succeeds', async () => {
    const app = createFailingEdge(LONG, (error) =>
      app.sent.length === 1 ? Response.json(error, { status: 400 }) : Response.json(MESSAGE),
    );
    expect(await messageOf(app, (await asked(app, 'alice')).id)).toBe(LONG);
    expect(await messageOf(app, (await asked(app, 'alice')).id)).toBeNull();
  });

  test('about the deployment’s key is shown only to its operators', async () => {
    const credit = 'Your credit balance is too low to access the Anthropic API';
    const app = createFailingEdge(`${credit}. Please go to Plans & Billing.`);
    const headers = bearerHeader(await createToken('alice'));
    const rows: [LedgerRow | undefined, LedgerRow | undefined][] = [];
    for (const body of [{}, { conversation: 'trip' }]) {
      const { id } = await asked(app, 'alice', body);
      const [own, ofAdmin] = [await found(app, id, '', headers), await found(app, id)];
      rows.push([own, ofAdmin], [own?.tries[0], ofAdmin?.tries[0]]);
    }
    const read = async (path: string, init?: { headers: Record<string, string> }) =>
      (await (await app.fetch(path, init ?? { headers: await admin() })).text()).split('\n', 1)[0] ?? '';
    const listed = async (init?: { headers: Record<string, string> }) =>
      (JSON.parse(await read('/usage/requests?account=alice', init)) as { data: LedgerRow[] }).data[0];
    rows.push([await listed({ headers }), await listed()]);
    const exported = async (init?: { headers: Record<string, string> }) =>
      JSON.parse(await read('/accounts/alice/export', init)) as LedgerRow;
    rows.push([await exported({ headers }), await exported()]);
    expect(rows.map(([own]) => own?.error_message)).toEqual(rows.map(() => null));
    expect(rows.map(([, ofAdmin]) => ofAdmin?.error_message)).toEqual(rows.map(() => credit));
  });
});

describe('the account mark in a request ID', () => {
  test('is the same in all IDs of an account, differs between accounts, and is random without a valid credential', async () => {
    const app = smallEdge();
    const marks = async (account: string, by = app) => extractAccountMark((await asked(by, account)).id);
    const alice = await marks('alice');
    expect(alice).toHaveLength(8);
    expect(await marks('alice')).toBe(alice);
    expect(await marks('bob')).not.toBe(alice);
    const other = smallEdge({ SIGNING_SECRET: 'another-signing-secret-of-the-tests' });
    const response = await other.fetch('/usage', { headers: await admin() });
    // A credential that does not hold has no account: its ids tell nothing, not even that they are of one caller.
    const strange = await other.fetch('/usage', { headers: await admin() });
    const ids = [response, strange].map(({ headers }) => extractAccountMark(headers.get('sluice-request-id') ?? ''));
    expect(ids[0]).not.toBe(ids[1]);
  });

  test('keeps IDs unique and in the order of their time', async () => {
    const app = smallEdge();
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) ids.push((await asked(app, 'alice')).id);
    expect([...ids].sort((left, right) => (left.slice(0, 14) < right.slice(0, 14) ? -1 : 1))).toEqual(ids);
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^req_[0-9a-hjkmnp-tv-z]{26}$/);
    const { request_id } = await readError(await app.post('/messages', {}, bearerHeader(await createToken('alice'))));
    expect(extractAccountMark(request_id)).toBe(extractAccountMark(ids[0] ?? ''));
  });
});

describe('a rejected request', () => {
  test('of an account without admitted requests is found by its ID', async () => {
    const app = smallEdge({ DEFAULT_LIMITS: '{"models":["claude-opus-5-5"]}' });
    const { id, response } = await asked(app, 'alice');
    expect(response.status).toBe(404);
    const refused = { request_id: id, account: 'alice', status: 'refused', refusal: { limit: 'models' } };
    expect(await found(app, id)).toMatchObject(refused);
  });

  test('is found with the limit that rejected it and the error message', async () => {
    const app = smallEdge();
    await object('alice').setLimits({ usd_per_day: 0.0001, on_shortfall: 'refuse' });
    let last = await asked(app, 'alice');
    for (let i = 0; i < 50 && last.response.ok; i += 1) last = await asked(app, 'alice');
    const { message } = await readError(last.response);
    expect(await found(app, last.id)).toMatchObject({
      request_id: last.id,
      status: 'refused',
      model: 'claude-haiku-5-5',
      error_type: 'billing_error',
      cost_usd: 0,
      tries: [],
      refusal: { limited_by: 'account', limit: 'usd_per_day', message },
    });
    expect(await found(app, last.id, '', bearerHeader(await createToken('bob')))).toBeUndefined();
  });

  test('is listed by day, newest first, in pages, only for its account and an admin', async () => {
    const app = smallEdge({ DEFAULT_LIMITS: '{"models":["claude-opus-5-5"]}' });
    const today = new Date().toISOString().slice(0, 10);
    // A row from before, which has what was refused since yesterday: some of it on each side of midnight.
    // The first request makes the tables.
    const ids = [(await asked(app, 'alice')).id, (await asked(app, 'alice')).id];
    await runInDurableObject(object('alice'), (_, { storage }) => {
      const midnight = Date.parse(today);
      const refused = [-2, -1, 0, 1].map((index) => ({
        id: `req_00${index + 2}`,
        at: midnight + index * 1_000,
        route: 'messages',
        model: 'claude-haiku-5-5',
        refusal: {
          kind: 'refused',
          reason: 'model',
          by: 'account',
          limit: 'models',
          model: 'claude-haiku-5-5',
          allowed: [],
          retryAfter: 1,
          resetsAt: midnight,
          needed: 1,
          left: 0,
          never: true,
        },
      }));
      storage.sql.exec('insert into refusals (at, refused) values (?, ?)', midnight + 1_500, JSON.stringify(refused));
    });
    const listed = async (query: string, headers?: Record<string, string>) => {
      const response = await app.fetch(`/usage/requests?outcome=refused&${query}`, {
        headers: headers ?? (await admin()),
      });
      await app.waitUntilSettled();
      expect(response.status).toBe(200);
      const page = (await response.json()) as { data: ListedRequest[]; has_more: boolean };
      const rows = page.data.map((row) => z.strictObject(listedRequestSchema.shape).parse(row));
      for (const row of rows) expect(row).toMatchObject({ status: 'refused', refusal: { limit: 'models' } });
      return [rows.map(({ request_id }) => request_id), page.has_more];
    };
    const newest = [...ids].reverse();
    expect(await listed('account=alice')).toEqual([[...newest, 'req_003', 'req_002', 'req_001', 'req_000'], false]);
    expect(await listed(`account=alice&from=${today}`)).toEqual([[...newest, 'req_003', 'req_002'], false]);
    expect(await listed(`account=alice&to=${today}`)).toEqual([['req_001', 'req_000'], false]);
    expect(await listed('account=alice&limit=1')).toEqual([[newest[0]], true]);
    expect(await listed(`account=alice&limit=2&after_id=${newest[0]}`)).toEqual([[newest[1], 'req_003'], true]);
    expect(await listed('', bearerHeader(await createToken('bob')))).toEqual([[], false]);
    // Without an outcome they are the requests that went up.
    const asIs = await app.fetch(`/usage/requests?account=alice&from=${today}`, { headers: await admin() });
    expect(await asIs.json()).toMatchObject({ data: [] });
  });

  test('is found after a crash a second later, also as the last of several concurrent ones', async () => {
    const app = smallEdge({ DEFAULT_LIMITS: '{"models":["claude-opus-5-5"]}' });
    const ids = await Promise.all([1, 2, 3].map(async () => (await asked(app, 'alice')).id));
    const written = () =>
      runInDurableObject(object('alice'), (_, { storage }) =>
        storage.sql.exec<{ refused: string }>('select refused from refusals').toArray(),
      );
    await expect
      .poll(async () => (await written()).flatMap(({ refused }) => JSON.parse(refused) as unknown[]).length, {
        timeout: 20_000,
      })
      .toBe(3);
    await abortAllDurableObjects();
    for (const id of ids) expect(await found(app, id)).toMatchObject({ status: 'refused' });
  });

  test('is stored together with others in at most one row per second, and deleted after the retention period', async () => {
    let clock = Date.now() + 100 * DAY;
    const inAccount = async <T>(run: (account: Account) => T) =>
      await runInAccount(object('alice'), { now: () => clock, retentionDays: 1 }, run);
    const limits = { models: [] };
    const refuseIn = (account: Account, requestId: string) =>
      admitInside(account, {
        requestId,
        route: 'messages',
        model: 'claude-opus-5-5',
        defaults: limits,
        maximumCost: worstCaseWith({ inputTokens: 1, inputCost: 1, outputTokens: 1, outputPrice: 1 }),
      });
    const refuse = (requestId: string) => inAccount((account) => refuseIn(account, requestId));
    expect((await refuse('first')).outcome).toBe('refused');
    await abortAllDurableObjects();
    expect(await inAccount((account) => account.findRequest('first'))).toMatchObject({ refusal: { limit: 'models' } });
    const rows = await countWrittenRows(object('alice'));
    clock += 1;
    const began = Date.now();
    for (let i = 0; i < 1_000; i += 10) {
      await inAccount((account) => {
        for (let n = i; n < i + 10; n += 1) {
          clock += 10;
          refuseIn(account, `flood ${n}`);
        }
      });
    }
    // A row for each of the ten seconds of the test's clock, and one for each second that this takes.
    expect(rows()).toBeLessThanOrEqual(12 + (Date.now() - began) / 1_000);
    expect(await inAccount((account) => account.findRequest('flood 999'))).toMatchObject({ status: 'refused' });
    clock += 2 * DAY;
    await inAccount((account) => account.alarm());
    expect(await inAccount((account) => account.findRequest('flood 500'))).toBeUndefined();
    await refuse('last');
    await inAccount((account) => account.erase());
    expect(await inAccount((account) => account.findRequest('last'))).toBeUndefined();
    await runDurableObjectAlarm(object('alice'));
  });
});
