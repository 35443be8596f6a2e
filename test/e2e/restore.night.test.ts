// The worst hour: a deployment with sixty accounts is backed up and restored into an empty one, and nothing there is wider.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { root } from '#test/support/root.ts';
import { runNpmStart, type StartedProduct } from '#test/support/start.ts';

const ACCOUNTS = 60;
const GROUPS = 6;
const VARS = ['SIMULATOR_TTFT_MS:0', 'SIMULATOR_TOKENS_PER_SECOND:0', 'DEPLOYMENT_LIMITS:{}'];
const MODEL = 'claude-haiku-5-5';

let here: StartedProduct;
let there: StartedProduct;
const start = () => runNpmStart(VARS.flatMap((one) => ['--var', one]));
beforeAll(async () => {
  here = await start();
  there = await start();
});
afterAll(async () => {
  await here?.stop();
  await there?.stop();
});

/** Asks one of the two edges: as the developer, who is an admin, or with a token. */
async function call(
  edge: StartedProduct,
  method: string,
  path: string,
  body?: unknown,
  token?: string,
): Promise<Response> {
  const send = () =>
    fetch(edge.url + path, {
      method,
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const response = await send();
  // A local runtime closes connections that rested, at times just when one is used.
  return response.status === 503 ? await send() : response;
}

async function json<T>(response: Response): Promise<T> {
  expect(response.status, response.url).toBeLessThan(300);
  return (await response.json()) as T;
}

const ask = (edge: StartedProduct, token: string, more: object = {}) =>
  call(
    edge,
    'POST',
    '/v1/messages',
    { model: MODEL, max_tokens: 64, messages: [{ role: 'user', content: 'Hello' }], ...more },
    token,
  );
const mint = async (edge: StartedProduct, account: string) =>
  (await json<{ token: string }>(await call(edge, 'POST', '/tokens', { account, scopes: ['messages', 'prefixes'] })))
    .token;

function npm(edge: StartedProduct, script: string, args: string[] = [], input = '') {
  const running = promisify(execFile)('npm', ['run', '--silent', script, ...(args.length > 0 ? ['--', ...args] : [])], {
    cwd: root,
    maxBuffer: 64_000_000,
    env: { ...process.env, SLUICE_URL: edge.url },
  });
  running.child.stdin?.end(input);
  return running.catch((thrown: { code: number; stdout: string; stderr: string }) => thrown) as Promise<{
    code?: number;
    stdout: string;
    stderr: string;
  }>;
}

async function erase(edge: StartedProduct, account: string): Promise<void> {
  await expect
    .poll(async () => (await json<{ done: boolean }>(await call(edge, 'DELETE', `/accounts/${account}`))).done, {
      timeout: 60_000,
    })
    .toBe(true);
}

interface Standing {
  own_limits: object | null;
  group: string | null;
  total: { settled_usd: number; credit_usd: number };
  day: { settled_usd: number };
}
interface Shared {
  limits: object | null;
  total: { spent_usd: number };
  day: { spent_usd: number };
}

/** What an edge permits: of the deployment, each group, each account and each token. */
async function permitted(edge: StartedProduct, tokens: ReadonlyMap<string, string>) {
  const read = async <T>(path: string) => await json<T>(await call(edge, 'GET', path));
  const groups = await read<{ data: (Shared & { id: string })[] }>('/groups?limit=100');
  const accounts = new Map<string, Standing & { prefixes: unknown; credit: unknown }>();
  const statuses = new Map<string, number>();
  for (const [account, token] of tokens) {
    const standing = await read<Standing>(`/accounts/${account}?if_absent=empty`);
    const prefixes = (await read<{ data: unknown }>(`/versions/prefix?account=${account}`)).data;
    const credit = (await read<{ data: unknown }>(`/accounts/${account}/credit`)).data;
    accounts.set(account, { ...standing, prefixes, credit });
    statuses.set(account, (await call(edge, 'GET', '/conversations', undefined, token)).status);
  }
  return {
    deployment: await read<Shared>('/pools/deployment'),
    groups: new Map(groups.data.map((group) => [group.id, group])),
    classifiers: (await read<{ data: unknown }>('/versions/classifier')).data,
    accounts,
    statuses,
  };
}

test('a restore into an empty deployment preserves restrictions: limits, groups, credit, versions, erasures and tokens', async () => {
  const names = Array.from({ length: ACCOUNTS }, (_, nth) => `sales-${String(nth).padStart(2, '0')}`);
  const tokens = new Map<string, string>();
  await json(await call(here, 'PUT', '/pools/deployment/limits', { usd_per_day: 5, alerts: [0.5] }));
  await json(await call(here, 'PUT', '/classifiers/mood', { labels: [{ name: 'glad' }, { name: 'sad' }] }));
  for (let nth = 0; nth < GROUPS; nth += 1)
    await json(await call(here, 'PUT', `/groups/team-${nth}/limits`, { usd_per_day: 0.02, alerts: [0.8] }));
  for (const [nth, account] of names.entries()) {
    const token = await mint(here, account);
    tokens.set(account, token);
    await json(await call(here, 'PUT', `/groups/team-${nth % GROUPS}/accounts/${account}`));
    if (nth % 2 === 0) await json(await call(here, 'PUT', `/accounts/${account}/limits`, { usd_total: 1 }));
    if (nth % 4 === 0) await json(await call(here, 'POST', `/accounts/${account}/credit`, { usd: 2, note: account }));
    if (nth % 5 === 0) await json(await call(here, 'PUT', `/prefixes/own`, { system: account, model: MODEL }, token));
    await json(await ask(here, token, nth % 3 === 0 ? { conversation: 'talk' } : {}));
    if (nth % 10 === 9) await json(await call(here, 'DELETE', `/accounts/${account}/tokens`));
  }
  const [gone = '', back = '', lost = ''] = names;
  const older = await npm(here, 'backup');
  for (const account of [gone, back]) await erase(here, account);
  // One comes back: with a new token and other limits.
  const returned = await mint(here, back);
  await json(await call(here, 'PUT', `/accounts/${back}/limits`, { usd_total: 0.5 }));
  // What accounts have spent is reported within a minute.
  await expect
    .poll(async () => (await permitted(here, new Map())).deployment.total.spent_usd, {
      timeout: 120_000,
      interval: 2_000,
    })
    .toBeGreaterThan(0);
  const backup = await npm(here, 'backup');
  expect(backup.code, backup.stderr).toBeUndefined();
  const before = await permitted(here, tokens);

  // One account is in use before the restore.
  await json(await ask(there, tokens.get(lost) ?? ''));
  const restored = await npm(there, 'restore', [], backup.stdout);
  expect(restored.code).toBe(1);
  expect(restored.stdout).toContain(`groups: ${GROUPS}\nerasures: 2\n`);
  expect(restored.stdout).toContain(`accounts: ${ACCOUNTS - 2}\n`);
  expect(restored.stderr).toContain('1 item was not restored:');
  expect(restored.stderr).toContain(`the account ${lost}: `);
  const merged = await npm(there, 'restore', ['--account', lost, '--replace'], backup.stdout);
  expect(merged.code, merged.stderr).toBeUndefined();

  const after = await permitted(there, tokens);
  expect(after.deployment.limits).toEqual(before.deployment.limits);
  expect(after.classifiers).toEqual(before.classifiers);
  expect(after.groups.size).toBe(GROUPS);
  for (const [id, group] of before.groups) {
    expect(after.groups.get(id)?.limits, id).toEqual(group.limits);
    expect(after.groups.get(id)?.day.spent_usd, id).toBeGreaterThanOrEqual(group.day.spent_usd);
  }
  expect(Object.fromEntries(after.statuses)).toEqual(Object.fromEntries(before.statuses));
  expect([before.statuses.get(gone), before.statuses.get(back), before.statuses.get(lost)]).toEqual([401, 401, 200]);
  expect((await call(there, 'GET', '/conversations', undefined, returned)).status).toBe(200);
  for (const [account, standing] of before.accounts) {
    const now = after.accounts.get(account);
    const { own_limits, group, prefixes } = standing;
    expect({ own_limits: now?.own_limits, group: now?.group, prefixes: now?.prefixes }, account).toEqual({
      own_limits,
      group,
      prefixes,
    });
    if (account === gone) continue;
    expect(now?.credit, account).toEqual(standing.credit);
    expect(now?.total.settled_usd, account).toBeGreaterThanOrEqual(standing.total.settled_usd);
  }

  // An older backup does not know the erasures: applied after it, they revoke and erase what it has restored.
  const third = await start();
  try {
    await npm(third, 'restore', [], older.stdout);
    const erasures = await npm(here, 'backup', ['--erasures']);
    const applied = await npm(third, 'restore', [], erasures.stdout);
    expect(applied.stdout).toContain('erasures: 2\n');
    for (const account of [gone, back])
      expect((await call(third, 'GET', '/conversations', undefined, tokens.get(account))).status, account).toBe(401);
    await expect
      .poll(
        async () =>
          (await json<{ data: unknown[] }>(await call(third, 'GET', `/accounts/${gone}/conversations`))).data.length,
        { timeout: 60_000 },
      )
      .toBe(0);
  } finally {
    await third.stop();
  }
});
