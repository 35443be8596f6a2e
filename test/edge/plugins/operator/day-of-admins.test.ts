/** The routes of tokens and changes have their own tests. This file follows two admins and a support desk through a day. */
import { decodeJwt } from 'jose';
import { expect, test } from 'vitest';
import type { OwnedTokenRow } from '#edge/money/account/usage-answers.schema.ts';
import type { ChangeRow } from '#edge/money/changes/changes-answers.schema.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { eventually } from '#test/support/eventually.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';

interface Call {
  method?: string;
  body?: unknown;
}

async function call<Answer>(app: TestApp, token: string, path: string, { method, body }: Call = {}): Promise<Answer> {
  const headers = { ...bearerHeader(token), ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await app.fetch(path, { method: method ?? (body === undefined ? 'GET' : 'POST'), headers, ...sent });
  expect(response.status, `${method} ${path}: ${await response.clone().text()}`).toBeLessThan(300);
  return (await response.json()) as Answer;
}

const listChanges = async (app: TestApp, token: string, query: string) =>
  (await call<{ data: ChangeRow[] }>(app, token, `/changes?limit=1000&${query}`)).data;

test('admins and a support desk can trace each change, and find and revoke a leaked token', async () => {
  const app = createTestApp(() => Response.json(SMALL_MESSAGE), DEPLOYED_VARS);
  const [olga, petr] = [await createToken('olga', ['admin']), await createToken('petr', ['admin'])];
  const { token: desk } = await call<{ token: string }>(app, olga, '/tokens', {
    body: { account: 'desk', scopes: ['admin:read'], label: 'Support desk' },
  });
  const began = new Date().toISOString();
  const limit = (account: string, usd_per_day: number) => ({ path: `/accounts/${account}/limits`, usd_per_day });
  for (const { path, usd_per_day } of [limit('sales-09', 2), limit('sales-08', 2)])
    await call(app, olga, path, { method: 'PATCH', body: { usd_per_day } });
  await call(app, petr, '/accounts/sales-09/limits', { method: 'PATCH', body: { usd_per_day: 20 } });
  await call(app, petr, '/accounts/sales-08/credit', { body: { usd: 5 } });

  // The desk is asked who raised a limit.
  await eventually(async () => {
    const raised = await listChanges(app, desk, `account=sales-09&kind=limits.updated&from=${began}`);
    expect(raised.map(({ actor, changes }) => [actor.account, changes.usd_per_day])).toEqual([
      ['petr', { from: 2, to: 20 }],
      ['olga', { from: null, to: 2 }],
    ]);
    expect((await listChanges(app, desk, 'actor=petr')).map(({ kind }) => kind)).toEqual([
      'credit.added',
      'limits.updated',
    ]);
    expect(await listChanges(app, desk, `to=${began}`)).toHaveLength(1);
  });

  // A token with every scope leaks. 1. Its id is in the token, and leads to its account.
  const leaked = await createToken('ci', ['admin']);
  await call(app, leaked, '/accounts/sales-08/limits', { method: 'PATCH', body: { usd_per_day: 9_000 } });
  const { jti = '' } = decodeJwt(leaked);
  expect(await call<OwnedTokenRow>(app, desk, `/tokens/${jti}`)).toMatchObject({ account: 'ci', scopes: ['admin'] });
  const operators = await call<{ data: OwnedTokenRow[] }>(app, desk, '/tokens?scope=admin&limit=1000');
  expect(operators.data.map(({ account }) => account).sort()).toEqual(['ci', 'desk', 'olga', 'petr']);
  for (const { account, first_seen_at, last_seen_at } of operators.data)
    expect([first_seen_at, last_seen_at], account).toEqual([expect.any(String), expect.any(String)]);
  // 2. An admin revokes it; the desk cannot.
  const path = `/accounts/ci/tokens/${jti}`;
  const refused = await app.fetch(path, { method: 'DELETE', headers: bearerHeader(desk) });
  expect((await readError(refused)).message).toContain('lacks the scope `admin`');
  await call(app, olga, path, { method: 'DELETE' });
  expect((await app.fetch('/accounts', { headers: bearerHeader(leaked) })).status).toBe(401);
  // 3. The list says what it has changed.
  await eventually(async () => {
    const harm = await listChanges(app, desk, 'actor=ci');
    expect(harm.map(({ subject, actor }) => [subject.id, actor.token])).toEqual([['sales-08', jti]]);
  });

  // A customer leaves.
  await eventually(async () => {
    expect(await call(app, petr, '/accounts/sales-08', { method: 'DELETE' })).toMatchObject({ done: true });
  });
  await eventually(async () => {
    const all = await listChanges(app, desk, '');
    expect(all.map(({ kind }) => kind)).toContain('account.erased');
    expect(JSON.stringify(all)).not.toContain('sales-08');
  });
  expect(await call(app, desk, '/accounts/sales-08')).toMatchObject({ erased_at: expect.any(String) });
  expect(await call(app, desk, '/accounts/sales-09')).not.toHaveProperty('erased_at');
});

test('returns 404 for an unknown token, and 400 for a token list filtered by the scope `messages`', async () => {
  const app = createTestApp(() => Response.json(SMALL_MESSAGE), DEPLOYED_VARS);
  const headers = bearerHeader(await createToken('desk', ['admin:read']));
  for (const jti of ['tok_00000000_0123456789abcdef01234567', 'a-provider’s', crypto.randomUUID()])
    expect((await app.fetch(`/tokens/${encodeURIComponent(jti)}`, { headers })).status).toBe(404);
  const response = await app.fetch('/tokens?scope=messages', { headers });
  expect([response.status, (await readError(response)).message]).toEqual([400, expect.stringContaining('scope')]);
});
