import { runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { sha256Hex } from '#edge/kit/http/bytes.ts';
import type { Account } from '#edge/money/account/account.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { bindings, installSimulator } from '#test/support/conversations.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { settleAt } from '../money/account/admission-requests.ts';

const DAY = 86_400_000;
const BOUNDED = { leastOutput: 0, bounded: true, countable: false, isPriced: true, models: [['claude-haiku-5-5']] };
const CREDIT = { id: 'crd_1', key: null, amount: 5, spent: 0, note: null, created_at: 1, expires_at: null };
const TOKEN = {
  jti: 'tok_1',
  label: null,
  scopes: null,
  minted_at: null,
  first_seen_at: 1,
  expires_at: null,
  revoked_at: null,
  limits: null,
  spent: 0,
};
let app: TestApp;
beforeEach(() => {
  installSimulator();
  app = createTestApp(() => Response.json({ input_tokens: 9 }), DEPLOYED_VARS);
});
const admin = async () => bearerHeader(await createToken('root', ['admin']));
const alice = async () => bearerHeader(await createToken('alice', ['messages', 'prefixes']));

async function call(method: string, path: string, body?: unknown, type = 'application/json') {
  const headers = { ...(await admin()), ...(body === undefined ? {} : { 'content-type': type }) };
  const text = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
  return await app.fetch(path, { method, headers, ...text });
}
const put = (path: string, body: unknown) => call('PUT', path, body);
const putLines = (path: string, lines: string) => call('PUT', path, lines, 'application/jsonl');
const read = async (path: string) => (await (await call('GET', path)).json()) as Record<string, unknown>;

async function say(content: string, more: object = {}): Promise<Response> {
  const body = { conversation: 'trip', stream: false, messages: [{ role: 'user', content }], ...more };
  return await app.post('/messages', body, await alice());
}
const FIRST = { model: 'claude-haiku-5-5', max_tokens: 30, system: 'You plan.' };

async function rows(path = '/conversations/trip/messages'): Promise<Record<string, unknown>[]> {
  const response = await app.fetch(path, { headers: await alice() });
  return ((await response.json()) as { data: Record<string, unknown>[] }).data;
}

/** Another deployment: nothing of this one is there. */
async function elsewhere(): Promise<void> {
  await app.waitUntilSettled();
  await resetAll();
  installSimulator();
}

describe('backups of conversations and versions', () => {
  test('a conversation is restored in another deployment and continues there', async () => {
    await (await say('Where to?', FIRST)).text();
    await (await say('And then?')).text();
    await app.fetch('/conversations/trip', {
      method: 'PATCH',
      headers: { 'content-type': 'application/json', ...(await alice()) },
      body: JSON.stringify({ title: 'A trip', metadata: { team: 'travel' } }),
    });
    const before = await rows();
    const told = await (await app.fetch('/conversations/trip', { headers: await alice() })).json();
    await app.waitUntilSettled();
    expect(await read('/accounts/alice/conversations')).toMatchObject({ data: [{ id: 'trip' }] });
    const backup = await (await call('GET', '/accounts/alice/conversations/trip/backup')).text();
    await elsewhere();

    const made = await putLines('/accounts/alice/conversations/trip/backup', backup);
    expect(made.status).toBe(201);
    expect(await rows()).toEqual(before);
    const { updated_at: _, ...same } = told as Record<string, unknown>;
    expect(await made.json()).toMatchObject(same);
    await app.waitUntilSettled();
    // What it has cost is told with it, and nothing of it was spent here.
    const [listed] = await rows('/conversations');
    expect(listed).toMatchObject({ id: 'trip', title: 'A trip', messages: 4, cost_usd: same.cost_usd });
    expect(await read('/usage?account=alice')).toMatchObject({ total: { requests: 0, cost_usd: 0 } });
    expect(await read('/accounts')).toMatchObject({ data: [{ id: 'alice' }] });

    const answered = await say('Thanks');
    expect(answered.status).toBe(200);
    expect(await rows()).toHaveLength(6);
    await app.waitUntilSettled();
    expect(await read('/usage?account=alice')).toMatchObject({ total: { requests: 1 } });
    expect((await putLines('/accounts/alice/conversations/trip/backup', backup)).status).toBe(409);
    expect(await rows()).toHaveLength(6);
  });

  test('a conversation with a prefix is restored only after the version of its prefix is stored', async () => {
    const prefix = { system: 'You are brief.', model: 'claude-haiku-5-5', max_tokens: 20 };
    const store = async () =>
      await app.fetch('/prefixes/brief', {
        method: 'PUT',
        headers: { 'content-type': 'application/json', ...(await alice()) },
        body: JSON.stringify(prefix),
      });
    expect((await store()).status).toBe(200);
    expect((await say('Hi', { prefix: 'brief' })).status).toBe(200);
    await app.waitUntilSettled();
    const backup = await (await call('GET', '/accounts/alice/conversations/trip/backup')).text();
    await elsewhere();
    const refused = await putLines('/accounts/alice/conversations/trip/backup', backup);
    expect(refused.status).toBe(404);
    expect((await readError(refused)).message).toContain('brief@');
    expect((await app.fetch('/conversations/trip', { headers: await alice() })).status).toBe(404);
    await store();
    expect((await putLines('/accounts/alice/conversations/trip/backup', backup)).status).toBe(201);
    expect((await say('More')).status).toBe(200);
  });

  test('a conversation with an old prefix version is restored once the backup of that version is restored', async () => {
    const store = async (system: string) => {
      const headers = { 'content-type': 'application/json', ...(await alice()) };
      const body = JSON.stringify({ system, model: 'claude-haiku-5-5', max_tokens: 20 });
      const response = await app.fetch('/prefixes/brief', { method: 'PUT', headers, body });
      return ((await response.json()) as { version: string }).version;
    };
    const old = await store('You are brief.');
    expect((await say('Hi', { prefix: 'brief' })).status).toBe(200);
    await app.waitUntilSettled();
    await store('You are long.');
    const path = `/versions/prefix/${old}/backup`;
    const lines = await (await call('GET', '/accounts/alice/conversations/trip/backup')).text();
    // It is the account's, not the deployment's.
    expect((await call('GET', path)).status).toBe(404);
    const version: unknown = await (await call('GET', `${path}?account=alice`)).json();
    expect(version).toMatchObject({ account: 'alice', version: old, current: false });
    await elsewhere();
    for (let time = 0; time < 2; time += 1) expect((await call('PUT', path, version)).status).toBe(200);
    // It was not the current one, so no name points to it.
    expect((await app.fetch('/prefixes/brief', { headers: await alice() })).status).toBe(404);
    expect((await putLines('/accounts/alice/conversations/trip/backup', lines)).status).toBe(201);
    expect((await say('More')).status).toBe(200);
    const other = `/versions/classifier/${old}/backup`;
    expect((await call('PUT', other, version)).status).toBe(400);
    expect((await call('PUT', path.replace('prefix', 'model'), version)).status).toBe(404);
  });

  test.each([
    ['prefix', {}, 'content.tools'],
    ['prefix', { tools: [], system: 5, messages: [] }, 'content.system'],
    ['classifier', { labels: [{ description: 'no name' }] }, 'content.labels.0'],
    ['agent', { model: { by: 3 }, max_tokens: 5, system: [], tools: [], limits: {} }, 'content.model'],
    ['agent', { model: 'claude-haiku-5-5', system: [], tools: [], limits: {} }, 'content.max_tokens'],
  ])('the backup of a %s version with invalid content is rejected: %j', async (kind, content, place) => {
    const version = `bad@${(await sha256Hex(new TextEncoder().encode(JSON.stringify(content)))).slice(0, 32)}`;
    const head = { type: 'version_backup', kind, account: null, version, current: true, stored_at: 1 };
    const sent = { ...head, content };
    const refused = await put(`/versions/${kind}/${version}/backup`, sent);
    expect(refused.status).toBe(400);
    expect((await readError(refused)).message).toContain(`${place}: `);
    expect((await call('GET', `/versions/${kind}/${version}/backup`)).status).toBe(404);
  });

  test('a conversation whose request contains line breaks is copied, exported and restored unchanged', async () => {
    const forged = '["profile",{"title":"forged","cost":7}]';
    const schema = `{"type":"object","properties":{"a":{"enum":\n${forged}\n}}}`;
    const body = `{"conversation":"trip","stream":false,"model":"claude-haiku-5-5","max_tokens":30,\r\n"tools":[{"name":"a","input_schema":${schema}}],
      "messages":[{"role":"user",\n"content":[\n{"type":"text","text":"Hi\u2029"}\r\n]}]}`;
    const headers = { 'content-type': 'application/json', ...(await alice()) };
    expect((await app.fetch('/messages', { method: 'POST', headers, body })).status).toBe(200);
    await app.waitUntilSettled();
    const before = await rows();
    expect((await app.post('/conversations/trip/fork', { id: 'copy' }, await alice())).status).toBe(201);
    const lines = await (await app.fetch('/conversations/trip/export', { headers: await alice() })).text();
    const types = lines
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { type: string }).type);
    expect(types).toEqual(['conversation', 'message', 'message', 'end']);
    const said = before.map(({ content }) => ({ content }));
    expect(await rows('/conversations/copy/messages')).toMatchObject(said);
    expect((await rows('/conversations')).map(({ title }) => title)).toEqual([null, null]);
    await app.waitUntilSettled();
    const backup = await (await call('GET', '/accounts/alice/conversations/trip/backup')).text();
    await elsewhere();
    expect((await putLines('/accounts/alice/conversations/trip/backup', backup)).status).toBe(201);
    expect(await rows()).toEqual(before);
    expect((await say('More')).status).toBe(200);
  });

  test('a backup that arrives byte by byte is restored', async () => {
    await (await say('Where to?', FIRST)).text();
    await app.waitUntilSettled();
    const backup = await (await call('GET', '/accounts/alice/conversations/trip/backup')).text();
    await elsewhere();
    const bytes = new TextEncoder().encode(backup.replace('You plan.', `You plän.${' '.repeat(20_000)}`));
    let at = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at < bytes.length) controller.enqueue(bytes.slice(at, ++at));
        else controller.close();
      },
    });
    const headers = { ...(await admin()), 'content-type': 'application/jsonl' };
    const path = '/accounts/alice/conversations/trip/backup';
    expect((await app.fetch(path, { method: 'PUT', headers, body })).status).toBe(201);
    expect(await (await call('GET', path)).text()).toContain('plän');
  });

  test('a backup with an unknown line, or an unknown field in its profile, is rejected', async () => {
    await (await say('Where to?', FIRST)).text();
    await app.waitUntilSettled();
    const path = '/accounts/alice/conversations/trip/backup';
    const backup = await (await call('GET', path)).text();
    await elsewhere();
    const refused = async (lines: string) => {
      const answer = await putLines(path, lines);
      return [answer.status, await answer.text()];
    };
    const line = backup.replace('["turn"', '["votes",{"of":"two"}]\n["turn"');
    expect(await refused(line)).toEqual([400, expect.stringMatching(/line \d+: not a line of/)]);
    for (const member of ['"mood":{"of":"calm"}', '"id":"other"', '"exists":false', '"nextTurn":1']) {
      const profile = backup.replace('["profile",{', `["profile",{${member},`);
      expect(await refused(profile), member).toEqual([400, expect.stringContaining(member.split('"')[1] ?? '')]);
    }
    expect((await putLines(path, backup)).status).toBe(201);
  });

  test('a backup whose line kind is written with escapes is rejected', async () => {
    await (await say('Where to?', FIRST)).text();
    await app.waitUntilSettled();
    const path = '/accounts/alice/conversations/trip/backup';
    const backup = await (await call('GET', path)).text();
    await elsewhere();
    for (const kind of ['turn', 'message']) {
      const escaped = kind.replace(/^./, (first) => `\\u00${first.charCodeAt(0).toString(16)}`);
      const answer = await putLines(path, backup.replace(`["${kind}"`, `["${escaped}"`));
      expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining('not a line of')]);
    }
    expect((await putLines(path, backup.replace('["turn"', '[ "turn"'))).status).toBe(201);
  });

  test('an invalid backup restores no part of the conversation', async () => {
    await (await say('Where to?', FIRST)).text();
    await app.waitUntilSettled();
    const backup = await (await call('GET', '/accounts/alice/conversations/trip/backup')).text();
    const lines = backup.trimEnd().split('\n');
    const at = fc.nat(lines.length - 1);
    const wrong = fc.oneof(
      // Cut at any byte but the last one, a line left out, twice, or another in its place, and a member changed.
      fc.nat(backup.length - 3).map((end) => backup.slice(0, end)),
      fc
        .tuple(
          at,
          fc.constantFrom(
            '',
            '{}',
            '["end"]',
            '["turn",{}]',
            '["message",{},{}]',
            '["profile",1]',
            '[',
            '["damaged",""]',
          ),
        )
        .map(([index, line]) => lines.with(index, line).join('\n')),
      at.map((index) => [...lines.slice(0, index + 1), ...lines.slice(index)].join('\n')),
      fc.constantFrom(
        backup.replaceAll(/"seq":\d+/g, '"seq":-1'),
        backup.replaceAll('"role":"user"', '"role":7'),
        backup.replace('"notes":null', '"notes":"https://elsewhere.test/"'),
        backup.replace('"notes":', '"grant":null,"notes":'),
        backup.replace('"retentionSeconds":null', '"retentionSeconds":9007199254740991'),
        backup.replaceAll(/"createdAt":\d+/g, '"createdAt":9007199254740991'),
        backup.replace('"status":"complete"', '"status":"running"'),
        `["votes",1]\n${backup}`,
        backup.replace('["end"', '["changed"'),
      ),
    );
    let number = 0;
    await tryAsyncCases(60, wrong, async (text) => {
      number += 1;
      const path = `/accounts/alice/conversations/w${number}`;
      const response = await putLines(`${path}/backup`, text);
      expect({ text, status: response.status }).toEqual({ text, status: 400 });
      expect((await call('GET', `${path}/backup`)).status).toBe(404);
    });
    expect((await putLines('/accounts/alice/conversations/w1/backup', backup)).status).toBe(201);
  });

  test('only an admin can back up or restore conversations and accounts', async () => {
    await (await say('Hi', FIRST)).text();
    for (const [method, path] of [
      ['GET', '/accounts/alice/conversations'],
      ['GET', '/accounts/alice/conversations/trip/backup'],
      ['PUT', '/accounts/alice/conversations/other/backup'],
      ['GET', '/accounts/alice/backup'],
      ['PUT', '/accounts/alice/backup'],
    ] as const) {
      const response = await app.fetch(path, { method, headers: await alice() });
      expect(response.status, path).toBe(403);
    }
    expect((await call('PUT', '/accounts/alice/conversations/other/backup', '{}')).status).toBe(415);
    expect((await call('GET', '/accounts/alice/conversations/none/backup')).status).toBe(404);
  });
});

describe('the backup of an account', () => {
  const spent = async (day: number, cost: number, id: string) =>
    await settleAt(getAccountStub(bindings, {}, 'alice'), {
      requestId: id,
      status: 'complete',
      cost,
      startedAt: Date.now() - day * DAY,
      tokens: { input: 5 },
      admittedFields: { route: 'messages', model: 'claude-haiku-5-5' },
    });

  test('restores limits, group, credit, revocations and usage, and changes nothing if repeated', async () => {
    await put('/accounts/alice/limits', { usd_total: 2, requests_per_minute: 60 });
    await put('/groups/red/accounts/alice', {});
    await call('POST', '/accounts/alice/credit', { usd: 7, note: 'Invoice' });
    await call('POST', '/accounts/alice/credit', { usd: -4, note: 'Refund' });
    const minted = (await (
      await call('POST', '/tokens', { account: 'alice', scopes: ['messages'], limits: { usd_total: 1 } })
    ).json()) as { token: string; jti: string };
    await call('DELETE', `/accounts/alice/tokens/${minted.jti}`);
    await spent(40, 250_000_000, 'req_1');
    await spent(39, 500_000_000, 'req_2');
    await app.waitUntilSettled();
    const before = await read('/accounts/alice');
    const credit = await read('/accounts/alice/credit');
    const days = await read('/usage?account=alice&group_by=day');
    const backup = await read('/accounts/alice/backup');
    expect(JSON.stringify(backup)).not.toContain(minted.token);
    await elsewhere();

    expect((await put('/accounts/alice/backup', backup)).status).toBe(200);
    await app.waitUntilSettled();
    const after = await read('/accounts/alice');
    for (const name of ['own_limits', 'total', 'day', 'week', 'requests'] as const) {
      const { resets_at: _, ...was } = before[name] as Record<string, unknown>;
      expect(after[name], name).toMatchObject(was);
    }
    expect(after.total).toMatchObject({ settled_usd: 0.75, credit_usd: 3 });
    expect(after.day).toMatchObject({ settled_usd: 0 });
    expect(await read('/accounts/alice/credit')).toEqual(credit);
    expect(await read('/usage?account=alice&group_by=day')).toEqual(days);
    const models = await read('/usage?account=alice&group_by=model');
    expect(models.data).toMatchObject([{ key: '(imported)', requests: 2, cost_usd: 0.75 }]);
    expect((await app.post('/messages', {}, bearerHeader(minted.token))).status).toBe(401);
    expect(await read('/accounts/alice/backup')).toMatchObject({ group: 'red', limits: before.own_limits });
    expect(await read('/accounts')).toMatchObject({ data: [{ id: 'alice' }] });

    // The same once more changes nothing, and another one is refused.
    expect((await put('/accounts/alice/backup', backup)).status).toBe(200);
    expect((await read('/accounts/alice')).total).toEqual(after.total);
    expect((await put('/accounts/alice/backup', { ...backup, group: 'blue' })).status).toBe(409);
  });

  test('restores the spending of today, so that the daily limit still applies', async () => {
    await put('/accounts/alice/limits', { usd_per_day: 1 });
    await spent(0, 1_000_000_000, 'req_1');
    await app.waitUntilSettled();
    const backup = await read('/accounts/alice/backup');
    await elsewhere();

    expect((await put('/accounts/alice/backup', backup)).status).toBe(200);
    for (const window of ['day', 'week', 'month', 'total'])
      expect((await read('/accounts/alice'))[window], window).toMatchObject({ settled_usd: 1 });
    const refused = await say('Where to?', FIRST);
    expect(refused.status).toBe(429);
    expect(await readError(refused)).toMatchObject({ type: 'billing_error' });
  });

  test('is rejected if the account was used, changed or erased in this deployment', async () => {
    const empty = await read('/accounts/alice/backup');
    for (const use of [
      () => spent(0, 5, 'req_3'),
      () => put('/accounts/alice/limits', { usd_per_day: 1 }),
      () => call('POST', '/accounts/alice/credit', { usd: 3 }),
      () => put('/groups/red/accounts/alice', {}),
      () => call('DELETE', '/accounts/alice'),
    ]) {
      await use();
      expect((await put('/accounts/alice/backup', empty)).status).toBe(409);
      await elsewhere();
    }
  });

  test('prevents the admission of a request that waited for the group’s budget during the restore', async () => {
    const backup = {
      ...(await read('/accounts/alice/backup')),
      limits: { usd_total: 1 },
      days: [{ ...sums(1), cost: 1e9 }],
    };
    await put('/groups/red/limits', { usd_per_day: 5 });
    const asks = (requestId: string) =>
      JSON.stringify({
        requestId,
        route: 'messages',
        model: 'claude-haiku-5-5',
        maximumCost: { inputTokens: 5, inputCost: 500, outputTokens: 5, outputPrice: 100, ...BOUNDED },
        pools: { deployment: false, group: 'red' },
      });
    const outcomes = await runInDurableObject(getAccountStub(bindings, {}, 'alice'), async (account: Account) => {
      const waits = account.admitJson(asks('req_w'));
      const isRestored = account.restoreJson(JSON.stringify(backup), 'digest', false);
      const decisions = [await waits, await account.admitJson(asks('req_x'))];
      return [isRestored, ...decisions.map((text) => (JSON.parse(text) as { outcome: string }).outcome)];
    });
    expect(outcomes).toEqual(['restored', 'unreachable', 'refused']);
  });

  test('keeps the revocations of this deployment that it does not contain', async () => {
    const { token, jti } = (await (
      await call('POST', '/tokens', { account: 'alice', scopes: ['messages'] })
    ).json()) as { token: string; jti: string };
    const backup = await read('/accounts/alice/backup');
    await elsewhere();
    await call('DELETE', `/accounts/alice/tokens/${jti}`);
    expect((await put('/accounts/alice/backup', backup)).status).toBe(200);
    expect((await app.post('/messages', {}, bearerHeader(token))).status).toBe(401);

    await elsewhere();
    await call('DELETE', '/accounts/alice/tokens');
    const { revoked_before } = await read('/accounts/alice/backup');
    expect((await put('/accounts/alice/backup', { ...backup, revoked_before: 5, tokens: [] })).status).toBe(200);
    expect(await read('/accounts/alice/backup')).toMatchObject({ revoked_before });
    expect((await app.post('/messages', {}, bearerHeader(token))).status).toBe(401);
  });

  test.each([
    ['of another account', { id: 'bob' }, 'bob'],
    ['of a day to come', { days: [{ ...sums(1e6), day: 1e6 }] }, 'days.0.day'],
    ['with a sum below nothing', { days: [{ ...sums(1), requests: -1 }] }, 'days.0.requests'],
    ['with a cost below nothing', { days: [{ ...sums(1), cost: -1 }] }, 'days.0.cost'],
    ['with half a nanodollar of credit', { credits: [{ ...CREDIT, amount: 0.5 }] }, 'credits.0.amount'],
    ['with a token whose id is too long', { tokens: [{ ...TOKEN, jti: 'x'.repeat(257) }] }, 'tokens.0.jti'],
    ['with credit of which less than nothing is spent', { credits: [{ ...CREDIT, spent: -1 }] }, 'credits.0.spent'],
    ['with a group that has no name', { group: '' }, 'group'],
    ['with a limit that is none', { limits: { usd_per_year: 1 } }, 'usd_per_year'],
  ])('a backup %s is rejected', async (_, change, named) => {
    const backup = { ...(await read('/accounts/alice/backup')), ...change };
    const response = await put('/accounts/alice/backup', backup);
    expect(response.status).toBe(400);
    expect((await readError(response)).message).toContain(named);
  });
});

function sums(day: number) {
  const tokens = { input_tokens: 0, output_tokens: 0, cache_read_tokens: 0, cache_write_5m_tokens: 0 };
  return {
    day,
    requests: 1,
    cost: 1,
    ...tokens,
    cache_write_1h_tokens: 0,
    thinking_tokens: 0,
    web_searches: 0,
    saved: 0,
  };
}
