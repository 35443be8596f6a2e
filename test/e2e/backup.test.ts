import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { codeBlocksOf, readGuide, sectionOf } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { openSharedEdge } from '#test/support/shared-start.ts';
import { runNpmStart, type StartedProduct } from '#test/support/start.ts';

const account = `mover-${randomUUID()}`;

let here: string;
let there: StartedProduct;

const shared = openSharedEdge();
beforeAll(async () => {
  here = await shared();
  there = await runNpmStart(['--var', 'SIMULATOR_TTFT_MS:0', '--var', 'SIMULATOR_TOKENS_PER_SECOND:0']);
});
afterAll(async () => await there?.stop());

/** Asks one of the two edges: as the developer, or with a token. */
async function call(edge: string, method: string, path: string, body?: unknown, token?: string): Promise<Response> {
  const send = () =>
    fetch(edge + path, {
      method,
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const response = await send();
  // A local runtime closes connections that rested, at times just when one is used: `npm start` says then to try again.
  return response.status === 503 ? await send() : response;
}

async function json<T>(response: Response): Promise<T> {
  expect(response.status, response.url).toBeLessThan(300);
  return (await response.json()) as T;
}

const mint = async (edge: string) =>
  (await json<{ token: string }>(await call(edge, 'POST', '/tokens', { account, scopes: ['messages'] }))).token;

function npm(script: string, edge: string, args: string[], input = ''): Promise<{ stdout: string; stderr: string }> {
  const running = promisify(execFile)('npm', ['run', '--silent', script, ...args], {
    cwd: root,
    maxBuffer: 64_000_000,
    env: { ...process.env, SLUICE_URL: edge },
  });
  running.child.stdin?.end(input);
  return running;
}

test('a fresh deployment restores an account with its conversations, and continues them', async () => {
  const token = await mint(here);
  await json(await call(here, 'PUT', `/accounts/${account}/limits`, { usd_per_month: 7 }));
  const rolls = { name: 'edge_dice', run: 'worker' };
  const asked = { model: 'claude-haiku-5-5', max_tokens: 2_048, stream: false };
  const say = (edge: string, conversation: string, content: string, by: string, more: object = {}) =>
    call(edge, 'POST', '/messages', { ...asked, conversation, messages: [{ role: 'user', content }], ...more }, by);
  await json(await say(here, 'talk', 'Where\u2028{to}\u2029?', token));
  // A run: its calls and their results are rows of their own.
  await json(await say(here, 'dice', 'Roll the dice', token, { tools: [rolls] }));
  const rowsOf = async (edge: string, id: string, by: string) =>
    (await json<{ data: object[] }>(await call(edge, 'GET', `/conversations/${id}/messages`, undefined, by))).data;
  const before = { talk: await rowsOf(here, 'talk', token), dice: await rowsOf(here, 'dice', token) };
  expect(before.dice.length).toBeGreaterThanOrEqual(4);
  const turn = (before.dice[0] as { turn: string }).turn;
  const did = await json(await call(here, 'GET', `/conversations/dice/turns/${turn}`, undefined, token));

  const backup = await npm('backup', here, ['--', '--account', account]);
  expect(backup.stderr).toContain('versions: 0\naccounts: 1\nconversations: 2\n');
  // What an incomplete backup contains is restored, and the last line is missed.
  const [cut] = backup.stdout.split('{"type":"conversation_backup"');
  await expect(npm('restore', there.url, [], cut)).rejects.toMatchObject({
    stderr: expect.stringMatching(/its last line is missing/),
  });
  const restored = await npm('restore', there.url, [], backup.stdout);
  expect(restored.stdout).toBe('groups: 0\nerasures: 0\nversions: 0\naccounts: 1\nconversations: 2\n');

  const other = await mint(there.url);
  for (const id of ['talk', 'dice'] as const) expect(await rowsOf(there.url, id, other)).toEqual(before[id]);
  expect(await json(await call(there.url, 'GET', `/conversations/dice/turns/${turn}`, undefined, other))).toEqual(did);
  expect(await json(await call(there.url, 'GET', `/accounts/${account}`))).toMatchObject({
    own_limits: { usd_per_month: 7 },
  });
  const models = await json<{ data: { key: string }[] }>(
    await call(there.url, 'GET', `/usage?account=${account}&group_by=model`),
  );
  expect(models.data.map(({ key }) => key)).toEqual(['(imported)']);
  expect(await json(await call(there.url, 'GET', `/usage/requests?account=${account}`))).toMatchObject({ data: [] });

  await json(await say(there.url, 'talk', 'And then?', other));
  await json(await say(there.url, 'dice', 'Once more', other));
  // It may be begun again: what is there stays as it is.
  const again = await npm('restore', there.url, [], backup.stdout);
  const named = `the conversation talk of ${account}, the conversation dice of ${account}`;
  expect(again.stdout).toContain(`2 items were already stored and not changed: ${named}.`);
});

test('a backup contains the versions that its conversations use, and a restore continues after rejected lines', async () => {
  const [owner, run] = [`keeper-${randomUUID()}`, randomUUID().slice(0, 8)];
  const [guide, gone, desk, helper] = ['guide', 'gone', 'desk', 'helper'].map((name) => `${name}-${run}`) as [
    string,
    string,
    string,
    string,
  ];
  const mintFor = async (edge: string) =>
    (await json<{ token: string }>(await call(edge, 'POST', '/tokens', { account: owner, scopes: ['messages'] })))
      .token;
  const token = await mintFor(here);
  const store = async (path: string, body: object) =>
    (await json<{ version: string }>(await call(here, 'PUT', path, body))).version;
  const ask = (edge: string, conversation: string, by: string, more: object = {}) =>
    call(
      edge,
      'POST',
      '/messages',
      { max_tokens: 256, stream: false, conversation, messages: [{ role: 'user', content: 'Hello' }], ...more },
      by,
    );
  const model = 'claude-haiku-5-5';
  const calls = { name: 'ask_helper', description: 'Asks.', run: { agent: helper } };
  const schema = { input_schema: { type: 'object', properties: {} } };
  await store(`/agents/${helper}`, { model, max_tokens: 256, description: 'Helps.', system: 'Help.' });
  const oldDesk = await store(`/agents/${desk}`, {
    model,
    max_tokens: 256,
    system: 'One.',
    tools: [{ ...calls, ...schema }],
  });
  const oldGuide = await store(`/prefixes/${guide}`, { model, system: 'The first guide.' });
  const withdrawn = await store(`/prefixes/${gone}`, { model, system: 'Not for long.' });
  await json(await ask(here, 'guided', token, { prefix: guide }));
  await json(await ask(here, 'served', token, { agent: desk, max_tokens: undefined }));
  await json(await ask(here, 'lost', token, { prefix: gone }));
  const newGuide = await store(`/prefixes/${guide}`, { model, system: 'The second guide.' });
  await store(`/agents/${desk}`, { model, max_tokens: 256, system: 'Two.' });
  await store(`/prefixes/${gone}`, { model, system: 'Another.' });
  await json(await call(here, 'DELETE', `/prefixes/${gone}/versions/${withdrawn.split('@')[1]}`));

  const backup = await npm('backup', here, ['--', '--account', owner]).catch((thrown) => thrown);
  expect(backup.code).toBe(1);
  expect(backup.stderr).toContain('versions: 5\naccounts: 1\nconversations: 3\n');
  expect(backup.stderr).toContain(`the prefix ${withdrawn}, which the conversation lost of ${owner} uses: `);
  expect(backup.stdout).not.toContain('Not for long.');

  // A line in the middle is broken: what follows it is restored anyway.
  const broken = backup.stdout.replace(
    `{"type":"version_backup","kind":"prefix","account":null,"version":"${oldGuide}"`,
    '{"broken',
  );
  const first = await npm('restore', there.url, [], broken).catch((thrown) => thrown);
  expect(first.code).toBe(1);
  expect(first.stdout).toContain('versions: 4\naccounts: 1\nconversations: 1\n');
  expect(first.stderr).toContain('3 items were not restored:');
  expect(first.stderr).toMatch(/^line \d+: is not JSON$/m);
  expect(first.stderr).toContain(`the conversation guided of ${owner}`);
  expect(first.stderr).toContain(`The prefix ${oldGuide} is not stored in this deployment`);
  expect(first.stderr).toContain(`The prefix ${withdrawn} is not stored in this deployment`);

  const second = await npm('restore', there.url, [], backup.stdout).catch((thrown) => thrown);
  expect(second.code).toBe(1);
  expect(second.stdout).toContain('versions: 5\naccounts: 1\nconversations: 1\n');
  expect(second.stderr).toContain('1 item was not restored:');
  const other = await mintFor(there.url);
  await json(await ask(there.url, 'guided', other));
  await json(await ask(there.url, 'served', other, { max_tokens: undefined }));
  const current = await json<{ version: string }>(await call(there.url, 'GET', `/prefixes/${guide}`));
  expect(current.version).toBe(newGuide);
  await json(await call(there.url, 'GET', `/agents/${helper}`));

  // What was withdrawn there does not come back, and other content has another hash.
  const [name = '', hash = ''] = oldDesk.split('@');
  const path = `/versions/agent/${oldDesk}/backup`;
  const kept = await json<{ content: object }>(await call(there.url, 'GET', path));
  const changed = await call(there.url, 'PUT', path, { ...kept, content: { ...kept.content, max_tokens: 1 } });
  expect(changed.status).toBe(400);
  await json(await call(there.url, 'DELETE', `/agents/${name}/versions/${hash}`));
  const back = await call(there.url, 'PUT', path, kept);
  expect(back.status).toBe(409);
  expect(await back.text()).toContain('was withdrawn');
  expect((await call(there.url, 'GET', path)).status).toBe(409);
  expect((await call(there.url, 'GET', `/versions/agent/none/backup`)).status).toBe(404);
  await json(await call(there.url, 'DELETE', '/conversations/served', undefined, other));
});

test('the commands of the guide back up a deployment, and name existing data that a restore does not replace', async () => {
  const [block = ''] = codeBlocksOf(sectionOf(await readGuide('operating'), 'Back up and restore'), 'text');
  const token = (
    await json<{ token: string }>(await call(there.url, 'POST', '/tokens', { account: 'root', scopes: ['admin'] }))
  ).token;
  await json(await call(there.url, 'POST', '/accounts/keeper/credit', { usd: 1 }));
  const folder = await mkdtemp(join(tmpdir(), 'sluice-backup-'));
  onTestFinished(async () => await rm(folder, { recursive: true }));
  const commands = block
    .replaceAll(/SLUICE_URL=\S+/g, `SLUICE_URL=${there.url}`)
    .replaceAll('SLUICE_TOKEN=…', `SLUICE_TOKEN=${token}`)
    .replaceAll('backup.jsonl', join(folder, 'backup.jsonl'));
  const { code, stdout, stderr } = await promisify(execFile)('bash', ['-ec', commands], { cwd: root }).catch(
    (thrown) => thrown,
  );
  expect(code).toBe(1);
  expect(stderr).toMatch(/^accounts: \d+\nconversations: \d+$/m);
  expect(stdout).toMatch(/^groups: \d+\nerasures: \d+\nversions: \d+\naccounts: 0\nconversations: 0\n/);
  expect(stderr).toMatch(/^the account keeper: .*is already in use/m);
  // The same from CI, locked by a password.
  const production = await readGuide('production');
  const [backup = ''] = /^ +test -n .+\n +npm run --silent backup .+$/m.exec(production) ?? [];
  const [readLast = ''] = codeBlocksOf(sectionOf(production, '7. Deploy and back up from CI'), 'sh');
  const inCi = (BACKUP_PASSWORD: string) =>
    promisify(execFile)(
      'bash',
      ['-eo', 'pipefail', '-c', `${backup}\n${readLast}`.replaceAll('backup.enc', join(folder, 'backup.enc'))],
      { cwd: root, env: { ...process.env, SLUICE_URL: there.url, SLUICE_TOKEN: token, BACKUP_PASSWORD } },
    );
  expect(JSON.parse((await inCi('a long one')).stdout)).toMatchObject({ type: 'backup_end', missing: [] });
  await expect(inCi('')).rejects.toMatchObject({ code: 1 });
});

test('input that is not a backup and an unreachable deployment cause a readable error', async () => {
  await expect(npm('restore', there.url, [], '{"type":"message"}\n')).rejects.toMatchObject({
    stderr: expect.stringContaining('is not part of a Sluice backup, so it was skipped') as string,
  });
  await expect(npm('backup', 'http://localhost:9', [])).rejects.toMatchObject({
    stderr: expect.stringContaining('No deployment responds at http://localhost:9') as string,
  });
});

/** @returns a page of a list that has no other */
const list = (...ids: string[]) => JSON.stringify({ data: ids.map((id) => ({ id })), has_more: false, last_id: null });

/** The lists that a fake edge without other answers has no rows of. */
const EMPTY_LISTS = /^\/(groups|erasures|versions\/\w+)$/;

/**
 * Starts an edge that gives what it is told.
 *
 * @param answerTo the answer for a path, undefined for one that is damaged, null for a connection that breaks
 */
async function fakeEdge(answerTo: (path: string) => string | null | undefined): Promise<string> {
  const edge = createServer(({ url = '' }, response) => {
    const { pathname, searchParams } = new URL(url, 'http://edge');
    const answer = searchParams.has('parent') ? list() : answerTo(pathname);
    if (answer === null) response.destroy();
    else if (pathname === '/health') response.end('{"plugins":["transfer"]}');
    else if (answer === undefined && EMPTY_LISTS.test(pathname)) response.end(list());
    else if (answer === undefined && pathname === '/pools/deployment/backup')
      response.end('{"type":"deployment_backup"}');
    else response.writeHead(answer === undefined ? 500 : 200, { 'x-should-retry': 'false' }).end(answer ?? 'Damaged.');
  });
  await once(edge.listen(0), 'listening');
  onTestFinished(() => void edge.close());
  return `http://localhost:${(edge.address() as AddressInfo).port}`;
}

test('a backup continues after a conversation that cannot be read, and reports missing data at its end', async () => {
  const answers: Record<string, string> = {
    '/accounts': list('bob', 'carol', 'dave'),
    '/accounts/bob/backup': '{"type":"account_backup","id":"bob"}',
    '/accounts/bob/conversations': list('new', 'damaged', 'cut', 'old'),
    '/accounts/bob/conversations/new/backup': '["profile",{}]\n["end",null]\n',
    '/accounts/bob/conversations/cut/backup': '["profile",{}]\n["turn",',
    '/accounts/bob/conversations/old/backup': '["profile",{}]\n["end",null]\n',
    '/accounts/dave/backup': '{"type":"account_backup","id":"dave"}',
    '/accounts/dave/conversations': list(),
  };
  const edge = await fakeEdge((path) => answers[path]);
  const { code, stdout, stderr } = await npm('backup', edge, []).catch((thrown) => thrown);
  expect(code).toBe(1);
  expect(stderr).toContain('accounts: 2\nconversations: 2\n');
  const told = ['the conversation cut of bob', 'the conversation damaged of bob', 'the account carol'];
  for (const what of told) expect(stderr).toContain(what);
  const heads = stdout.split('\n').filter((line: string) => line.startsWith('{'));
  expect(heads.map((line: string) => JSON.parse(line))).toMatchObject([
    { type: 'deployment_backup' },
    { type: 'account_backup', id: 'bob' },
    { type: 'conversation_backup', id: 'old' },
    { type: 'conversation_backup', id: 'new' },
    { type: 'account_backup', id: 'dave' },
    { type: 'backup_end', missing: told.map((what) => expect.stringContaining(what)) },
  ]);
  const [end] = heads.slice(-1);
  await expect(npm('restore', here, [], `${end}\n`)).rejects.toMatchObject({
    stderr: expect.stringContaining('the conversation cut of bob') as string,
  });
});

test('a backup includes an agent whose subagent cannot be read, and names the subagent', async () => {
  const profile = { agent: { owner: '.', name: 'desk', hash: '0'.repeat(16) } };
  const desk = { model: 'any', tools: [{ run: { agent: 'helper' } }] };
  const version = `desk@${profile.agent.hash}`;
  const answers: Record<string, string> = {
    '/accounts': list('bob'),
    '/accounts/bob/backup': '{"type":"account_backup","id":"bob"}',
    '/accounts/bob/conversations': list('served'),
    '/accounts/bob/conversations/served/backup': `${JSON.stringify(['profile', profile])}\n["end",null]\n`,
    [`/versions/agent/${encodeURIComponent(version)}/backup`]: JSON.stringify({
      type: 'version_backup',
      kind: 'agent',
      account: null,
      version,
      current: true,
      content: desk,
    }),
  };
  const edge = await fakeEdge((path) => answers[path]);
  const { code, stdout, stderr } = await npm('backup', edge, []).catch((thrown) => thrown);
  expect(code).toBe(1);
  expect(stderr).toContain('versions: 1\naccounts: 1\nconversations: 1\n');
  expect(stderr).toContain(`the agent helper, which the agent ${version} names: `);
  expect(stdout).toContain(`"version":"${version}"`);
});

test('a restore whose connection breaks reports the restored records and the unreadable lines', async () => {
  const turn = ['["turn",1]', '["end",null]'];
  const [bob = '', ...others] = ['bob', 'carol', 'dave'].map(accountLine);
  const lines = ['"damaged', ...turn, bob, '["damaged', ...turn, ...others];
  const edge = await fakeEdge((path) => (path === '/accounts/carol/backup' ? null : '{}'));
  const { code, stdout, stderr } = await npm('restore', edge, [], lines.join('\n')).catch((thrown) => thrown);
  expect(code).toBe(1);
  expect(stdout).toBe('groups: 0\nerasures: 0\nversions: 0\naccounts: 1\nconversations: 0\n');
  expect(stderr).toContain('line 1: is not JSON, so the next 2 lines were skipped');
  expect(stderr).toContain('the 3 lines after the account bob: the line that names their account is damaged');
  expect(stderr).toContain(`No deployment responds at ${edge}`);
  expect(stderr).toContain('the rest was not sent');
});

const accountLine = (id: string) => JSON.stringify({ type: 'account_backup', id });
