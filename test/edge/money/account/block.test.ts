import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createBody as createByteStream, readError, type TestApp } from '#test/support/app.ts';
import { bindings, fetchTurn, installSimulator, listMessages } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { resetAll } from '#test/support/reset.ts';
import { answerByScript } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { createBody, sendTurn } from '#test/support/turns.ts';
import { messageStart, sseResponse, textBlock } from '#test/support/wire.ts';
import { smallEdge } from './small-edge.ts';
import { ASK } from './small-request.ts';

const BLOCK = { reason: 'Scraping, ticket 812', message: 'This account is blocked. Write to support@example.com.' };
const admin = async () => bearerHeader(await createToken('root', ['admin']));
const alice = async () => bearerHeader(await createToken('alice', ['messages', 'classify', 'prefixes']));

async function call(app: TestApp, name: string, body?: unknown): Promise<Response> {
  const [method = '', path = ''] = name.split(' ');
  const json = body === undefined ? {} : { body: JSON.stringify(body) };
  return await app.fetch(path, {
    method,
    headers: { 'content-type': 'application/json', ...(await admin()) },
    ...json,
  });
}

const block = (app: TestApp) => call(app, 'PUT /accounts/alice/block', BLOCK);

test('rejects every request of a blocked account with the message, also after a restart, until the block ends', async () => {
  const app = smallEdge();
  const ask = async () => await app.post('/v1/messages', ASK, await alice());
  expect((await ask()).status).toBe(200);
  const blocked = await block(app);
  expect([blocked.status, await blocked.json()]).toMatchObject([200, { blocked_by: 'blocked', block: BLOCK }]);
  await abortAllDurableObjects();
  const requests = [
    ask,
    async () => await app.post('/count-tokens', ASK, await alice()),
    async () => await app.post('/conversations', { id: 'c1' }, await alice()),
    async () => await app.fetch('/conversations', { headers: await alice() }),
    async () => await app.fetch('/accounts/alice', { headers: await alice() }),
  ];
  for (const request of requests) {
    const response = await request();
    expect(response.headers.get('x-should-retry')).toBe('false');
    expect([response.status, await readError(response)]).toMatchObject([
      403,
      { type: 'permission_error', message: BLOCK.message },
    ]);
  }
  expect((await app.post('/v1/messages', ASK, bearerHeader(await createToken('bob')))).status).toBe(200);
  const free = await call(app, 'DELETE /accounts/alice/block');
  expect([free.status, await free.json()]).toMatchObject([200, { blocked_by: null, block: null }]);
  expect((await call(app, 'DELETE /accounts/alice/block')).status).toBe(200);
  expect((await ask()).status).toBe(200);
});

test('lists a blocked account as blocked, and both changes with the reason', async () => {
  const app = smallEdge({ DEPLOYMENT_LIMITS: '{}' });
  expect((await app.post('/v1/messages', ASK, await alice())).status).toBe(200);
  await block(app);
  await eventually(async () => {
    const { data } = (await (await call(app, 'GET /accounts?sort=spent')).json()) as { data: object[] };
    expect(data).toMatchObject([{ id: 'alice', blocked_by: 'blocked' }]);
  });
  await call(app, 'DELETE /accounts/alice/block');
  await eventually(async () => {
    const { data } = (await (await call(app, 'GET /changes')).json()) as { data: object[] };
    expect(data).toMatchObject([
      { kind: 'account.unblocked', changes: { reason: { from: BLOCK.reason, to: null } } },
      { kind: 'account.blocked', subject: { id: 'alice' }, changes: { reason: { from: null, to: BLOCK.reason } } },
    ]);
  });
});

test('rejects a block of the account of the token that sends it, and a block without a message', async () => {
  const app = smallEdge();
  expect((await call(app, 'PUT /accounts/root/block', BLOCK)).status).toBe(400);
  const refused = await call(app, 'PUT /accounts/alice/block', { reason: BLOCK.reason });
  expect([refused.status, (await readError(refused)).message]).toEqual([400, expect.stringContaining('message')]);
  expect((await app.post('/v1/messages', ASK, await alice())).status).toBe(200);
});

test('restores the block of a backup, and keeps a block that the backup does not have', async () => {
  const app = smallEdge();
  const free: unknown = await (await call(app, 'GET /accounts/alice/backup')).json();
  await block(app);
  const backup: unknown = await (await call(app, 'GET /accounts/alice/backup')).json();
  expect(backup).toMatchObject({ block: BLOCK });
  await app.waitUntilSettled();
  await resetAll();
  expect((await call(app, 'PUT /accounts/alice/backup', backup)).status).toBe(200);
  expect((await app.post('/v1/messages', ASK, await alice())).status).toBe(403);
  expect((await call(app, 'PUT /accounts/alice/backup?mode=merge', free)).status).toBe(200);
  expect((await app.post('/v1/messages', ASK, await alice())).status).toBe(403);
});

test('stops a running turn when its account is blocked, and keeps the partial response', async () => {
  installSimulator();
  answerByScript(() => sseResponse(createByteStream([messageStart() + textBlock(['Once upon'])], 'silence')));
  const answer = await sendTurn(createBody('Tell me.'));
  if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
  const account = getAccountStub(bindings, {}, 'alice');
  const listening = new Response(answer.body).text();
  await account.setBlock(BLOCK);
  expect(await listening).toContain(': sluice-stopped\n');
  expect(await fetchTurn(answer.turn)).toMatchObject({ status: 'stopped' });
  expect((await listMessages()).at(-1)).toMatchObject({ content: [{ type: 'text', text: 'Once upon' }] });
  await eventually(async () => expect((await account.getQuotaReport()).running_requests).toBe(0));
});
