/** Crowds of visitors and kills: `test/edge/plugins/visitors/limit-new-visitors.test.ts` has one visitor. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import type { PoolQuotaReport } from '#edge/plugins/pools/pools-answers.schema.ts';
import { calendarLibrary, hasCompiler } from '#test/runner/calendar-library.ts';
import { type Edge, startEdge, startEdgeAhead } from '#test/support/edge.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';

/** By day some; at night 1,000 visitors share five cents, and 10,000 go. */
const { VISITORS = '100', VISITORS_GONE = '60' } = process.env;
const REQUESTS = 10;
const AT_ONCE = 50;
/** How many objects can do something at the same time on a machine of 20,000 open files. */
const MOST_AT_ONCE = 2_000;
const MODEL = 'claude-haiku-4-5-20251001';
// $1 and $5 for a million tokens.
const [INPUT, OUTPUT] = [1_000, 5_000];
const ORIGIN = 'https://shop.example';
const DAY_S = 86_400;
const nano = (usd: number) => Math.round(usd * 1e9);

let upstream: FakeUpstream;
let edge: Edge;
let state: string;
let billed = 0;

beforeAll(async () => {
  let seed = 11;
  upstream = await startUpstream((received, response) => {
    if (received.path.endsWith('/count_tokens')) {
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"input_tokens":20}');
      return;
    }
    const { max_tokens } = JSON.parse(received.body.toString()) as { max_tokens: number };
    seed = (seed * 16_807) % 2_147_483_647;
    const output_tokens = 1 + (seed % max_tokens);
    // It bills what it has begun, whoever hears of it.
    billed += 20 * INPUT + output_tokens * OUTPUT;
    const message = { id: 'msg_01', type: 'message', role: 'assistant', model: MODEL };
    const said = { content: [{ type: 'text', text: 'Yes.' }], stop_reason: 'end_turn' };
    setTimeout(() => {
      if (response.destroyed) return;
      const usage = { input_tokens: 20, output_tokens };
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ ...message, ...said, usage }));
    }, seed % 20);
  });
});

afterAll(async () => await upstream.stop());

afterEach(async () => {
  await edge.stop();
  await rm(state, { recursive: true, force: true });
});

/** @returns the settings of an edge whose visitors share so many US dollars a day */
const settingsOfPool = (usd: number, seconds: number) => ({
  SIGNING_SECRET: SECRET,
  ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
  ANTHROPIC_BASE_URL: upstream.url,
  HOLD_WAIT_MS: '500',
  ALLOWED_ORIGINS: ORIGIN,
  VISITORS: JSON.stringify({
    only: { agents: ['sky'], origins: [ORIGIN] },
    limits: { requests_per_minute: 1_000 },
    pool: { usd_total: usd },
    seconds,
    turnstile: false,
  }),
});

async function asked(path: string, method: string, headers: Record<string, string>, body?: object) {
  const init = { method, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) };
  const response = await fetch(edge.url + path, init);
  const answer = (await response.json()) as Record<string, unknown> & { error?: { type: string; message: string } };
  return { status: response.status, headers: response.headers, answer };
}

const root = async () => bearerHeader(await createToken('root', ['admin']));

async function storeAgent(): Promise<void> {
  const agent = { model: MODEL, max_tokens: 100, system: 'You are Sky.' };
  expect((await asked('/agents/sky', 'PUT', await root(), agent)).status).toBe(200);
}

let arrived = 0;

/** Somebody comes, from an address of their own. */
async function visitor(): Promise<{ account: string; headers: Record<string, string> }> {
  arrived += 1;
  const address = `10.${arrived >> 16}.${(arrived >> 8) & 255}.${arrived & 255}`;
  const { status, answer } = await asked(
    '/tokens/visitor',
    'POST',
    { 'cf-connecting-ip': address, origin: ORIGIN },
    {},
  );
  expect([status, answer.error]).toEqual([201, undefined]);
  return { account: String(answer.account), headers: { ...bearerHeader(String(answer.token)), origin: ORIGIN } };
}

const say = async ({ headers }: { headers: Record<string, string> }) =>
  await asked('/v1/messages', 'POST', headers, {
    agent: 'sky',
    conversation: 'page',
    messages: [{ role: 'user', content: 'Hi' }],
  });

/** Does something for each, some at a time. */
async function forEach<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const left = [...all];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let one = left.pop(); one !== undefined; one = left.pop()) await work(one);
    }),
  );
}

const pool = async (name: string) => (await asked(name, 'GET', await root())).answer as unknown as PoolQuotaReport;

test(`${VISITORS} visitors use up their shared budget and no more, even if the process is killed twice`, async () => {
  state = await mkdtemp(join(tmpdir(), 'sluice-visitors-'));
  const limit = Number(VISITORS) >= 1_000 ? 0.05 : 0.02;
  const settings = settingsOfPool(limit, 3_600);
  edge = await startEdge(inject('deployed').code, settings, state);
  await storeAgent();
  billed = 0;
  const endings = new Map<string, number>();
  const sentences = new Set<string>();
  let answered = 0;
  let gate: Promise<void> = Promise.resolve();
  const killAt = [20, 40];
  const kill = async () => {
    let open = () => {};
    gate = new Promise((resolve) => {
      open = resolve;
    });
    await edge.kill();
    edge = await startEdge(inject('deployed').code, settings, state);
    open();
  };
  const once = async (one: Awaited<ReturnType<typeof visitor>>): Promise<boolean> => {
    await gate;
    try {
      const { status, headers, answer } = await say(one);
      const ending = status === 200 ? '200' : `${status} ${answer.error?.type} ${headers.get('sluice-limited-by')}`;
      endings.set(ending, (endings.get(ending) ?? 0) + 1);
      if (ending === '429 billing_error group') sentences.add(String(answer.error?.message));
      if (status !== 200) return false;
    } catch {
      endings.set('broken', (endings.get('broken') ?? 0) + 1);
      return false;
    }
    answered += 1;
    if (answered === killAt[0]) {
      killAt.shift();
      void kill();
    }
    return true;
  };
  const people: Awaited<ReturnType<typeof visitor>>[] = [];
  await forEach([...Array(Number(VISITORS)).keys()], async () => {
    for (;;) {
      await gate;
      const one = await visitor().catch(() => undefined);
      if (one === undefined) continue;
      people.push(one);
      for (let requests = 0; requests < REQUESTS; requests += 1) await once(one);
      return;
    }
  });
  // What the killed turns hold is free again once their objects have woken. Visitors go on meanwhile.
  const spent = async () => {
    for (const one of people.slice(0, 3)) await once(one);
    return nano((await pool('/groups/visitors')).total.spent_usd);
  };
  await expect.poll(spent, { interval: 1_000, timeout: 180_000 }).toBeGreaterThanOrEqual(0.95 * nano(limit));
  const { total } = await pool('/groups/visitors');
  expect(nano(total.spent_usd + total.leased_usd)).toBeLessThanOrEqual(nano(limit));
  expect(billed).toBeLessThanOrEqual(nano(limit));
  expect(killAt).toEqual([]);
  const odd = [...endings.keys()].filter(
    (ending) => !['200', 'broken', '429 billing_error group', '429 rate_limit_error group'].includes(ending),
  );
  expect(odd).toEqual([]);
  expect([...sentences]).toEqual([expect.stringContaining('spend limit')]);
});

/** @returns how many rows a query has in a file of a class's objects, which may be in use */
function rowsIn(className: string, name: string, query: string): number {
  const file = new DatabaseSync(join(state, 'do', `sluice-${className}`, name), { readOnly: true });
  const rows = file.prepare(query).all();
  file.close();
  return rows.length;
}

const alarmsOf = (className: string) => rowsIn(className, 'metadata.sqlite', 'select 1 from _cf_ALARM');

/** @returns of a class's objects how many have a file, and how many a table that is not the runtime's */
async function objectsOf(className: string): Promise<{ files: number; withTables: number }> {
  const folder = join(state, 'do', `sluice-${className}`);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sqlite') && name !== 'metadata.sqlite');
  const tables = "select 1 from sqlite_master where type = 'table' and name not glob '_cf_*'";
  return {
    files: names.length,
    withTables: names.filter((name) => rowsIn(className, name, tables) > 0).length,
  };
}

test.skipIf(!hasCompiler())(
  `no data of ${VISITORS_GONE} visitors is left after a day, and lookups do not restore it`,
  async () => {
    state = await mkdtemp(join(tmpdir(), 'sluice-gone-'));
    const settings = settingsOfPool(1_000, 3_600);
    edge = await startEdge(inject('deployed').code, settings, state);
    await storeAgent();
    const begun = Date.now();
    const people: Awaited<ReturnType<typeof visitor>>[] = [];
    await forEach([...Array(Number(VISITORS_GONE)).keys()], async () => {
      const one = await visitor();
      people.push(one);
      expect((await say(one)).status).toBe(200);
    });
    const spent = async () => nano((await pool('/groups/visitors')).total.spent_usd);
    await expect.poll(async () => nano((await pool('/groups/visitors')).total.leased_usd), { interval: 500 }).toBe(0);
    const before = await spent();
    await edge.stop();
    // Two accounts stay: the admin's, and the deployment's own, which has the agent.
    expect(await objectsOf('Account')).toMatchObject({ files: people.length + 2, withTables: people.length + 2 });
    expect(await objectsOf('Conversation')).toMatchObject({ files: people.length, withTables: people.length });

    // Each object has three files open. So many end in the order in which they came, and not at once.
    const passed = Math.ceil((Date.now() - begun) / 1_000);
    const ahead = {
      library: calendarLibrary(state),
      seconds: people.length > MOST_AT_ONCE ? DAY_S - passed : DAY_S + 2 * 3_600,
    };
    edge = await startEdgeAhead(settings, state, ahead);
    const data = async (path: string) => (await asked(path, 'GET', await root())).answer.data;
    const sums = async () => await data('/usage?group_by=account');
    await expect.poll(sums, { interval: 1_000 }).toMatchObject([{ key: '(visitors)', requests: people.length }]);
    const left = async () => {
      await edge.stop();
      const [accounts, conversations] = [await objectsOf('Account'), await objectsOf('Conversation')];
      edge = await startEdgeAhead(settings, state, ahead);
      return [accounts.withTables, conversations.withTables];
    };
    const alarms = () => alarmsOf('Account') + alarmsOf('Conversation');
    // The two accounts that stay have one each, which deletes the change of the agent and the use of the admin's token.
    await expect.poll(alarms, { interval: 1_000, timeout: 1_200_000 }).toBe(2);
    expect(await left()).toEqual([2, 0]);
    expect(await spent()).toBe(before);
    await forEach(people, async ({ account }) => {
      expect((await asked(`/accounts/${account}`, 'GET', await root())).status).toBe(404);
    });
    expect(await left()).toEqual([2, 0]);
    expect(alarms()).toBe(2);
    expect(await data('/groups/visitors/accounts')).toMatchObject([{ id: '(visitors)' }]);
    expect(await data('/accounts')).toEqual([]);
  },
  600_000 + 300 * Number(VISITORS_GONE),
);
