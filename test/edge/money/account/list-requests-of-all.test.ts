import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { ListedRequest } from '#edge/money/account/usage-answers.schema.ts';
import { getPoolStub } from '#edge/plugins/pools/call-pool.ts';
import { DEPLOYMENT_POOL } from '#edge/plugins/pools/pool-name.ts';
import { createTestApp, type SentRequest, type TestApp } from '#test/support/app.ts';
import { advanceClock, setClockToNoon } from '#test/support/calendar.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { counting } from './counting-calls.ts';
import { smallEdge } from './small-edge.ts';
import { ASK, MESSAGE } from './small-request.ts';

setClockToNoon();
const bindings = env as unknown as Bindings;
const account = (name: string) => getAccountStub(bindings, {}, name);
/** Refuses the model that is asked for. */
const NOT_ALLOWED = { DEFAULT_LIMITS: '{"models":["claude-opus-5-5"]}' };
const MINUTE_MS = 60_000;

async function list(app: TestApp, query: string, scope: 'admin' | 'messages' = 'admin') {
  const response = await app.fetch(`/usage/requests?${query}`, {
    headers: bearerHeader(await createToken('root', [scope])),
  });
  return { status: response.status, page: (await response.json()) as { data: ListedRequest[]; has_more: boolean } };
}

const idsOf = async (app: TestApp, query: string) =>
  (await list(app, query)).page.data.map(({ request_id }) => request_id);

/** Has an account ask. @returns the id of the request */
async function asked(app: TestApp, name: string, expected: number): Promise<string> {
  const response = await app.post('/messages', ASK, bearerHeader(await createToken(name)));
  expect(response.status).toBe(expected);
  await response.text();
  await app.waitUntilSettled();
  advanceClock(2);
  return response.headers.get('sluice-request-id') ?? '';
}

test('lists the rejected requests of all accounts to an admin, filtered by account and time', async () => {
  disableAutomaticAlarms();
  const app = smallEdge(NOT_ALLOWED);
  const ids: string[] = [];
  for (const name of ['alice', 'bob', 'alice']) ids.unshift(await asked(app, name, 404));
  expect(await idsOf(app, 'outcome=refused')).toEqual([]);
  for (const name of ['alice', 'bob']) await runDurableObjectAlarm(account(name));
  const { data: all } = (await list(app, 'outcome=refused')).page;
  expect(all.map(({ request_id, account: whose }) => [request_id, whose])).toEqual([
    [ids[0], 'alice'],
    [ids[1], 'bob'],
    [ids[2], 'alice'],
  ]);
  const message = expect.stringContaining('cannot use') as string;
  const refusal = { limited_by: 'account', limit: 'models', message };
  expect(all[0]).toMatchObject({ status: 'refused', route: 'messages', error_type: 'not_found_error', refusal });
  // What an account answers of itself is the same.
  const { account: _, ...own } = all[0] as ListedRequest;
  const ofAlice = await list(app, `outcome=refused&account=alice&token=${all[0]?.token}`);
  expect(ofAlice.page.data[0]).toEqual(own);
  const at = encodeURIComponent(all[1]?.created_at ?? '');
  expect(await idsOf(app, `outcome=refused&to=${at}`)).toEqual([ids[2]]);
  expect(await idsOf(app, `outcome=refused&from=${at}`)).toEqual([ids[0], ids[1]]);
  expect(await idsOf(app, 'outcome=failed')).toEqual([]);
  expect((await list(app, `outcome=refused&token=${all[0]?.token}`)).status).toBe(400);
  expect((await list(app, 'outcome=lost')).status).toBe(400);
  expect((await list(app, 'outcome=refused', 'messages')).page).toMatchObject({ data: [], account: 'root' });
});

test('lists the failed requests of one account and of all accounts', async () => {
  disableAutomaticAlarms();
  let fails = true;
  const failing = createTestApp(({ url }: SentRequest) => {
    if (url.pathname.endsWith('/count_tokens')) return Response.json({ input_tokens: 9 });
    if (!fails) return Response.json(MESSAGE);
    return Response.json({ type: 'error', error: { type: 'invalid_request_error', message: 'No.' } }, { status: 400 });
  }, DEPLOYED_VARS);
  const first = await asked(failing, 'alice', 400);
  const second = await asked(failing, 'bob', 400);
  fails = false;
  await asked(failing, 'alice', 200);
  for (const name of ['alice', 'bob']) await runDurableObjectAlarm(account(name));
  const rows = (await list(failing, 'outcome=failed')).page.data;
  expect(rows.map((row) => [row.request_id, row.account, row.error_type])).toEqual([
    [second, 'bob', 'invalid_request_error'],
    [first, 'alice', 'invalid_request_error'],
  ]);
  expect(await idsOf(failing, 'outcome=failed&account=alice')).toEqual([first]);
  expect(await idsOf(failing, 'account=alice')).toHaveLength(2);
});

test('reads a page only from the accounts with the newest rows, and the next one from the last ID on', async () => {
  disableAutomaticAlarms();
  const calls: string[] = [];
  const app = smallEdge({ ...NOT_ALLOWED, ACCOUNT: counting<object>(bindings.ACCOUNT, calls) });
  const ids: string[] = [];
  const names = Array.from({ length: 12 }, (_, n) => `account-${n}`);
  for (const name of [...names, ...names]) {
    ids.unshift(await asked(app, name, 404));
    advanceClock(MINUTE_MS);
  }
  for (const name of names) await runDurableObjectAlarm(account(name));
  expect(await idsOf(app, 'outcome=refused&limit=100')).toEqual(ids);
  const paged: string[] = [];
  calls.length = 0;
  await list(app, 'outcome=refused&limit=3');
  // The admin's own account answers for the token.
  expect(new Set(calls).size).toBeLessThanOrEqual(6);
  for (let more = ''; ; more = `&after_id=${paged.at(-1)}`) {
    const { page } = await list(app, `outcome=refused&limit=5${more}`);
    paged.push(...page.data.map(({ request_id }) => request_id));
    if (!page.has_more) break;
  }
  expect(paged).toEqual(ids);
  expect(await idsOf(app, `outcome=refused&limit=5&before_id=${ids[7]}`)).toEqual(ids.slice(2, 7));
  expect(await idsOf(app, `outcome=refused&limit=5&before_id=${ids[2]}`)).toEqual(ids.slice(0, 2));
});

test('calls at most 200 accounts per page, and continues with the others from the cursor', async () => {
  disableAutomaticAlarms();
  const calls: string[] = [];
  const app = smallEdge({ ...NOT_ALLOWED, ACCOUNT: counting<object>(bindings.ACCOUNT, calls) });
  const first = await asked(app, 'account-0', 404);
  await runDurableObjectAlarm(account('account-0'));
  // Others that the deployment's pool knows: they have nothing to list.
  await runInDurableObject(getPoolStub(bindings, {}, DEPLOYMENT_POOL), (_, { storage }) => {
    const columns = storage.sql.exec<{ name: string }>("select name from pragma_table_info('leases')").toArray();
    const names = columns.map(({ name }) => name).filter((name) => name !== 'id' && name !== 'account');
    for (let n = 1; n <= 450; n += 1) {
      storage.sql.exec(
        `insert into leases (id, account, ${names}) select 'other-' || ?, 'other-' || ?, ${names} from leases
         where account = 'account-0'`,
        n,
        n,
      );
    }
    storage.sql.exec(`update leases set refused_at = refused_at + 1000 where account like 'other-%'`);
  });
  const page = async (more: string) => {
    calls.length = 0;
    const { page: answer } = await list(app, `outcome=refused&limit=5${more}`);
    // The admin's own account answers for the token.
    expect(calls.length).toBeLessThanOrEqual(201);
    return answer as typeof answer & { accounts_after: string | null };
  };
  for (const edge of ['', `&before_id=${first}`]) {
    const found: string[] = [];
    let pages = 0;
    for (let after: string | null = ''; after !== null; pages += 1) {
      const answer: Awaited<ReturnType<typeof page>> = await page(
        after === '' ? edge : `${edge}&accounts_after=${after}`,
      );
      found.push(...answer.data.map(({ request_id }) => request_id));
      after = answer.accounts_after;
    }
    expect([pages, found], edge).toEqual([3, edge === '' ? [first] : []]);
  }
  for (const wrong of ['accounts_after=x&outcome=refused', 'accounts_after=1-a&account=alice']) {
    expect((await list(app, wrong)).status).toBe(400);
  }
});

test('lists rejected requests after a crash, and none of an erased account', async () => {
  disableAutomaticAlarms();
  const app = smallEdge(NOT_ALLOWED);
  const before = await asked(app, 'alice', 404);
  await runDurableObjectAlarm(account('alice'));
  const after = await asked(app, 'alice', 404);
  // What is refused within a second of the one before is stored at its end.
  await expect
    .poll(() =>
      runInDurableObject(account('alice'), (_, { storage }) =>
        storage.sql.exec<{ rows: number }>('select count(*) as rows from refusals').one(),
      ),
    )
    .toEqual({ rows: 2 });
  await abortAllDurableObjects();
  await runDurableObjectAlarm(account('alice'));
  expect(await idsOf(app, 'outcome=refused')).toEqual([after, before]);
  await app.fetch('/accounts/alice', { method: 'DELETE', headers: bearerHeader(await createToken('root', ['admin'])) });
  await runDurableObjectAlarm(account('alice'));
  expect(await idsOf(app, 'outcome=refused')).toEqual([]);
});
