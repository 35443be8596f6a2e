import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, test, vi } from 'vitest';
import { DEPLOYMENT } from '#edge/auth/identity/identity.ts';
import { getRequiredScopes } from '#edge/auth/route.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import type { ChangeInTransit } from '#edge/money/changes/change-outbox.ts';
import { compareFields } from '#edge/money/changes/change-outbox.ts';
import type { ChangeRow } from '#edge/money/changes/changes-answers.schema.ts';
import { RESOURCES } from '#edge/openapi.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { eventually } from '#test/support/eventually.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { createEvent, getInbox, getTestAccount, WEBHOOK_SECRET } from '#test/support/webhooks.ts';

const DAY = 86_400_000;

/** Runs the alarm of an account's object. */
const ring = (account: string) => runDurableObjectAlarm(getAccountStub(env as unknown as Bindings, {}, account));

function createEdge(): TestApp {
  return createTestApp(() => Response.json({ input_tokens: 1 }), {
    ...DEPLOYED_VARS,
    ...createWebhookVars('github'),
    GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET,
    DEPLOYMENT_LIMITS: '{}',
  });
}

async function send(app: TestApp, headers: Record<string, string>, name: string, body?: unknown): Promise<Response> {
  const [method = '', path = ''] = name.split(' ');
  const json = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await app.fetch(path, {
    method,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...json,
  });
  expect(response.status, `${name}: ${await response.clone().text()}`).toBeLessThan(300);
  return response;
}

async function listChanges(app: TestApp, headers: Record<string, string>, query = ''): Promise<ChangeRow[]> {
  const response = await app.fetch(`/changes?limit=1000${query}`, { headers });
  return ((await response.json()) as { data: ChangeRow[] }).data;
}

const createChange = (id: string, at: number, more: Partial<ChangeInTransit> = {}): ChangeInTransit => ({
  id,
  at,
  kind: 'limits.updated',
  subject: { type: 'account', id: 'alice' },
  changes: { usd_per_day: { from: 1, to: 2 } },
  by: { account: 'olga', token: 'tok_1', request_id: 'req_1' },
  ...more,
});

describe('each admin route that changes something', () => {
  const AGENT = { model: 'claude-haiku-4-5', max_tokens: 10, system: 'The private prompt.' };
  /** The calls, in their order, with the kind and the subject of the changes that each records. */
  const CALLS: readonly (readonly [name: string, body: unknown, ...changes: string[]])[] = [
    ['PUT /accounts/alice/limits', { usd_per_day: 2 }, 'limits.updated account alice'],
    ['PATCH /accounts/alice/limits', { usd_per_day: 20 }, 'limits.updated account alice'],
    ['PATCH /accounts/alice/limits', { usd_per_day: 20 }],
    ['POST /accounts/alice/credit', { usd: 5, note: 'A private note.' }, 'credit.added account alice'],
    ['PUT /groups/sales/limits', { usd_per_day: 50 }, 'limits.updated group sales'],
    ['PATCH /groups/sales/limits', { usd_per_day: 60 }, 'limits.updated group sales'],
    ['PUT /groups/sales/accounts/alice', undefined, 'group.member_added account alice'],
    [
      'PUT /groups/other/accounts/alice',
      undefined,
      'group.member_removed account alice',
      'group.member_added account alice',
    ],
    ['DELETE /groups/other/accounts/alice', undefined, 'group.member_removed account alice'],
    ['DELETE /groups/sales', undefined, 'limits.updated group sales'],
    ['PUT /pools/deployment/limits', { usd_per_day: 100 }, 'limits.updated deployment deployment'],
    ['PATCH /pools/deployment/limits', { usd_per_day: 200 }, 'limits.updated deployment deployment'],
    ['POST /tokens', { account: 'alice', scopes: ['messages'] }],
    ['POST /tokens', { account: 'desk', scopes: ['admin:read'] }, 'token.minted token'],
    ['DELETE /accounts/alice/tokens/one', undefined, 'token.revoked token one'],
    ['DELETE /accounts/alice/tokens/one', undefined],
    ['DELETE /accounts/alice/tokens', undefined, 'token.revoked account alice'],
    ['PUT /agents/support', AGENT, 'agent.stored agent support'],
    ['PUT /agents/support', { ...AGENT, max_tokens: 11 }, 'agent.stored agent support'],
    ['PUT /agents/support', { ...AGENT, max_tokens: 11 }],
    ['DELETE /agents/support', undefined, 'agent.deleted agent support'],
    ['PUT /prefixes/house', { system: 'The private text.' }, 'prefix.stored prefix house'],
    ['DELETE /prefixes/house', undefined, 'prefix.deleted prefix house'],
    ['PUT /classifiers/mood', { labels: ['a', 'b'] }, 'classifier.stored classifier mood'],
    ['DELETE /classifiers/mood', undefined, 'classifier.deleted classifier mood'],
    ['POST /webhooks/github/events/github_1/replay', undefined, 'event.replayed event github_1'],
    ['PUT /accounts/bob/erasure', { erased_at: '2026-01-01T00:00:00Z' }, 'account.erased account'],
    ['DELETE /accounts/carol', undefined, 'account.erased account'],
  ];

  test('records what was changed, by whom and by which request, without prompts or notes', async () => {
    const app = createEdge();
    const { token, jti } = { token: await createToken('olga', ['admin']), jti: undefined };
    const olga = bearerHeader(token);
    const lines: Record<string, unknown>[] = [];
    const written = vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(JSON.parse(line)));
    await getInbox('github').acceptEvent(createEvent('github_1'));
    const expected: string[] = [];
    for (const [name, body, ...changes] of CALLS) {
      const response = await send(app, olga, name, body);
      const id = response.headers.get('sluice-request-id');
      expected.push(...changes.map((change) => `${id} ${change}`));
      await app.waitUntilSettled();
      if (changes.length > 0) {
        const line = lines.find(({ request_id }) => request_id === id);
        expect(line?.subject, name).toMatchObject({ type: changes.at(-1)?.split(' ')[1] });
        expect(line?.changed, name).toBeDefined();
      }
    }
    written.mockRestore();
    await eventually(async () => {
      const rows = await listChanges(app, olga);
      const told = rows.map(({ request_id, kind, subject: { type, id } }) => {
        return [request_id, kind, type, ...(id === null || kind === 'token.minted' ? [] : [id])].join(' ');
      });
      expect(told.sort()).toEqual([...expected].sort());
      for (const { actor } of rows) expect(actor).toEqual({ account: 'olga', token: jti ?? expect.any(String) });
      expect(JSON.stringify(rows)).not.toMatch(/private|carol|bob/);
    });
    const [raised] = (await listChanges(app, olga, '&account=alice&kind=limits.updated')).filter(
      ({ changes }) => changes.usd_per_day?.to === 20,
    );
    expect(raised).toMatchObject({
      type: 'change',
      subject: { type: 'account', id: 'alice' },
      changes: { usd_per_day: { from: 2, to: 20 } },
    });
    expect((await listChanges(app, olga, '&group=other')).map(({ kind }) => kind)).toEqual([
      'group.member_removed',
      'group.member_added',
    ]);
    expect(await listChanges(app, olga, '&actor=nobody')).toEqual([]);
    expect(await listChanges(app, olga, `&to=${new Date(Date.now() - DAY).toISOString().slice(0, 10)}`)).toEqual([]);
  });

  test('is in the list of tested calls, restores a backup, or is open to accounts as well', () => {
    const called = new Set(
      CALLS.map(([name]) =>
        name
          .split(' ')
          .map((part) => part.split('/').slice(0, 2).join('/'))
          .join(' '),
      ),
    );
    const others = RESOURCES.flatMap(({ routes }) => Object.entries(routes)).flatMap(([name, { needs }]) => {
      const isAdmin = getRequiredScopes(needs).includes('admin') && !name.startsWith('GET ');
      const [method, path = ''] = name.split(' ');
      return isAdmin && !called.has(`${method} ${path.split('/').slice(0, 2).join('/')}`) ? [name] : [];
    });
    expect(others).toEqual(['PUT /versions/:kind/:version/backup']);
  });
});

test('the list of changes omits a prefix that an account stores for itself', async () => {
  const app = createEdge();
  await send(app, bearerHeader(await createToken('alice', ['prefixes'])), 'PUT /prefixes/mine', { system: 'Mine.' });
  await app.waitUntilSettled();
  expect(await listChanges(app, bearerHeader(await createToken('desk', ['admin:read'])))).toEqual([]);
});

test('lists a change once, however often it arrives', async () => {
  const list = getTestAccount(DEPLOYMENT);
  for (let sent = 0; sent < 2; sent += 1) await list.recordChanges(JSON.stringify([createChange('chg_1', Date.now())]));
  expect((await list.listChanges({})).data).toHaveLength(1);
});

test('removes an erased account’s name from its changes, and from those that arrive late', async () => {
  const list = getTestAccount(DEPLOYMENT);
  const now = Date.now();
  const byAlice = { account: 'alice', token: 'tok_2', request_id: 'req_2' };
  const ofToken = { kind: 'token.revoked', subject: { type: 'token', id: 'tok_3', account: 'alice' } } as const;
  const changes = [
    createChange('chg_1', now - 5),
    createChange('chg_2', now - 4, { subject: { type: 'account', id: 'bob' }, by: byAlice }),
    createChange('chg_3', now - 3, ofToken),
  ];
  await list.recordChanges(JSON.stringify(changes));
  await list.eraseChangeNames('alice', now);
  await list.recordChanges(JSON.stringify(changes.map(({ id, ...change }) => ({ ...change, id: `${id}_late` }))));
  const rows = (await list.listChanges({})).data;
  expect(rows).toHaveLength(6);
  expect(JSON.stringify(rows)).not.toMatch(/alice|tok_2|tok_3/);
  expect(rows.map(({ subject }) => subject)).toContainEqual({ type: 'token', id: null, account: null });
  // The account may be used again.
  await list.recordChanges(JSON.stringify([createChange('chg_4', now + 1)]));
  expect((await list.listChanges({ account: 'alice' })).data).toHaveLength(1);
});

test('erasing an account removes its name from the changes that it has made', async () => {
  const app = createEdge();
  const [olga, root] = [await createToken('olga', ['admin']), await createToken('root', ['admin'])].map(bearerHeader);
  await send(app, olga ?? {}, 'PUT /accounts/alice/limits', { usd_per_day: 2 });
  await eventually(async () => expect(await listChanges(app, root ?? {}, '&actor=olga')).toHaveLength(1));
  await eventually(async () => {
    const { done } = (await (await send(app, root ?? {}, 'DELETE /accounts/olga')).json()) as { done: boolean };
    await ring('olga');
    expect(done).toBe(true);
  });
  const rows = await listChanges(app, root ?? {});
  expect(rows.map(({ actor }) => actor.account)).toEqual(['root', null]);
  expect(JSON.stringify(rows)).not.toContain('olga');
});

test('deletes changes after 90 days', async () => {
  const list = getTestAccount(DEPLOYMENT);
  await list.recordChanges(
    JSON.stringify([createChange('chg_1', Date.now() - 91 * DAY), createChange('chg_2', Date.now())]),
  );
  await ring(DEPLOYMENT);
  expect((await list.listChanges({})).data.map(({ id }) => id)).toEqual(['chg_2']);
});

test('keeps only the last 100,000 changes', async () => {
  const list = getTestAccount(DEPLOYMENT);
  const now = Date.now();
  await list.recordChanges(JSON.stringify([createChange('chg_oldest', now - DAY)]));
  const stub = getAccountStub(env as unknown as Bindings, {}, DEPLOYMENT);
  const countRows = () =>
    runInDurableObject(stub, (_, { storage }) =>
      Number(storage.sql.exec('select count(*) as count from changes').one().count),
    );
  await runInDurableObject(stub, (_, { storage }) => {
    storage.sql.exec(
      `with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 99999)
       insert into changes (id, at, request_id, kind, subject, changes)
       select 'chg_' || n, ?1 + n, 'req_1', 'limits.updated', '{"type":"account","id":"alice"}', '{}' from numbers`,
      now - DAY,
    );
  });
  expect(await countRows()).toBe(100_000);
  await list.recordChanges(JSON.stringify([createChange('chg_new', now), createChange('chg_newest', now + 1)]));
  expect(await countRows()).toBe(100_000);
  expect((await list.listChanges({ limit: 2 })).data.map(({ id }) => id)).toEqual(['chg_newest', 'chg_new']);
  expect((await list.listChanges({ to: now - DAY + 3 })).data.map(({ id }) => id)).toEqual(['chg_2']);
});

test('compares fields by value', () => {
  const before = { a: 1, models: ['x'], gone: true, same: { b: 1, c: 2 } };
  const after = { a: 2, models: ['x'], added: 0, same: { c: 2, b: 1 } };
  expect(compareFields(before, after)).toEqual({
    a: { from: 1, to: 2 },
    gone: { from: true, to: null },
    added: { from: null, to: 0 },
  });
  expect(compareFields(null, null)).toEqual({});
});
